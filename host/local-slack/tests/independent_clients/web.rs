//! Web API clients.

use local_slack::{Answer, LocalSlack, Options};
use serde_json::{Value, json};

use crate::Client;

/// Runs a script of many calls against a large workspace, and gives what it saw.
async fn saw(name: &str) -> Value {
    let options = Options {
        users: 50_000,
        channels: 200,
        ..Options::default()
    };
    let slack = LocalSlack::start(options).await.unwrap();
    slack.control().answer(
        "chat.postEphemeral",
        Answer {
            retry_after: Some(1),
            ..Answer::default()
        },
    );
    let mut client = Client::start(&slack, name);
    let seen = client.tells("{").await;
    let posts = slack.control().calls(Some("chat.postEphemeral"));
    let statuses: Vec<u16> = posts.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [429, 200]);
    seen
}

#[tokio::test]
async fn the_python_web_client_gets_what_slack_gives() {
    let seen = saw("web.py").await;
    assert_eq!(
        (&seen["user"], &seen["users"]),
        (&json!("djangobot"), &json!(50_007))
    );
    assert!(seen["scopes"].as_str().unwrap().contains("users:read"));
    assert!(seen["channels"].as_u64().unwrap() > 150);
    assert_eq!(seen["message"]["text"], "two");
    assert_eq!(seen["message"]["reactions"][0]["name"], "tada");
    assert_eq!(
        seen["message"]["metadata"]["event_payload"],
        json!({"n": 1})
    );
    assert_eq!(seen["im"], "D");
    let errors = [
        "channel_not_found",
        "no_text",
        "message_not_found",
        "user_not_found",
        "message_not_found",
        "unknown_method",
        "invalid_auth",
    ];
    assert_eq!(seen["errors"], json!(errors));
    assert_eq!(seen["waited"], true);
}

#[tokio::test]
async fn the_node_web_client_gets_what_slack_gives() {
    let seen = saw("web.js").await;
    assert_eq!(
        (&seen["user"], &seen["users"]),
        (&json!("djangobot"), &json!(50_007))
    );
    assert_eq!(seen["scopes"], true);
    assert_eq!(seen["attachments"], json!([{"id": 1, "text": "more"}]));
    assert_eq!(seen["reactions"], json!(["wave"]));
    let errors = [
        "already_reacted",
        "channel_not_found",
        "message_not_found",
        "unknown_method",
        "invalid_auth",
        "invalid_cursor",
    ];
    assert_eq!(seen["errors"], json!(errors));
    assert_eq!(seen["waited"], true);
}
