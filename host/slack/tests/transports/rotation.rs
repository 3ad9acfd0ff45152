//! Token rotation against a Slack that means it: a refresh token is good once, and tokens expire.

use std::time::SystemTime;

use djangobot_slack::rotation::{Client, Config, Pair};
use djangobot_slack::{Class, RefreshToken, Rotation};
use local_slack::OAuth;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn tokens_are_renewed_whenever_they_expire_and_the_pair_on_disk_is_always_the_one_to_go_on_with()
 {
    let slack = start(Options::default()).await;
    let api = client(&slack, slack.token());
    let oauth = OAuth::default();
    let disk = tempfile::NamedTempFile::new().unwrap();
    let path = disk.path().to_owned();
    let app = || Client {
        id: oauth.client_id.clone(),
        secret: oauth.client_secret.clone().into(),
    };
    let begin = |pair| {
        let path = path.clone();
        let keep = move |pair: Pair| {
            let path = path.clone();
            let kept: std::pin::Pin<Box<dyn Future<Output = Result<(), _>> + Send>> =
                Box::pin(async move {
                    use secrecy::ExposeSecret;
                    Ok(tokio::fs::write(path, pair.to_json().expose_secret()).await?)
                });
            kept
        };
        let rotation = Rotation::new(api.clone(), app(), pair, Config::default(), Box::new(keep));
        let cancel = CancellationToken::new();
        let (running, ends) = (rotation.clone(), cancel.clone());
        let task = tokio::spawn(async move { running.run(ends).await });
        (rotation, cancel, task)
    };
    let mut pair = Pair {
        access: Token::new(slack.token()).unwrap(),
        refresh: RefreshToken::new(&slack.refresh_token()).unwrap(),
        expires_at: SystemTime::UNIX_EPOCH,
    };
    for start in 0..3 {
        let (rotation, cancel, task) = begin(pair);
        soon(rotation.ready()).await.unwrap();
        for _ in 0..2 {
            slack.control().expire_tokens();
            let seen = api.token_version();
            let error = soon(api.auth_test()).await.unwrap_err();
            assert_eq!(error.class(), Class::Refresh, "{error} at start {start}");
            soon(rotation.renew(seen)).await.unwrap();
            soon(api.auth_test()).await.unwrap();
        }
        cancel.cancel();
        assert_eq!(soon(task).await.unwrap(), Ok(()));
        pair = Pair::from_json(&std::fs::read_to_string(&path).unwrap()).unwrap();
    }
    assert_eq!(slack.control().calls(Some("oauth.v2.access")).len(), 7);
}
