//! djangobot understands a layer's settings as Python does.

use super::*;
use crate::config::{Endpoint, Host, RedisConfig, Tls};
use crate::{Credentials, LayerConfig, Serializer};

/// Probes a project whose `CHANNEL_LAYERS["default"]` is a layer of this class with this CONFIG; `before`
/// stands above it.
async fn probed(
    python: &Path,
    before: &str,
    class: &str,
    config: &str,
) -> Result<ProjectLayer, ProbeError> {
    let settings = format!(
        "import os, ssl, re\n{before}\nCHANNEL_LAYERS = {{'default': {{'BACKEND': '{class}', 'CONFIG': {config}}}}}\n"
    );
    let folder = project(&[("myapp/settings.py", &settings)]);
    let options = ProbeOptions {
        python: Some(python.to_owned()),
        ..options(folder.path())
    };
    probe("myapp.settings", &options).await
}

const CORE: &str = "channels_redis.core.RedisChannelLayer";
const PUBSUB: &str = "channels_redis.pubsub.RedisPubSubChannelLayer";

fn read(probed: &ProjectLayer) -> RedisConfig {
    match LayerConfig::from_settings(&probed.backend, &probed.config).unwrap() {
        LayerConfig::Redis(config)
        | LayerConfig::PubSub(config)
        | LayerConfig::AsgiRedis(config) => {
            assert_eq!(config.warnings, Vec::<String>::new());
            config
        }
        other => panic!("{other:?}"),
    }
}

/// The hosts that Python makes of this expression, in both of the layers and both versions of redis-py.
async fn check_hosts(hosts: &str, expect: &[&str]) {
    for (python, class) in [
        (python(), CORE),
        (python(), PUBSUB),
        (python_redis7(), CORE),
    ] {
        let found = probed(&python, "", class, &format!("{{'hosts': {hosts}}}")).await;
        let found = read(&found.unwrap_or_else(|error| panic!("{hosts}: {error}")));
        let found: Vec<_> = found.hosts.iter().map(|host| format!("{host:?}")).collect();
        let expect: Vec<_> = expect.iter().map(|it| format!("Host({it})")).collect();
        assert_eq!(found, expect, "{hosts}");
    }
}

#[tokio::test]
async fn hosts_are_those_that_python_connects_to() {
    check_hosts("None", &["redis://localhost:6379"]).await;
    check_hosts(
        "[{'address': 'redis://h/2', 'db': 7}, 'redis://h/mydb', ('i', 1), ['j', '2'], {'host': 'k', 'db': '3'}]",
        &["redis://h:6379/2", "redis://h:6379", "redis://i:1", "redis://j:2", "redis://k:6379/3"],
    )
    .await;
    check_hosts("{('h', 1)}", &["redis://h:1"]).await;
    check_hosts(
        "({'host': b'h', 'password': b'p'},)",
        &["redis://h:6379 with a password"],
    )
    .await;
    check_hosts(
        "['unix://:pw@/run/r.sock', 'unix:///run/r.sock?db=2', 'redis://u:1%@h']",
        &[
            "unix:///run/r.sock with a password",
            "unix:///run/r.sock?db=2",
            "redis://h:6379 as u with a password",
        ],
    )
    .await;
    check_hosts(
        "[{'master_name': 'm', 'sentinels': [('s', 1), ('t', 2)], 'db': 4, 'password': 'x'}]",
        &["sentinel m at redis://s:1, redis://t:2?db=4 with a password"],
    )
    .await;
}

#[tokio::test]
async fn a_raw_percent_and_a_number_are_the_password_that_python_sends() {
    let config = "{'hosts': ['redis://u:1%@h', {'host': 'h', 'password': 12}]}";
    let found = read(&probed(&python(), "", CORE, config).await.unwrap());
    let passwords: Vec<_> = found
        .hosts
        .iter()
        .map(|it| it.password.as_deref())
        .collect();
    assert_eq!(passwords, [Some("1%"), Some("12")]);
}

#[tokio::test]
async fn a_credential_provider_is_asked_again_when_the_server_refuses_its_answer() {
    let redis = djangobot_tests::Redis::start();
    let user = |password: &str| {
        let rule = [
            "acl",
            "setuser",
            "app",
            "on",
            "resetpass",
            password,
            "~*",
            "&*",
            "+@all",
        ];
        assert_eq!(redis.cli(&rule), "OK");
        // A login that works is kept.
        redis.cli(&["client", "kill", "user", "app"]);
    };
    let settings = format!(
        "
from pathlib import Path
from redis.credentials import CredentialProvider
INSTALLED_APPS = ['channels']
class Rotating(CredentialProvider):
    def get_credentials(self):
        with open('asked', 'a') as asked:
            asked.write('.')
        return 'app', Path('password').read_text()
CHANNEL_LAYERS = {{'default': {{'BACKEND': 'channels_redis.core.RedisChannelLayer', 'CONFIG': {{'hosts': [
    {{'address': '{}', 'credential_provider': Rotating()}},
]}}}}}}
",
        redis.url()
    );
    let folder = project(&[("myapp/settings.py", &*settings), ("password", "one")]);
    let provides = |password: &str| fs::write(folder.path().join("password"), password).unwrap();
    let asked = || fs::read(folder.path().join("asked")).unwrap().len();
    let options = options(folder.path());
    user(">one");
    let probed = probe("myapp.settings", &options).await.unwrap();
    let mut config = LayerConfig::from_settings(&probed.backend, &probed.config).unwrap();
    config.set_credentials(Credentials::new("myapp.settings", options));
    let layer = crate::open(config).unwrap();
    let channel = crate::ChannelName::new("c").unwrap();
    let receiver = layer
        .receiver(&channel, &crate::ReceiverId("r".into()))
        .await
        .unwrap();
    layer.ping().await.unwrap();
    assert_eq!(asked(), 1);

    // The reader and the sender have separate connections, and share one answer.
    provides("two");
    user(">two");
    let sent = async {
        loop {
            let member = layer.encode(&channel, &djangobot_event::Event::parse("{}").unwrap());
            match layer.send(&channel, &[member]).await {
                Ok(sent) => return sent,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let read = async {
        loop {
            match receiver.next().await {
                Ok(delivery) => return delivery,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let both = async { tokio::join!(sent, read) };
    let (sent, _) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .unwrap();
    assert_eq!((sent.accepted, asked()), (1, 2));

    // If the answer does not help, Python is not asked again for a while.
    user(">three");
    for _ in 0..10 {
        let error = layer.ping().await.unwrap_err();
        assert!(!error.to_string().contains("two"), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked() <= 5, "it was asked {} times", asked());
    provides("three");
    let again = async {
        while layer.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_credential_provider_is_asked() {
    let before = "
from redis.credentials import CredentialProvider
class Vault(CredentialProvider):
    def get_credentials(self):
        return 'app', 'from the vault'
class Token(CredentialProvider):
    async def get_credentials_async(self):
        return ('only a token',)
class Locked(CredentialProvider):
    def get_credentials(self):
        raise RuntimeError('the vault is locked')
";
    let hosts = "{'hosts': [{'host': 'h', 'credential_provider': Vault()}, {'host': 'h', 'credential_provider': Token()}]}";
    let found = probed(&python(), before, CORE, hosts).await.unwrap();
    assert_eq!(
        found.providers,
        ["myapp.settings.Vault", "myapp.settings.Token"]
    );
    let found = read(&found);
    let said = |host: &Host| (host.username.clone(), host.password.clone());
    assert_eq!(
        said(&found.hosts[0]),
        (Some("app".into()), Some("from the vault".into()))
    );
    assert_eq!(said(&found.hosts[1]), (None, Some("only a token".into())));
    let error = probed(
        &python(),
        before,
        CORE,
        "{'hosts': [('h', 1), {'host': 'h', 'credential_provider': Locked()}]}",
    )
    .await
    .unwrap_err()
    .to_string();
    assert!(
        error.contains(r#"["hosts"][1]"#) && error.contains("the vault is locked"),
        "{error}"
    );
}

#[tokio::test]
async fn tls_is_as_the_connection_has_it() {
    let tls = async |python: &Path, host: &str| {
        let found = read(
            &probed(python, "", CORE, &format!("{{'hosts': [{host}]}}"))
                .await
                .unwrap(),
        );
        found.hosts[0].tls.clone()
    };
    assert_eq!(tls(&python(), "'rediss://h'").await, Some(Tls::default()));
    let host = "{'address': 'rediss://h', 'ssl_cert_reqs': None, 'ssl_certfile': '/c.pem', 'ssl_keyfile': '/k.pem'}";
    let expect = Tls {
        accept_any: true,
        accept_any_name: true,
        certfile: Some("/c.pem".into()),
        keyfile: Some("/k.pem".into()),
        ..Tls::default()
    };
    assert_eq!(tls(&python(), host).await, Some(expect));
    for reqs in ["'optional'", "'required'", "ssl.CERT_REQUIRED"] {
        let host = format!(
            "{{'address': 'rediss://h', 'ssl_cert_reqs': {reqs}, 'ssl_check_hostname': False, 'ssl_ca_certs': '/ca.pem', 'ssl_ca_path': '/ca', 'ssl_min_version': ssl.TLSVersion.TLSv1_3}}"
        );
        let expect = Tls {
            accept_any_name: true,
            ca_certs: Some("/ca.pem".into()),
            ca_path: Some("/ca".into()),
            only_tls13: true,
            ..Tls::default()
        };
        assert_eq!(tls(&python(), &host).await, Some(expect), "{reqs}");
    }
    let data = tls(&python(), "{'address': 'rediss://h', 'ssl_ca_data': 'PEM'}")
        .await
        .unwrap();
    assert_eq!(data.ca_data.as_deref(), Some(&b"PEM"[..]));
    let data = tls(
        &python(),
        "{'address': 'rediss://h', 'ssl_ca_data': b'\\x30\\xff'}",
    )
    .await
    .unwrap();
    assert_eq!(data.ca_data.as_deref(), Some(&b"\x30\xff"[..]));
    let sentinel = "{'master_name': 'm', 'sentinels': [('s', 1)], 'sentinel_kwargs': {'ssl': True}, 'ssl': True, 'ssl_cert_reqs': 'none'}";
    let found = read(
        &probed(&python(), "", CORE, &format!("{{'hosts': [{sentinel}]}}"))
            .await
            .unwrap(),
    );
    assert!(found.hosts[0].tls.as_ref().unwrap().accept_any);
    let Endpoint::Sentinel { sentinels, .. } = &found.hosts[0].endpoint else {
        panic!("{found:?}")
    };
    assert_eq!(sentinels[0].tls, Some(Tls::default()));
}

#[tokio::test]
async fn time_limits_are_those_of_the_connection() {
    let config =
        "{'hosts': [{'address': 'redis://h?socket_timeout=7', 'socket_connect_timeout': 3}]}";
    let host = read(&probed(&python(), "", CORE, config).await.unwrap())
        .hosts
        .remove(0);
    assert_eq!(
        (host.response_timeout, host.connect_timeout),
        (Duration::from_secs(7), Duration::from_secs(3))
    );
}

#[tokio::test]
async fn the_layers_own_settings_are_those_that_python_has() {
    let config = "{'prefix': 'p', 'expiry': '30', 'group_expiry': None, 'capacity': float('inf'), 'symmetric_encryption_keys': {'k'}, \
        'channel_capacity': {'slack.*': 5, re.compile('^http'): 6}, 'serializer_format': 'json', 'random_prefix_length': 3}";
    let found = read(&probed(&python(), "", CORE, config).await.unwrap());
    assert_eq!(
        (&*found.prefix, found.expiry, found.group_expiry),
        ("p", 30, 86_400)
    );
    let capacities = ["slack.x", "http.x", "x"].map(|name| found.capacities.of(name));
    assert_eq!((capacities[0], capacities[1]), (5, 6));
    assert!(capacities[2] > 1 << 40);
    assert_eq!(
        (
            found.keys.len(),
            found.serializer,
            found.random_prefix_length
        ),
        (1, Serializer::Json, 3)
    );
    let found = read(
        &probed(&python(), "", PUBSUB, "{'prefix': 'q'}")
            .await
            .unwrap(),
    );
    assert_eq!(found.prefix, "q");
}

#[tokio::test]
async fn a_subclass_of_a_known_layer_is_that_layer() {
    let before = "
from channels_redis.core import RedisChannelLayer
class Ours(RedisChannelLayer):
    brpop_timeout = 2
    def __init__(self, **config):
        super().__init__(prefix='ours', hosts=['redis://h/9'], channel_capacity={'a': 1}, **config)
        self.expiry = 11
    async def send(self, channel, message):
        await super().send(channel, message)
    def helper(self):
        pass
";
    let found = probed(&python(), before, "myapp.settings.Ours", "{'capacity': 3}")
        .await
        .unwrap();
    assert_eq!(
        (&*found.backend, &*found.class),
        (CORE, "myapp.settings.Ours")
    );
    assert_eq!(
        found.overrides,
        ["Ours.__init__", "Ours.brpop_timeout", "Ours.send"]
    );
    let config = read(&found);
    assert_eq!((&*config.prefix, config.expiry), ("ours", 11));
    assert_eq!(config.hosts[0].to_string(), "redis://h:6379/9");
    assert_eq!(
        (config.capacities.of("a"), config.capacities.of("b")),
        (1, 3)
    );
    let found = probed(&python(), "", "channels.layers.InMemoryChannelLayer", "{}")
        .await
        .unwrap();
    let error = LayerConfig::from_settings(&found.backend, &found.config).unwrap_err();
    assert!(error.to_string().contains("djangobot layer"), "{error}");
}

#[tokio::test]
async fn settings_that_python_refuses_are_refused_with_its_reason_but_without_passwords() {
    let check = async |config: &str, parts: &[&str]| {
        let error = probed(&python(), "", CORE, config).await.unwrap_err();
        let text = format!("{error} {}", error.help());
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    };
    check("{'colour': 1}", &["TypeError", "colour", "myapp.settings"]).await;
    check(
        "{'hosts': 'redis://h'}",
        &["You must pass a list of Redis hosts"],
    )
    .await;
    check("{'hosts': [b'redis://h']}", &[r#"["hosts"][0]"#]).await;
    check(
        "{'hosts': [('h', 1), 'redis://h:port']}",
        &[r#"["hosts"][1]"#, "ValueError", "port"],
    )
    .await;
    check(
        "{'hosts': ['redis://u:hunter2/x@h']}",
        &[r#"["hosts"][0]"#, "ValueError"],
    )
    .await;
    check(
        "{'hosts': [{'host': 'h', 'password': 'hunter2', 'colour': 1}]}",
        &["TypeError"],
    )
    .await;
}

#[tokio::test]
async fn a_package_that_is_missing_is_named_with_the_command_that_installs_it() {
    let folder = project(&[("myapp/asgi.py", ASGI), ("myapp/settings.py", SETTINGS)]);
    // An interpreter of its own, with Django and Channels and nothing else.
    let bare = folder.path().join("bare");
    let made = std::process::Command::new(python())
        .args(["-m", "venv", "--without-pip"])
        .arg(&bare)
        .status()
        .unwrap();
    assert!(made.success());
    let site = std::process::Command::new(python())
        .args([
            "-c",
            "import django, os; print(os.path.dirname(os.path.dirname(django.__file__)), end='')",
        ])
        .output()
        .unwrap();
    let site = PathBuf::from(String::from_utf8(site.stdout).unwrap());
    let own = fs::read_dir(bare.join("lib"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("site-packages");
    for package in [
        "django",
        "channels",
        "asgiref",
        "sqlparse",
        "typing_extensions.py",
    ] {
        if site.join(package).exists() {
            std::os::unix::fs::symlink(site.join(package), own.join(package)).unwrap();
        }
    }
    let options = ProbeOptions {
        python: Some(bare.clone()),
        ..options(folder.path())
    };
    for target in ["myapp.settings", "myapp.asgi:channel_layer"] {
        let error = probe(target, &options).await.unwrap_err();
        let command = format!(
            "{}/bin/python -m pip install channels_redis",
            bare.display()
        );
        assert!(error.help().contains(&command), "{error}\n{}", error.help());
    }
}
