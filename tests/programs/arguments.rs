//! The arguments that a Python app writes, and those that Slack gets.

use serde_json::{Value, json};

use crate::sending::BridgedApp;

impl BridgedApp {
    /// Sends the dict that a Python expression gives, with a `reply_channel`, and gives the answer.
    pub(crate) async fn ask_python(&mut self, expression: &str) -> Value {
        let reply = self.app.new_channel().await;
        let expression = format!("dict({expression}, reply_channel={reply:?})");
        self.app.send_python("slack.send", &expression).await;
        self.app.next(&reply).await
    }
}

#[tokio::test]
async fn arguments_go_out_as_slack_takes_them() {
    let mut bridged = BridgedApp::new().await;
    let parent = bridged.ask(json!({"text": "a thread"})).await;
    let ts = parent["ts"].as_str().unwrap().to_owned();

    // The float of a timestamp has lost nothing yet, and lands in its thread.
    let answer = bridged
        .ask_python(&format!(
            r#"{{"text": "hi", "thread_ts": float("{ts}"), "username": None, "unfurl_links": 0, "metadata": None,
                "blocks": ({{"type": "divider", "block_id": None}},), "icon_emoji": ""}}"#
        ))
        .await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(answer["message"]["thread_ts"], json!(ts));
    let call = bridged
        .control
        .calls(Some("chat.postMessage"))
        .pop()
        .unwrap();
    let sent = call.arguments.as_object().unwrap();
    assert_eq!(sent["thread_ts"], json!(ts));
    assert_eq!(sent["unfurl_links"], json!(false));
    assert_eq!(sent["blocks"], json!([{"type": "divider"}]));
    assert_eq!(sent.get("username").or(sent.get("icon_emoji")), None);

    for (wrong, word) in [
        (r#"{"text": "hi", "thread_ts": 1602251441}"#, "thread_ts"),
        (
            r#"{"text": "hi", "thread_ts": 1602251441.00171234}"#,
            "thread_ts",
        ),
        (r#"{"text": "hi", "token": "xoxb-hush"}"#, "token"),
        (
            r#"{"text": "hi", "unfurl_links": "perhaps"}"#,
            "unfurl_links",
        ),
        (r#"{"text": "hi", "blocks": "nonsense"}"#, "blocks"),
    ] {
        let answer = bridged.ask_python(wrong).await;
        assert_eq!(
            (&answer["type"], &answer["error"], &answer["method"]),
            (
                &json!("slack.failed"),
                &json!("invalid_arguments"),
                &json!("chat.postMessage")
            ),
            "{answer}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{word}`")), "{detail}");
        assert!(!detail.contains("hush"), "{detail}");
    }

    let [alice, bob] = ["alice", "bob"].map(|name| bridged.control.user_id(name).unwrap());
    let open = format!(r#"{{"method": "conversations.open", "users": [{alice:?}, {bob:?}]}}"#);
    let answer = bridged.ask_python(&open).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    let call = bridged
        .control
        .calls(Some("conversations.open"))
        .pop()
        .unwrap();
    assert_eq!(call.arguments["users"], json!(format!("{alice},{bob}")));

    let answer = bridged
        .ask_python(r#"{"text": "hi", "method": "chat.postMesage"}"#)
        .await;
    assert_eq!(answer["method"], "chat.postMesage");
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("Did you mean chat.postMessage?"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_message_that_can_be_decoded_only_in_part_is_answered() {
    let mut bridged = BridgedApp::new().await;
    for broken in [
        r#"{"text": "hi", "blocks": [{"n": float("nan")}], "id": 7}"#,
        r#"{"text": "hi", "metadata": {1: "an int key"}, "id": 7}"#,
        r#"{"id": 7, "at": __import__("msgpack").Timestamp(0)}"#,
    ] {
        let answer = bridged.ask_python(broken).await;
        assert_eq!(
            (
                &answer["type"],
                &answer["error"],
                &answer["request"],
                &answer["method"]
            ),
            (
                &json!("slack.failed"),
                &json!("undecodable"),
                &json!(7),
                &json!("chat.postMessage")
            ),
            "{answer}"
        );
    }
    // It can't be said that there was none where not all can be read.
    bridged
        .app
        .send_python("slack.send", r#"{"text": float("nan")}"#)
        .await;
    let line = bridged.bridge.line("kept as dead letter 1 ").await;
    assert!(line.contains("no reply_channel can be read"), "{line}");
    bridged.app.put("slack.send", b"\xc1 not msgpack").await;
    let line = bridged.bridge.line("kept as dead letter 2 ").await;
    assert!(line.contains("no reply_channel can be read"), "{line}");
    bridged.still_serves().await;
}

#[tokio::test]
async fn names_are_resolved_in_every_argument_that_is_an_id() {
    let mut bridged = BridgedApp::new().await;
    let [alice, bob] = ["alice", "bob"].map(|name| bridged.control.user_id(name).unwrap());
    let general = bridged.channel("general");
    for (message, name, expect) in [
        (
            r##"{"method": "chat.postEphemeral", "channel": "#general", "user": "@alice", "text": "psst"}"##,
            "channel",
            &general,
        ),
        (
            r#"{"method": "chat.postEphemeral", "channel": "general", "user": "alice", "text": "psst"}"#,
            "user",
            &alice,
        ),
        (
            r#"{"method": "conversations.open", "users": ("@alice", "bob")}"#,
            "users",
            &format!("{alice},{bob}"),
        ),
        (
            r#"{"method": "conversations.open", "users": "alice,@bob"}"#,
            "users",
            &format!("{alice},{bob}"),
        ),
        (
            r#"{"method": "assistant.threads.setStatus", "channel_id": "general", "thread_ts": "1.2", "status": ""}"#,
            "channel_id",
            &general,
        ),
        (
            r#"{"method": "views.publish", "user_id": "@bob", "view": {}}"#,
            "user_id",
            &bob,
        ),
    ] {
        bridged.control.clear_calls();
        bridged.ask_python(message).await;
        let method = message.split('"').nth(3).unwrap();
        let call = bridged.control.calls(Some(method)).pop().unwrap();
        assert_eq!(call.arguments[name], json!(expect), "{message}");
    }
    let answer = bridged
        .ask_python(r#"{"method": "conversations.open", "users": ["alice", "nobody-such"]}"#)
        .await;
    assert_eq!(answer["error"], "user_not_found", "{answer}");
}
