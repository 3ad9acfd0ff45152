//! Slack's own SDKs, for Python and for Node, against the local Slack: to them it is Slack.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that does not get what it expects has failed"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use djangobot_tests::Program;
use local_slack::{Answer, Connection, Control, LocalSlack, Options};
use serde_json::{Value, json};

/// Short pings, so that a few of both kinds fall into each test.
async fn start() -> LocalSlack {
    let options = Options {
        ping_interval: Duration::from_millis(100),
        ..Options::default()
    };
    LocalSlack::start(options).await.unwrap()
}

/// A script of `clients/`, given the API's address and a token.
fn script(slack: &LocalSlack, name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    let mut command = if name.ends_with(".py") {
        Command::new(djangobot_tests::python())
    } else {
        let mut node = Command::new(djangobot_tests::node());
        node.env("NODE_PATH", djangobot_tests::node_modules());
        node
    };
    command.arg(path).arg(slack.api_url()).arg(slack.token());
    // A proxy of the developer's has no say on loopback.
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// An SDK's RTM client.
struct Client(Program);

impl Client {
    fn start(slack: &LocalSlack, name: &str) -> Client {
        Client(Program::start(script(slack, name)))
    }

    /// The next thing that it tells of and that contains `part`.
    async fn tells(&mut self, part: &str) -> Value {
        let line = self.0.line(part).await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    async fn step(&mut self, step: Value) {
        self.0.write_line(&step.to_string()).await;
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(djangobot_tests::DEADLINE, future)
        .await
        .expect("it did not happen in time")
}

/// Waits for a connection that is not `old`, and for the end of that one.
async fn replaced(control: &Control, old: &Connection) -> Connection {
    let new = |open: &[Connection]| open.len() == 1 && open[0].id != old.id;
    soon(control.wait_until(new)).await.remove(0)
}

/// Waits until so many frames of a kind have come on a connection.
async fn frames(control: &Control, connection: &Connection, part: &str, count: usize) {
    let kind = |frame: &local_slack::ReceivedFrame| {
        frame.connection == connection.id && (frame.kind == part || frame.text.contains(part))
    };
    soon(
        control.wait_for_frame(|_| {
            control.frames().iter().filter(|frame| kind(frame)).count() >= count
        }),
    )
    .await;
}

#[tokio::test]
async fn the_python_rtm_client_talks_and_reconnects() {
    let slack = start().await;
    let control = slack.control();
    let general = control.channel_id("general");
    let mut client = Client::start(&slack, "rtm.py");
    client.tells(r#""type":"hello""#).await;
    let first = soon(control.wait_for_connections(1)).await.remove(0);

    control.say("alice", "general", "good morning é").unwrap();
    let event = client.tells(r#""type":"message""#).await["event"].clone();
    assert_eq!(
        (&event["text"], &event["channel"]),
        (&json!("good morning é"), &json!(general))
    );
    client
        .step(
            json!({"send": {"id": 1, "type": "message", "channel": general, "text": "and to you"}}),
        )
        .await;
    let ack = client.tells(r#""reply_to":1"#).await["event"].clone();
    assert_eq!(
        (&ack["ok"], &ack["text"]),
        (&json!(true), &json!("and to you"))
    );
    let told = client.tells("and to you").await["event"].clone();
    assert_eq!(told["ts"], ack["ts"]);
    client
        .step(json!({"send": {"id": 2, "type": "ping", "n": 1.5}}))
        .await;
    assert_eq!(
        client.tells("pong").await["event"],
        json!({"type": "pong", "reply_to": 2, "n": 1.5})
    );

    // The SDK pings each second, wants its payload back, and answers ours; had it not, it would have reconnected.
    frames(&control, &first, "ping", 4).await;
    frames(&control, &first, "pong", 4).await;
    client.step(json!({"session": 1})).await;
    assert_eq!(client.tells("alive").await["alive"], true);
    assert_eq!(control.connections()[0].id, first.id);

    control.drop_connections(None);
    let second = replaced(&control, &first).await;
    client.tells(r#""type":"hello""#).await;
    control.goodbye(None, None).await;
    let third = replaced(&control, &second).await;
    client.tells(r#""type":"hello""#).await;
    control.say("bob", "general", "after all that").unwrap();
    client.tells("after all that").await;
    // Half open: a ping stays without an answer, so that the SDK connects anew and leaves the old socket to its fate.
    control.freeze(Some(third.id));
    soon(control.wait_for_connections(2)).await;
    client.tells(r#""type":"hello""#).await;
}

#[tokio::test]
async fn the_node_rtm_client_reconnects_and_talks() {
    let slack = start().await;
    let control = slack.control();
    let general = control.channel_id("general").unwrap();
    let mut client = Client::start(&slack, "rtm.js");
    client.tells(r#""state":"ready""#).await;
    let first = soon(control.wait_for_connections(1)).await.remove(0);

    // First, because release 7.0.4 of the SDK falls over when it reconnects after it has sent a message.
    control.drop_connections(None);
    let second = replaced(&control, &first).await;
    client.tells(r#""state":"ready""#).await;
    control.goodbye(None, Some(Duration::ZERO)).await;
    let third = replaced(&control, &second).await;
    client.tells(r#""state":"ready""#).await;

    control.say("alice", "general", "good morning é").unwrap();
    let event = client.tells(r#""type":"message""#).await["event"].clone();
    assert_eq!(
        (&event["text"], &event["channel"]),
        (&json!("good morning é"), &json!(general))
    );
    client
        .step(json!({"message": ["and to you", general]}))
        .await;
    let ack = client.tells(r#"{"ack""#).await["ack"].clone();
    assert_eq!(
        (&ack["ok"], &ack["text"]),
        (&json!(true), &json!("and to you"))
    );
    client.step(json!({"message": ["to nobody", "C404"]})).await;
    let error = client.tells(r#"{"error""#).await["error"].clone();
    assert!(error.as_str().unwrap().contains("channel not found"));

    let alice = control.user_id("alice");
    client.step(json!({ "presence": [alice] })).await;
    let presence = json!({"type": "presence_change", "presence": "active", "user": alice});
    assert_eq!(client.tells("presence_change").await["event"], presence);

    // The SDK pings in JSON whenever nothing was sent for a second, and wants its id back.
    frames(&control, &third, r#""type":"ping""#, 3).await;
    frames(&control, &third, "pong", 4).await;
    assert_eq!(control.connections()[0].id, third.id);
}

#[tokio::test]
async fn typing_goes_from_one_sdk_to_the_other() {
    let slack = start().await;
    let general = slack.control().channel_id("general").unwrap();
    let (mut node, mut python) = (
        Client::start(&slack, "rtm.js"),
        Client::start(&slack, "rtm.py"),
    );
    node.tells(r#""state":"ready""#).await;
    python.tells(r#""type":"hello""#).await;
    node.step(json!({ "typing": general })).await;
    let typing = json!({"type": "user_typing", "channel": general, "user": slack.control().user_id("djangobot")});
    assert_eq!(python.tells("user_typing").await["event"], typing);
    python
        .step(json!({"send": {"id": 1, "type": "typing", "channel": general}}))
        .await;
    assert_eq!(node.tells("user_typing").await["event"], typing);
}

#[tokio::test]
async fn a_refused_token_is_fatal_to_the_node_client() {
    let slack = start().await;
    slack.control().revoke(slack.token(), "account_inactive");
    let mut client = Client::start(&slack, "rtm.js");
    assert_eq!(client.tells("refused").await["refused"], "account_inactive");
    client.tells("failed").await;
}

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
