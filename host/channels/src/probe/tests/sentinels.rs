//! Sentinels whose passwords come from a credential provider.

use djangobot_tests::Redis;

use super::*;
use crate::config::LayerConfig;
use crate::credentials::Credentials;
use crate::refusal::RefusalKind;

#[tokio::test]
async fn a_provider_is_asked_again_when_a_sentinel_refuses_what_it_said() {
    let master = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sentinel.conf");
    fs::write(
        &config,
        format!("sentinel monitor main 127.0.0.1 {} 1\n", master.port()),
    )
    .unwrap();
    let sentinel = Redis::with_args(&[config.to_str().unwrap(), "--sentinel"]);
    let user = |password: &str| {
        let rule = [
            "acl",
            "setuser",
            "app",
            "on",
            "resetpass",
            password,
            "+@all",
        ];
        assert_eq!(sentinel.cli(&rule), "OK");
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
    {{'master_name': 'main', 'sentinels': [('127.0.0.1', 1), ('127.0.0.1', {})], 'sentinel_kwargs': {{'credential_provider': Rotating()}}}},
]}}}}}}
",
        sentinel.port()
    );
    let project = project(&[
        ("myapp/settings.py", &*settings),
        ("password", "secret-one"),
    ]);
    let provides = |password: &str| fs::write(project.path().join("password"), password).unwrap();
    let asked = || fs::read(project.path().join("asked")).unwrap().len();
    let options = options(project.path());
    user(">secret-one");
    let probed = probe("myapp.settings", &options).await.unwrap();
    let mut config = LayerConfig::from_settings(&probed.backend, &probed.config).unwrap();
    config.set_credentials(Credentials::new("myapp.settings", options));
    let layer = crate::open(config).unwrap();
    layer.ping().await.unwrap();
    // Once for each Sentinel.
    assert_eq!(asked(), 2);

    // The Sentinel is asked when a connection is made: the master hangs up, so that it is.
    let hangs_up = || master.cli(&["client", "kill", "type", "normal"]);
    let works = async || {
        let again = async {
            while layer.ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), again)
            .await
            .unwrap();
    };
    provides("secret-two");
    user(">secret-two");
    hangs_up();
    works().await;
    assert_eq!(asked(), 4);

    // Where that does not help, it is told what is wrong, and Python is left alone for a while.
    user(">secret-three");
    hangs_up();
    let refused = async {
        loop {
            match layer.ping().await {
                Err(error) if error.refusal().is_some() => return error,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), refused)
        .await
        .unwrap();
    assert_eq!(error.refusal(), Some(RefusalKind::Credentials), "{error}");
    let said = error.to_string();
    let address = format!("127.0.0.1:{}", sentinel.port());
    assert!(
        said.contains(&address) && !said.contains("secret"),
        "{said}"
    );
    assert!(asked() <= 8, "it was asked {} times", asked());
    provides("secret-three");
    works().await;
}
