//! The way out, whole: a message on `slack.send` becomes a call of Slack, and the app gets its outcome.

use std::ops::Deref;
use std::path::Path;

use djangobot_tests::eventually;
use local_slack::{Answer, Call, Options};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::bridge::{Bridge, Djangobot, calls, djangobot};
use crate::deployment::Deployment;

/// An app with a bridge between it and Slack.
pub(crate) struct BridgedApp {
    pub(crate) app: App,
    pub(crate) bridge: Bridge,
    deployment: Deployment,
}

impl Deref for BridgedApp {
    type Target = Deployment;
    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

impl BridgedApp {
    pub(crate) async fn new() -> Self {
        Self::with_slack(Options::default()).await
    }

    pub(crate) async fn with_slack(options: Options) -> Self {
        let deployment = Deployment::with_slack(options).await;
        Self {
            app: deployment.sender(),
            bridge: deployment.bridge().await,
            deployment,
        }
    }

    /// Asks for `message`, and gives the app's answer.
    pub(crate) async fn ask(&mut self, mut message: Value) -> Value {
        let reply = self.app.new_channel().await;
        message["reply_channel"] = reply.as_str().into();
        self.app.send("slack.send", &message).await;
        self.app.next(&reply).await
    }

    /// Sends `message`, and gives the call of `method` that comes of it.
    pub(crate) async fn call(&mut self, method: &str, message: Value) -> Call {
        self.control.clear_calls();
        self.app.send("slack.send", &message).await;
        calls(&self.control, method, 1).await.remove(0)
    }

    pub(crate) fn channel(&self, name: &str) -> String {
        self.control.channel_id(name).unwrap()
    }

    /// That a post still goes through.
    pub(crate) async fn still_serves(&mut self) {
        let answer = self.ask(json!({"text": "still here"})).await;
        assert_eq!(answer["type"], "slack.sent", "{answer}");
    }
}

/// The dead letters that `djangobot check` counts once the bridge has ended.
async fn dead_letters(folder: &Path) -> u64 {
    let ended = Djangobot::run(djangobot(folder, &["check", "--json"])).await;
    let findings: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    let state = findings
        .iter()
        .find(|finding| finding["check"] == "state")
        .unwrap();
    let detail = state["detail"].as_str().unwrap();
    match detail.split_once("it has ") {
        Some((_, rest)) => rest.split(' ').next().unwrap().parse().unwrap(),
        None => 0,
    }
}

#[tokio::test]
async fn a_message_goes_where_the_app_says_by_name_or_id() {
    let mut bridged = BridgedApp::new().await;
    let (general, random) = (bridged.channel("general"), bridged.channel("random"));
    for (channel, expect) in [
        (None, &general),
        (Some("random"), &random),
        (Some("#random"), &random),
        (Some(&*random.clone()), &random),
        (Some("core-team"), &bridged.channel("core-team")),
    ] {
        let mut message = json!({"text": "hi"});
        if let Some(channel) = channel {
            message["channel"] = channel.into();
        }
        let call = bridged.call("chat.postMessage", message).await;
        assert_eq!(call.answer["ok"], true, "{channel:?}: {call:?}");
        // Its mark, by which it would be looked for.
        let mark = &call.arguments["metadata"];
        let id = mark["event_payload"]["id"].as_str().unwrap();
        assert_eq!(
            (mark["event_type"].as_str(), id.len()),
            (Some("djangobot_send"), 32)
        );
        assert_eq!(
            call.arguments,
            json!({"text": "hi", "channel": expect, "metadata": mark}),
            "{channel:?}"
        );
    }
}

#[tokio::test]
async fn a_message_to_a_person_goes_to_the_direct_message_which_is_opened_if_needed() {
    let mut bridged = BridgedApp::new().await;
    let (alice, carol) = (
        bridged.control.user_id("alice").unwrap(),
        bridged.control.user_id("carol").unwrap(),
    );
    let dm = bridged
        .call(
            "chat.postMessage",
            json!({"text": "hi", "channel": "@alice"}),
        )
        .await;
    assert_eq!(
        (
            &dm.answer["ok"],
            bridged.control.calls(Some("conversations.open")).len()
        ),
        (&json!(true), 0)
    );
    assert!(
        dm.arguments["channel"].as_str().unwrap().starts_with('D'),
        "{dm:?}"
    );
    for channel in [alice.clone(), format!("@{alice}")] {
        let call = bridged
            .call(
                "chat.postMessage",
                json!({"text": "hi", "channel": channel}),
            )
            .await;
        assert_eq!(call.arguments["channel"], dm.arguments["channel"]);
    }

    let call = bridged
        .call(
            "chat.postMessage",
            json!({"text": "hi", "channel": "@carol"}),
        )
        .await;
    assert_eq!(call.answer["ok"], true, "{call:?}");
    let opened = bridged.control.calls(Some("conversations.open"));
    assert_eq!(opened[0].arguments, json!({"users": carol}));
    assert_eq!(opened[0].answer["channel"]["id"], call.arguments["channel"]);
}

#[tokio::test]
async fn slacks_own_arguments_pass_through_and_other_methods_can_be_called() {
    let mut bridged = BridgedApp::new().await;
    let first = bridged.ask(json!({"text": "first"})).await;
    let (channel, ts) = (&first["channel"], &first["ts"]);
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "*bold* 🚀"}}]);
    let message = json!({"type": "send.to_slack", "text": "in a thread", "thread_ts": ts, "blocks": blocks,
        "unfurl_links": false, "metadata": {"event_type": "x", "event_payload": {"n": 9_007_199_254_740_993_i64}}});
    let call = bridged.call("chat.postMessage", message.clone()).await;
    let mut expect = message;
    expect.as_object_mut().unwrap().remove("type");
    expect["channel"] = channel.clone();
    assert_eq!((call.arguments, &call.answer["ok"]), (expect, &json!(true)));

    let reaction =
        json!({"method": "reactions.add", "channel": "general", "timestamp": ts, "name": "eyes"});
    let call = bridged.call("reactions.add", reaction.clone()).await;
    assert_eq!(
        call.arguments,
        json!({"channel": channel, "timestamp": ts, "name": "eyes"})
    );
    let again = bridged.ask(reaction).await;
    assert_eq!(
        (&again["type"], &again["method"]),
        (&json!("slack.sent"), &json!("reactions.add")),
        "{again}"
    );

    let changed = bridged
        .ask(json!({"method": "chat.update", "channel": channel, "ts": ts, "text": "changed"}))
        .await;
    assert_eq!(
        (&changed["type"], &changed["text"]),
        (&json!("slack.sent"), &json!("changed"))
    );
}

#[tokio::test]
async fn the_app_gets_the_outcome_of_its_request() {
    let mut bridged = BridgedApp::new().await;
    for id in [
        json!(7),
        json!("seven"),
        json!({"nested": [1, null]}),
        Value::Null,
    ] {
        let answer = bridged.ask(json!({"text": "hi", "id": id})).await;
        assert_eq!(answer["type"], "slack.sent");
        assert_eq!((&answer["ok"], &answer["request"]), (&json!(true), &id));
        assert_eq!(
            (&answer["method"], &answer["channel"]),
            (
                &json!("chat.postMessage"),
                &json!(bridged.channel("general"))
            )
        );
        assert!(
            answer["ts"].as_str().is_some_and(|ts| ts.contains('.')),
            "{answer}"
        );
        assert_eq!(answer["message"]["text"], "hi");
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_answered_with_slack_failed_and_the_next_is_served() {
    let mut bridged = BridgedApp::new().await;
    for (message, error) in [
        (json!({}), "no_text"),
        (json!({"text": ""}), "no_text"),
        (json!({"text": null, "channel": "random"}), "no_text"),
        (json!({"text": 5}), "invalid_text"),
        (json!({"text": ["a"]}), "invalid_text"),
        (json!({"text": "x".repeat(1 << 20)}), "msg_too_long"),
        (
            json!({"text": "hi", "channel": "nowhere"}),
            "channel_not_found",
        ),
        (
            json!({"text": "hi", "channel": "C0000000000"}),
            "channel_not_found",
        ),
        (
            json!({"text": "hi", "channel": "@nobody"}),
            "user_not_found",
        ),
        (
            json!({"text": "hi", "channel": "U0000000000"}),
            "user_not_found",
        ),
        (json!({"text": "hi", "channel": 5}), "invalid_channel"),
        (json!({"text": "hi", "channel": ""}), "invalid_channel"),
        (json!({"text": "hi", "channel": null}), "invalid_channel"),
        (
            json!({"text": "hi", "channel": "old-projects"}),
            "is_archived",
        ),
        (
            json!({"text": "hi", "method": "chat.shout"}),
            "unknown_method",
        ),
        (json!({"text": "hi", "method": 5}), "unknown_method"),
        (
            json!({"method": "conversations.archive", "channel": "general"}),
            "method_not_allowed",
        ),
        (
            json!({"method": "reactions.add", "channel": "general", "timestamp": "1.000002", "name": "eyes"}),
            "message_not_found",
        ),
    ] {
        let mut message = message;
        message["id"] = error.into();
        let answer = bridged.ask(message).await;
        assert_eq!(
            (&answer["type"], &answer["ok"], &answer["error"]),
            (&json!("slack.failed"), &json!(false), &json!(error)),
            "{answer}"
        );
        assert_eq!(answer["request"], error);
        assert!(!answer["method"].as_str().unwrap().is_empty(), "{answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(
            detail.len() > 20 && detail.ends_with('.') && detail.len() < 1000,
            "{error}: {detail}"
        );
        bridged.still_serves().await;
    }
    assert_eq!(bridged.bridge.logs("dead letter").len(), 0);
}

#[tokio::test]
async fn a_failure_without_a_reply_channel_becomes_a_dead_letter_and_is_logged() {
    let mut bridged = BridgedApp::new().await;
    let mut letters = 0;
    for (message, error) in [
        (json!({"channel": "general"}), "no_text"),
        (
            json!({"text": "hi", "channel": "nowhere"}),
            "channel_not_found",
        ),
        (
            json!({"text": "hi", "reply_channel": 5}),
            "invalid_reply_channel",
        ),
        (
            json!({"text": "hi", "reply_channel": "not a channel's name"}),
            "invalid_reply_channel",
        ),
    ] {
        bridged.app.send("slack.send", &message).await;
        letters += 1;
        kept(&mut bridged, letters, error).await;
    }
    // No channel layer of Python's would write these.
    for payload in [
        &b"\xc1\xff\x00 no msgpack"[..],
        b"",
        b"\xa4text",
        b"\x93\x01\x02\x03",
        b"\x81\x01\xa1a",
        b"\x81\xa4text\xa2hi trailing",
        b"\x81\xa4text\xa2\xff\xfe",
    ] {
        bridged.app.put("slack.send", payload).await;
        letters += 1;
        kept(&mut bridged, letters, "undecodable").await;
    }
    assert_eq!(bridged.bridge.terminate().await.code(), Some(0));
    assert_eq!(dead_letters(bridged.folder.path()).await, letters);
}

/// Waits for the log line of dead letter `number`, and sees that a post still goes through.
async fn kept(bridged: &mut BridgedApp, number: u64, error: &str) {
    let line = bridged
        .bridge
        .line(&format!("kept as dead letter {number} "))
        .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["level"], &line["error"]),
        (&json!("ERROR"), &json!(error)),
        "{line}"
    );
    bridged.still_serves().await;
}

#[tokio::test]
async fn a_message_encrypted_with_an_unknown_key_becomes_a_dead_letter_and_the_others_are_sent() {
    let deployment = Deployment::new().await;
    let config = |keys: Value| json!({"hosts": [host(&deployment.redis.url())], "symmetric_encryption_keys": keys});
    let toml = format!(
        "[layer]\nbackend = \"channels_redis.core.RedisChannelLayer\"\n\
         config = {{ hosts = [\"{}\"], symmetric_encryption_keys = [\"new\", \"old\"] }}\n",
        deployment.redis.url()
    );
    deployment.configure(&toml);
    let mut bridge = deployment.bridge_with(&[]).await;
    for (keys, text) in [
        (json!(["other"]), "lost"),
        (json!(["new"]), "in the new key"),
        (json!(["old", "new"]), "in the old key"),
    ] {
        let app = App::with_config(&config(keys));
        app.send_and_finish("slack.send", &json!({"text": text}))
            .await;
    }
    let line = bridge.line("kept as dead letter 1 ").await;
    assert!(line.contains("symmetric_encryption_keys"), "{line}");
    let calls = calls(&deployment.control, "chat.postMessage", 2).await;
    let mut texts: Vec<_> = calls
        .iter()
        .map(|call| call.arguments["text"].as_str().unwrap())
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, ["in the new key", "in the old key"]);
    assert!(
        !bridge.output().contains("\"new\"") && !bridge.output().contains("\"old\""),
        "a key was shown"
    );
}

#[tokio::test]
async fn order_is_kept_within_a_conversation() {
    let mut bridged = BridgedApp::new().await;
    let (general, random) = (bridged.channel("general"), bridged.channel("random"));
    for n in 0..40 {
        // The same conversation by any of its names is one lane.
        let channel = [&*general, "random", "#general", &*random, "general"][n % 5];
        bridged
            .app
            .send(
                "slack.send",
                &json!({"text": n.to_string(), "channel": channel}),
            )
            .await;
    }
    let calls = calls(&bridged.control, "chat.postMessage", 40).await;
    for channel in [general, random] {
        let of_channel = calls
            .iter()
            .filter(|call| call.arguments["channel"] == channel.as_str());
        let numbers: Vec<u32> = of_channel
            .map(|call| call.arguments["text"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(numbers.len() >= 16 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_conversation_does_not_wait_for_another() {
    let mut bridged = BridgedApp::new().await;
    let general = bridged.channel("general");
    // Slack never comes to an answer for the first.
    bridged.control.answer(
        "chat.postMessage",
        Answer {
            delay_ms: 3_600_000,
            ..Answer::default()
        },
    );
    let send = async |bridged: &mut BridgedApp, n: usize| {
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": n.to_string(), "channel": channel});
        bridged.app.send("slack.send", &message).await;
    };
    send(&mut bridged, 0).await;
    eventually("the first is under way", async || {
        (!bridged.control.calls(Some("chat.postMessage")).is_empty()).then_some(())
    })
    .await;
    for n in 1..20 {
        send(&mut bridged, n).await;
    }
    let answered = calls(&bridged.control, "chat.postMessage", 10).await;
    assert!(
        answered
            .iter()
            .all(|call| call.arguments["channel"] != general.as_str())
    );
    let mut to_general = bridged.control.calls(Some("chat.postMessage"));
    to_general.retain(|call| call.arguments["channel"] == general.as_str());
    assert_eq!(
        to_general
            .iter()
            .map(|call| &call.arguments["text"])
            .collect::<Vec<_>>(),
        ["0"]
    );
}
