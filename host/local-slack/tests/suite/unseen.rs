//! Changes without an event for the app, and tokens of org-wide apps.

use local_slack::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Rtm, call, start, start_with};
use crate::control::operate;

#[tokio::test]
async fn channels_and_users_come_about_and_change_without_an_event() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    let post = |operation, body| operate(&slack, Method::POST, operation, body);
    let (status, made) = post("channel", json!({"name": "newchan"})).await;
    assert_eq!(status, 200, "{made}");
    let (_, zoe) = post("user", json!({"name": "zoe", "real_name": "Zoe Zimmer"})).await;
    assert_eq!(
        post("rename", json!({"channel": "random", "name": "other"}))
            .await
            .0,
        200
    );
    assert_eq!(post("deactivate", json!({"user": "bob"})).await.0, 200);
    assert_eq!(
        post("rename", json!({"channel": "random", "name": "x"}))
            .await
            .0,
        404
    );
    assert_eq!(post("deactivate", json!({"user": "nobody"})).await.0, 404);

    let info = call(&slack, "conversations.info", json!({"channel": made["id"]})).await;
    assert_eq!(info["channel"]["name"], "newchan");
    let info = call(&slack, "users.info", json!({"user": zoe["id"]})).await;
    assert_eq!(info["user"]["real_name"], "Zoe Zimmer");
    let list = call(&slack, "users.list", json!({})).await;
    let bob = list["members"].as_array().unwrap().iter();
    let bob = bob.clone().find(|user| user["name"] == "bob").unwrap();
    assert_eq!(bob["deleted"], true);
    assert_eq!(slack.control().channel_id("random"), None);
    assert!(slack.control().channel_id("other").is_some());
    rtm.nothing().await;
}

#[tokio::test]
async fn an_org_wide_token_says_of_which_workspace_a_list_is_wanted() {
    let slack = start_with(Options {
        org_wide: true,
        ..Options::default()
    })
    .await;
    let teams = call(&slack, "auth.teams.list", json!({})).await;
    let team = &teams["teams"][0]["id"];
    for method in ["conversations.list", "users.list", "users.conversations"] {
        let error = |answer: Value| answer["error"].as_str().unwrap_or_default().to_owned();
        let without = call(&slack, method, json!({})).await;
        assert_eq!(error(without), "missing_argument", "{method}");
        let of_another = call(&slack, method, json!({"team_id": "T404"})).await;
        assert_eq!(error(of_another), "team_not_found", "{method}");
        let listed = call(&slack, method, json!({"team_id": team})).await;
        assert_eq!(listed["ok"], true, "{method}: {listed}");
    }
    let me = call(&slack, "auth.test", json!({})).await;
    assert_eq!(me["is_enterprise_install"], true);
}
