//! All forms of channels_redis's settings and URLs, and the errors for wrong ones.

use serde_json::{Value, json};

use super::*;

const CORE: &str = "channels_redis.core.RedisChannelLayer";

fn redis(config: &Value) -> RedisConfig {
    match LayerConfig::from_settings(CORE, config).unwrap() {
        LayerConfig::Redis(config) => config,
        other => panic!("{other:?}"),
    }
}

fn urls(urls: &[&str]) -> Result<LayerConfig, ConfigError> {
    LayerConfig::from_urls(&urls.iter().map(|&url| url.to_owned()).collect::<Vec<_>>())
}

#[track_caller]
fn check_host(entry: Value, expect: &str) {
    let config = redis(&json!({ "hosts": [entry.clone()] }));
    assert_eq!(
        format!("{:?}", config.hosts[0]),
        format!("Host({expect})"),
        "{entry}"
    );
    assert_eq!(config.warnings, Vec::<String>::new(), "{entry}");
}

#[track_caller]
fn check_error(config: Value, path: &str, says: &str) {
    let error = LayerConfig::from_settings(CORE, &config)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(path),
        "{error:?} should start with {path:?}"
    );
    assert!(error.contains(says), "{error:?} should say {says:?}");
}

#[test]
fn all_forms_of_a_host_are_read() {
    check_host(
        json!("redis://127.0.0.1:6380/3"),
        "redis://127.0.0.1:6380/3",
    );
    check_host(json!("redis://localhost"), "redis://localhost:6379");
    check_host(
        json!("rediss://u:p%40x@h:1"),
        "rediss://h:1 as u with a password",
    );
    check_host(
        json!("redis://:secret@[::1]:7?db=2"),
        "redis://[::1]:7/2 with a password",
    );
    check_host(
        json!("unix:///run/redis.sock?db=1"),
        "unix:///run/redis.sock?db=1",
    );
    check_host(json!(["h", 6380]), "redis://h:6380");
    check_host(
        json!({"address": "redis://h:1", "password": "x", "db": 4, "socket_timeout": null}),
        "redis://h:1/4 with a password",
    );
    check_host(json!({"address": ["h", 1]}), "redis://h:1");
    check_host(
        json!({"host": "h", "port": 1, "username": "u", "ssl": true, "ssl_ca_certs": "/ca.pem"}),
        "rediss://h:1 as u",
    );
    check_host(
        json!({"sentinels": [["a", 26379], ["b", 26379]], "master_name": "main", "sentinel_kwargs": {"password": "s"}, "password": "x"}),
        "sentinel main at redis://a:26379, redis://b:26379 with a password",
    );
    let sentinels = redis(
        &json!({"hosts": [{"sentinels": [["a", 1]], "master_name": "m", "sentinel_kwargs": {"password": "s"}}]}),
    );
    let Endpoint::Sentinel { sentinels, .. } = &sentinels.hosts[0].endpoint else {
        panic!()
    };
    assert_eq!(sentinels[0].password.as_deref(), Some("s"));
}

#[test]
fn a_url_has_the_same_meaning_as_in_redis_py() {
    check_host(
        json!({"address": "redis://h/2", "db": 7}),
        "redis://h:6379/2",
    );
    check_host(json!({"address": "redis://h", "db": 7}), "redis://h:6379/7");
    check_host(
        json!({"address": "rediss://h?db=3", "db": 7, "username": "u", "password": "x"}),
        "rediss://h:6379/3 as u with a password",
    );
    check_host(
        json!("unix://:pw@/run/redis.sock?db=1"),
        "unix:///run/redis.sock?db=1 with a password",
    );
    check_host(
        json!("redis://:p@H:0/0?db=4&db=5&max_connections="),
        "redis://h:6379/4 with a password",
    );
    check_host(json!("redis:///5"), "redis://localhost:6379/5");
    for (written, password) in [
        ("100%", "100%"),
        ("a%zz%41", "a%zzA"),
        ("p%2Fq", "p/q"),
        ("%e2%82%ac", "€"),
        ("a@b:c", "a@b:c"),
    ] {
        let config = redis(&json!({"hosts": [format!("redis://u:{written}@h")]}));
        assert_eq!(
            config.hosts[0].password.as_deref(),
            Some(password),
            "{written}"
        );
        assert_eq!(config.hosts[0].to_string(), "redis://h:6379", "{written}");
    }
    let config = redis(&json!({"hosts": ["redis://h/mydb"]}));
    assert_eq!(config.hosts[0], Host::tcp("h", 6379));
    assert!(config.warnings[0].contains("mydb"), "{:?}", config.warnings);
    assert_eq!(redis(&json!({"group_expiry": null})).group_expiry, 86_400);
}

#[test]
fn no_hosts_are_the_local_one() {
    for config in [
        json!(null),
        json!({}),
        json!({"hosts": []}),
        json!({"hosts": null}),
    ] {
        assert_eq!(redis(&config).hosts, vec![Host::tcp("localhost", 6379)]);
    }
}

#[test]
fn tls_keywords_are_read() {
    let config = redis(&json!({"hosts": [{
        "address": "rediss://h:1", "ssl_cert_reqs": "none", "ssl_check_hostname": false, "ssl_certfile": "c", "ssl_keyfile": "k"}]}));
    let expect = Tls {
        certfile: Some("c".into()),
        keyfile: Some("k".into()),
        accept_any: true,
        accept_any_name: true,
        ..Tls::default()
    };
    assert_eq!(config.hosts[0].tls, Some(expect));
    assert_eq!(
        redis(&json!({"hosts": [{"host": "h", "ssl": false}]})).hosts[0].tls,
        None
    );
    assert!(
        redis(&json!({"hosts": ["rediss://h?ssl_cert_reqs=none"]})).hosts[0]
            .tls
            .as_ref()
            .unwrap()
            .accept_any
    );
}

#[test]
fn options_are_read_and_default_as_in_channels_redis() {
    let config = redis(&json!({}));
    assert_eq!(
        (config.prefix.as_str(), config.expiry, config.group_expiry),
        ("asgi", 60, 86_400)
    );
    assert_eq!(
        (
            config.random_prefix_length,
            config.serializer,
            config.keys.len()
        ),
        (12, Serializer::Msgpack, 0)
    );
    let config = redis(&json!({
        "prefix": "p", "expiry": 5.9, "group_expiry": 7, "capacity": 1e3, "random_prefix_length": -1, "serializer_format": "json",
        "channel_capacity": {"__items__": [["slack.*", 2], [{"__regex__": "^http"}, 3]]},
        "symmetric_encryption_keys": ["a", {"__bytes__": "AAE="}]}));
    assert_eq!(
        (config.prefix.as_str(), config.expiry, config.group_expiry),
        ("p", 5, 7)
    );
    assert_eq!(
        (
            config.random_prefix_length,
            config.serializer,
            config.keys.len()
        ),
        (0, Serializer::Json, 2)
    );
    assert_eq!(
        ["slack.x", "http.x", "x"].map(|name| config.capacities.of(name)),
        [2, 3, 1000]
    );
    assert_eq!(
        redis(&json!({"channel_capacity": {"a*": 1}}))
            .capacities
            .of("ab"),
        1
    );
    assert_eq!(
        redis(&json!({"channel_capacity": [["a*", 1]]}))
            .capacities
            .of("ab"),
        1
    );
}

#[test]
fn errors_name_the_place_and_the_cure() {
    check_error(json!([]), "CONFIG:", "dict");
    check_error(json!({"hosts": "redis://h"}), r#"CONFIG["hosts"]:"#, "list");
    check_error(
        json!({"hosts": ["redis://h", {"address": 5}]}),
        r#"CONFIG["hosts"][1]["address"]:"#,
        "string",
    );
    check_error(
        json!({"hosts": ["http://h"]}),
        r#"CONFIG["hosts"][0]:"#,
        "http://",
    );
    check_error(
        json!({"hosts": [["h", "x"]]}),
        r#"CONFIG["hosts"][0]:"#,
        "port",
    );
    check_error(
        json!({"hosts": [{"host": "h", "port": 99999}]}),
        r#"CONFIG["hosts"][0]["port"]:"#,
        "99999",
    );
    check_error(
        json!({"hosts": [{"sentinels": [], "master_name": "m"}]}),
        r#"CONFIG["hosts"][0]["sentinels"]:"#,
        "pairs",
    );
    check_error(
        json!({"hosts": [{"host": {"__unsupported__": "<X>"}}]}),
        r#"CONFIG["hosts"][0]["host"]:"#,
        "<X>",
    );
    check_error(
        json!({"hosts": [{"host": "h", "credential_provider": {"__unsupported__": "<X>"}}]}),
        r#"CONFIG["hosts"][0]["credential_provider"]:"#,
        "<X>",
    );
    check_error(
        json!({"random_prefix_length": i64::MAX}),
        r#"CONFIG["random_prefix_length"]:"#,
        "65536 are the most",
    );
    check_error(json!({"prefix": 5}), r#"CONFIG["prefix"]:"#, "string");
    check_error(json!({"expiry": "x"}), r#"CONFIG["expiry"]:"#, "seconds");
    check_error(
        json!({"capacity": -1}),
        r#"CONFIG["capacity"]:"#,
        "messages",
    );
    check_error(
        json!({"serializer_format": "cbor"}),
        r#"CONFIG["serializer_format"]:"#,
        "cbor",
    );
    check_error(
        json!({"symmetric_encryption_keys": "k"}),
        r#"CONFIG["symmetric_encryption_keys"]:"#,
        "list",
    );
    check_error(
        json!({"symmetric_encryption_keys": [5]}),
        r#"CONFIG["symmetric_encryption_keys"][0]:"#,
        "bytes",
    );
    check_error(
        json!({"channel_capacity": [[{"__regex__": "(?=x)"}, 1]]}),
        r#"CONFIG["channel_capacity"]:"#,
        "(?=x)",
    );
}

#[test]
fn a_password_that_should_have_been_escaped_does_not_show() {
    for url in [
        "redis://u:5?hunter2@h",
        "redis://u:5?a&hunter2&b@h",
        "redis://u:5?ssl_cert_reqs=hunter2@h",
        "redis://u:5?hunter2#x@h",
        "redis://u:5/hunter2?x@h",
        "redis://u:5/hunter2#x@h",
        "redis://u:a@hunter2#x@h",
        "unix://u:a@hunter2#x@h",
        "unix://u:5/hunter2@/run/r.sock",
    ] {
        let error = urls(&[url]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(
            ["%2F", "%3F", "%23"]
                .iter()
                .any(|cure| error.contains(cure)),
            "{error}"
        );
    }
}

#[test]
fn a_password_never_shows() {
    let odd = redis(&json!({"hosts": ["redis://user:hunter2@h:1/x"]}));
    assert!(!odd.warnings[0].contains("hunter2"), "{:?}", odd.warnings);
    let error = urls(&["redis://:hun?ter2@h:port"]).unwrap_err().to_string();
    assert!(!error.contains("ter2"), "{error}");
    let error = urls(&["redis://user:12/hunter2@h:1/0"])
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains("hunter2") && error.contains("%2F"),
        "{error}"
    );
    let error = urls(&["redis://h?ssl_password=hunter2"])
        .unwrap_err()
        .to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let config = urls(&["redis://user:hunter2@h:1"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let config =
        LayerConfig::from_settings(CORE, &json!({"symmetric_encryption_keys": ["hunter2"]}))
            .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn unknown_options_are_warnings() {
    let config = LayerConfig::from_settings(
        CORE,
        &json!({"colour": 1, "hosts": [{"host": "h", "shape": 2}, "redis://h?size=3"]}),
    )
    .unwrap();
    let warnings = config.warnings().join("\n");
    for name in [
        r#"CONFIG["colour"]"#,
        r#"CONFIG["hosts"][0]["shape"]"#,
        "size",
    ] {
        assert!(warnings.contains(name), "{warnings}");
    }
}

#[test]
fn backends_are_distinguished() {
    let read = |backend| LayerConfig::from_settings(backend, &json!({}));
    assert!(
        matches!(read("channels_redis.pubsub.RedisPubSubChannelLayer"), Ok(LayerConfig::PubSub(config)) if config.random_prefix_length == 0)
    );
    assert!(
        matches!(read("asgi_redis.RedisChannelLayer"), Ok(LayerConfig::AsgiRedis(config)) if config.prefix == "asgi:")
    );
    assert!(
        read("channels.layers.InMemoryChannelLayer")
            .unwrap_err()
            .to_string()
            .contains("djangobot layer")
    );
    assert!(
        read("my.Layer")
            .unwrap_err()
            .to_string()
            .contains("supported are")
    );
}

#[test]
fn urls_make_layers() {
    assert!(
        matches!(urls(&["redis://a", "redis://b:1"]), Ok(LayerConfig::Redis(config)) if config.hosts.len() == 2)
    );
    assert!(matches!(
        urls(&["redis+pubsub://a"]),
        Ok(LayerConfig::PubSub(_))
    ));
    assert!(
        matches!(urls(&["asgi-redis://a:7"]), Ok(LayerConfig::AsgiRedis(config)) if config.hosts[0] == Host::tcp("a", 7))
    );
    assert!(
        matches!(urls(&["embedded://"]), Ok(LayerConfig::Embedded(config)) if config.listen.port() == 0)
    );
    assert!(
        matches!(urls(&["embedded://127.0.0.1:7000"]), Ok(LayerConfig::Embedded(config)) if config.listen.port() == 7000)
    );
    for wrong in [
        &[][..],
        &["embedded://nowhere"],
        &["embedded://", "embedded://"],
        &["redis://a", "redis+pubsub://a"],
        &["nonsense"],
        &["http://x"],
    ] {
        assert!(urls(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_embedded_layer_has_the_options_of_a_core_layer_and_a_password() {
    let embedded = |url: &str, options: &Value| match LayerConfig::from_urls_with(
        &[url.to_owned()],
        options,
    ) {
        Ok(LayerConfig::Embedded(config)) => Ok(config),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let options = json!({
        "hosts": ["redis://elsewhere"], "prefix": "shop", "expiry": 30, "group_expiry": 600, "capacity": 7,
        "channel_capacity": {"slack.*": 9}, "serializer_format": "json", "symmetric_encryption_keys": ["k"],
    });
    let config = embedded("embedded://:p%40ss@0.0.0.0:7", &options).unwrap();
    assert_eq!(config.listen, ([0, 0, 0, 0], 7).into());
    assert_eq!(config.password(), Some("p@ss"));
    let layer = &config.layer;
    assert_eq!(layer.hosts.len(), 1);
    assert_eq!(
        (&*layer.prefix, layer.expiry, layer.group_expiry),
        ("shop", 30, 600)
    );
    assert_eq!(
        (layer.capacities.of("a"), layer.capacities.of("slack.x")),
        (7, 9)
    );
    assert_eq!((layer.serializer, layer.keys.len()), (Serializer::Json, 1));
    for url in [
        "embedded://",
        "embedded://localhost:7/",
        "embedded://[::1]:7",
        "embedded://:@127.0.0.1:7",
    ] {
        assert_eq!(
            embedded(url, &Value::Null).unwrap().password(),
            None,
            "{url}"
        );
    }
    assert!(
        embedded("embedded://", &json!({"capacity": "many"}))
            .unwrap_err()
            .contains("capacity")
    );
    assert!(
        embedded("embedded://nowhere", &Value::Null)
            .unwrap_err()
            .contains("embedded://nowhere")
    );
    for wrong in [
        "embedded://:secret@nowhere",
        "embedded://:secret@",
        "embedded://:secret:127.0.0.1:7",
        "embedded://me:secret@127.0.0.1:7",
        "embedded://:secret@x@127.0.0.1",
        "embedded://:secret",
        "embedded://secret#@h:1",
        "embedded://:secret%@h:1",
    ] {
        if let Err(error) = embedded(wrong, &Value::Null) {
            assert!(!error.contains("secret"), "{error}");
        } else {
            assert_eq!(wrong, "embedded://:secret@");
        }
    }
}

#[test]
fn the_options_of_a_project_go_with_urls_of_its_layer() {
    let options = json!({"prefix": "shop", "expiry": 30});
    for url in ["redis://a", "redis+pubsub://a", "asgi-redis://a"] {
        let read = LayerConfig::from_urls_with(&[url.to_owned()], &options).unwrap();
        let (LayerConfig::Redis(config)
        | LayerConfig::PubSub(config)
        | LayerConfig::AsgiRedis(config)) = read
        else {
            panic!("{url}");
        };
        assert_eq!((&*config.prefix, config.expiry), ("shop", 30), "{url}");
        assert_eq!(config.hosts, [Host::tcp("a", 6379)]);
    }
}

#[test]
fn a_number_as_a_password_is_its_digits() {
    for number in [0, 1, 12345] {
        let config = redis(&json!({"hosts": [{"host": "h", "password": number}]}));
        assert_eq!(config.hosts[0].password, Some(number.to_string()));
    }
    for (reqs, any) in [(0, true), (1, false), (2, false)] {
        let config = redis(&json!({"hosts": [{"host": "h", "ssl_cert_reqs": reqs}]}));
        assert_eq!(
            config.hosts[0].tls.as_ref().map(|tls| tls.accept_any),
            Some(any)
        );
    }
}
