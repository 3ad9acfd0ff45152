//! RTM clients.

use std::time::Duration;

use local_slack::{Connection, Control};
use serde_json::json;

use crate::{Client, replaced, soon, start};

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
    // Half open: a ping stays without an answer, so that the SDK connects again and abandons the old socket.
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
    // The refusal itself is told as well, with a number as its code.
    let error = client.tells(r#""code":""#).await["error"].clone();
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
