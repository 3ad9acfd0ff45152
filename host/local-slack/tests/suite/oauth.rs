//! `oauth.v2.access`: tokens that are renewed and expire.

use std::time::Duration;

use local_slack::{LocalSlack, OAuth, Options};
use serde_json::{Value, json};

use crate::client::{call_as, http, soon, start, start_with};

async fn renew(slack: &LocalSlack, refresh: &str) -> Value {
    let oauth = OAuth::default();
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &oauth.client_id),
        ("client_secret", &oauth.client_secret),
        ("refresh_token", refresh),
    ];
    call_as(slack, "", "oauth.v2.access", &form).await
}

async fn whoami(slack: &LocalSlack, token: &str) -> Value {
    let answer = call_as(slack, token, "auth.test", &[]).await;
    answer.get("user").or(answer.get("error")).unwrap().clone()
}

#[tokio::test]
async fn a_refresh_token_gives_a_token_that_expires_and_another_refresh_token() {
    let slack = start().await;
    let first = renew(&slack, &slack.refresh_token()).await;
    assert_eq!(
        (&first["ok"], &first["token_type"], &first["expires_in"]),
        (&json!(true), &json!("bot"), &json!(43200))
    );
    let token = first["access_token"].as_str().unwrap();
    let refresh = first["refresh_token"].as_str().unwrap();
    assert!(token.starts_with("xoxe.xoxb-") && refresh.starts_with("xoxe-"));
    assert_eq!(refresh, slack.refresh_token());
    assert_eq!(whoami(&slack, token).await, "djangobot");
    let again = renew(&slack, "xoxe-1-local-slack").await;
    assert_eq!(again["error"], "invalid_refresh_token");
    slack.control().expire_tokens();
    assert_eq!(whoami(&slack, token).await, "token_expired");
    let second = renew(&slack, refresh).await;
    let token = second["access_token"].as_str().unwrap();
    assert_eq!(whoami(&slack, token).await, "djangobot");
    slack.control().revoke(token, "token_revoked");
    assert_eq!(whoami(&slack, token).await, "token_revoked");
}

#[tokio::test]
async fn a_token_with_a_short_life_is_soon_expired() {
    let slack = start_with(Options {
        oauth: OAuth {
            token_lifetime: Duration::ZERO,
            ..OAuth::default()
        },
        ..Options::default()
    })
    .await;
    let renewed = renew(&slack, &slack.refresh_token()).await;
    let token = renewed["access_token"].as_str().unwrap();
    assert_eq!(whoami(&slack, token).await, "token_expired");
}

#[tokio::test]
async fn the_app_may_name_itself_in_the_header() {
    let slack = start().await;
    let oauth = OAuth::default();
    let request = http().post(format!("{}oauth.v2.access", slack.api_url()));
    let request = request.basic_auth(&oauth.client_id, Some(&oauth.client_secret));
    let refresh = slack.refresh_token();
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
    let answer: Value = soon(request.form(&form).send())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["ok"], true);
    let wrong = call_as(&slack, "", "oauth.v2.access", &[("grant_type", "password")]).await;
    assert_eq!(wrong["error"], "invalid_grant_type");
}
