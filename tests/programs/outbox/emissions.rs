//! Messages that plugins emit with a message for Slack: they go when it goes, whatever is killed.

use djangobot_plugins::Artifact;
use djangobot_tests::eventually;
use serde_json::{Value, json};

use super::silent;
use crate::bridge::{Djangobot, djangobot};
use crate::guest::{Guest, Put};

/// A plugin that makes each reaction a rocket, emits a post with it, and sends a message of its own.
fn plugin() -> Vec<u8> {
    let mut guest = Guest::new()
        .imports(r#"(import "djangobot:plugin/slack@1.0.0" "send" (func $send (param i32 i32 i32)))"#)
        .imports(r#"(import "djangobot:plugin/emitter@1.0.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#);
    let (beside, own) = (
        r#"{"text":"beside","channel":"general"}"#,
        r#"{"text":"own","channel":"random"}"#,
    );
    let kind = "chat.postMessage";
    let [kind_at, beside_at, own_at] =
        [kind, beside, own].map(|text| guest.data.put(text.as_bytes()));
    let answer = guest.data.edits(&[("/name", Put::Text("rocket"))]);
    let guest = guest.on_event(&format!(
        "(call $emit (i32.const {kind_at}) (i32.const {}) (i32.const {beside_at}) (i32.const {}) (i32.const 64))
         (call $send (i32.const {own_at}) (i32.const {}) (i32.const 64))
         (i32.const {answer})",
        kind.len(),
        beside.len(),
        own.len()
    ));
    let manifest = "name = \"rockets\"\nversion = \"1.0.0\"\ncapabilities = [\"slack\"]\nemits = [\"chat.postMessage\"]\n\n\
                    [subscribe]\noutbound = [\"reactions.add\"]\n";
    let artifact = Artifact::with_manifest(&guest.wasm(), manifest).unwrap();
    artifact.component.to_vec()
}

#[tokio::test]
async fn messages_that_plugins_emit_and_send_outlast_a_kill_and_are_posted_once() {
    let deployment = super::deployment().await;
    let file = deployment.folder.path().join("rockets.wasm");
    std::fs::write(&file, plugin()).unwrap();
    let arguments = ["plugin", "add", file.to_str().unwrap(), "--grant", "slack"];
    let added = Djangobot::run(djangobot(deployment.folder.path(), &arguments)).await;
    assert_eq!(added.code, Some(0), "{added:?}");

    let ts = deployment.control.say("alice", "general", "hi").unwrap();
    // The reaction is there, its answer is not; the plugin's own message is on its way just so.
    deployment.control.answer("reactions.add", silent());
    deployment.control.answer("chat.postMessage", silent());
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    let message = json!({"method": "reactions.add", "channel": "general", "timestamp": ts, "name": "eyes",
        "reply_channel": reply, "id": 7});
    app.send("slack.send", &message).await;
    deployment.called("reactions.add", 1).await;
    deployment.called("chat.postMessage", 1).await;
    deployment.layer_is_empty().await;
    bridge.metric_is("djangobot_outbox_messages", 3.0).await;
    bridge.kill().await;

    let bridge = deployment.configured_bridge().await;
    let told = app.next(&reply).await;
    assert_eq!(
        (&told["type"], &told["request"], &told["method"]),
        (&json!("slack.sent"), &json!(7), &json!("reactions.add")),
        "{told}"
    );
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    assert_eq!(deployment.texts("general").await, ["hi", "beside"]);
    assert_eq!(deployment.texts("random").await, ["own"]);
    let names: Vec<Value> = deployment
        .calls("reactions.add")
        .iter()
        .map(|call| call.arguments["name"].clone())
        .collect();
    assert_eq!(names, ["rocket", "rocket"], "the plugin saw it once");
    eventually("what is sent is counted", async || {
        (bridge
            .metric("djangobot_sends_total{result=\"sent\"}")
            .await
            == 3.0)
            .then_some(())
    })
    .await;
}
