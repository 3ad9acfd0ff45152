//! The answers of a project's Python about its settings, and the layer that is made of them.
//!
//! The first byte of an input says whether the rest is a whole answer or the CONFIG of one backend.

use std::path::Path;

use djangobot_channels::codec::Codec;
use djangobot_channels::fuzzing::read_answer;
use djangobot_channels::{ConfigError, LayerConfig};
use serde_json::Value;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "settings",
    check,
    seeds,
    words: &[
        "\"hosts\":",
        "\"address\":",
        "\"sentinels\":",
        "\"master_name\":",
        "\"capacity\":",
        "\"channel_capacity\":",
        "{\"__items__\":",
        "{\"__regex__\":",
        "{\"__bytes__\":",
        "{\"__unsupported__\":",
        "\"expiry\":",
        "\"symmetric_encryption_keys\":",
        "\"random_prefix_length\":",
        "\"serializer_format\":\"json\"",
        "\"connection_kwargs\":",
        "\"socket_timeout\":",
        "\"ssl_cert_reqs\":",
        "\"password\":",
        "redis://",
        "null",
        "\"error\":\"",
        "no-alias",
        "1e18",
        "(?i)",
        "[^a-]*",
    ],
    longest: 768,
};

/// Regular expressions take as much when they are compiled, which is no more for a longer one.
const MEMORY: usize = 48 << 20;

const BACKENDS: &[&str] = &[
    "channels_redis.core.RedisChannelLayer",
    "channels_redis.pubsub.RedisPubSubChannelLayer",
    "asgi_redis.RedisChannelLayer",
    "channels.layers.InMemoryChannelLayer",
];

fn seeds() -> Vec<Vec<u8>> {
    const CONFIGS: &[&str] = &[
        r#"{"hosts":[["localhost",6379]],"prefix":"asgi","expiry":60,"group_expiry":86400,"capacity":100}"#,
        r#"{"hosts":["redis://:hush@h:1/2?socket_timeout=5","unix:///tmp/r.sock?db=3"],"random_prefix_length":8,"serializer_format":"json"}"#,
        r#"{"hosts":[{"address":"rediss://h","ssl_cert_reqs":"none","socket_timeout":null,"password":"hush"}],"symmetric_encryption_keys":["k",{"__bytes__":"aw=="}]}"#,
        r#"{"hosts":[{"sentinels":[["s1",26379],["s2",26379]],"master_name":"m","sentinel_kwargs":{"password":"hush"},"db":1}]}"#,
        r#"{"channel_capacity":{"__items__":[["http.request",200],["http.response!*",10],[{"__regex__":"(?i)^websocket.send!.+"},20],["[!a-c]?",1e3]]}}"#,
        r#"{"random_prefix_length":9223372036854775807}"#,
        r#"{"hosts":"redis://h","on_disconnect":"print","x":{"__unsupported__":"m.C"},"connection_kwargs":{"retry_on_timeout":true}}"#,
    ];
    let answers = pieces::texts([
        r#"{"alias":"default","backend":"channels_redis.core.RedisChannelLayer","class":"m.Ours","overrides":["Ours.send"],"providers":[],"config":{"hosts":[{"host":"h","port":1,"socket_timeout":null,"ssl":true,"ssl_ca_data":{"__bytes__":"MAA="}}]},"aliases":["default"],"settings_module":"s","versions":{"python":"3.12.1","django":"5.2","channels":null}}"#,
        r#"{"error":"no-alias","alias":"x","aliases":["default"],"settings":null}"#,
        r#"{"error":"import","module":"m","traceback":"Traceback\nModuleNotFoundError: No module named 'x'\n"}"#,
        r#"{"error":"layer","alias":"default","place":"[\"hosts\"][0]","reason":"ValueError","settings":null}"#,
        r#"{"error":"no-class","alias":"default","backend":"m.C","missing":"m","traceback":"x","settings":"s"}"#,
        r#"{"error":"no-attribute","module":"m","attribute":"a","names":["b","c"]}"#,
    ]);
    let configs = CONFIGS.iter().flat_map(|config| {
        (1..5u8).map(move |backend| [&[backend][..], config.as_bytes()].concat())
    });
    let answers = answers.into_iter().map(|answer| [vec![0], answer].concat());
    answers.chain(configs).collect()
}

fn check(input: &[u8]) {
    let (choice, rest) = pieces::choice(input);
    let Ok(text) = str::from_utf8(rest) else {
        return;
    };
    if choice > 0 {
        if let Ok(config) = serde_json::from_str(text) {
            check_config(BACKENDS[(choice - 1) % BACKENDS.len()], &config);
        }
        return;
    }
    let (python, directory) = (Path::new("python"), Path::new("."));
    match proportion::bounded(input, 64, || read_answer(text, python, directory)) {
        Some(Ok(probed)) => check_config(&probed.backend, &probed.config),
        Some(Err(error)) => {
            assert!(!error.to_string().is_empty() && !error.help().is_empty());
        }
        None => {}
    }
}

fn check_config(backend: &str, config: &Value) {
    let read = || LayerConfig::from_settings(backend, config);
    let layer = match proportion::bounded_by(MEMORY, read) {
        Ok(layer) => layer,
        Err(ConfigError::Option { path, reason }) => {
            assert!(
                path.starts_with("CONFIG") && !reason.is_empty(),
                "{path}: {reason}"
            );
            return;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let (LayerConfig::Redis(config) | LayerConfig::PubSub(config) | LayerConfig::AsgiRedis(config)) =
        &layer
    else {
        panic!("no settings name the embedded layer: {layer:?}");
    };
    assert!(!config.hosts.is_empty());
    let _ = config.capacities.of("slack.message");
    // It opens whatever it sealed, with any keys and prefix.
    let codec = Codec::new(config.random_prefix_length, config.keys.clone(), Some(60));
    let member = proportion::bounded_by(MEMORY, || codec.seal(b"payload"));
    assert_eq!(codec.open(&member.0).expect("it was sealed now"), "payload");
}
