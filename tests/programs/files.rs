//! Files that an app sends: uploaded in three calls, shared once whatever fails between.

use djangobot_tests::eventually;
use local_slack::Answer;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::sending::BridgedApp;

/// The files that stand in messages of #general, by name and content.
fn shared(bridged: &BridgedApp) -> Vec<(String, Vec<u8>)> {
    let mut shared = Vec::new();
    for call in bridged.control.calls(Some("files.completeUploadExternal")) {
        for file in call.answer["files"].as_array().into_iter().flatten() {
            let content = bridged.control.file(file["id"].as_str().unwrap()).unwrap();
            shared.push((file["name"].as_str().unwrap().to_owned(), content.to_vec()));
        }
    }
    shared
}

#[tokio::test]
async fn a_file_of_bytes_arrives_in_its_thread_as_it_was() {
    let mut bridged = BridgedApp::new().await;
    let parent = bridged.ask(json!({"text": "a thread"})).await;
    let answer = bridged
        .ask_python(&format!(
            r#"{{"file": {{"name": "all.bin", "content": bytes(range(256)) * 100, "title": "All", "alt_text": None}},
                "channel": "general", "text": "every byte", "thread_ts": {}}}"#,
            parent["ts"]
        ))
        .await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(answer["method"], "files.completeUploadExternal");
    assert_eq!(answer["files"][0]["title"], "All");
    let all: Vec<u8> = (0..100).flat_map(|_| 0..=255).collect();
    assert_eq!(shared(&bridged), [("all.bin".to_owned(), all)]);
    let call = bridged
        .control
        .calls(Some("files.completeUploadExternal"))
        .remove(0);
    assert_eq!(
        (
            &call.arguments["initial_comment"],
            &call.arguments["thread_ts"]
        ),
        (&json!("every byte"), &parent["ts"])
    );
    assert_eq!(
        call.arguments["channel_id"],
        json!(bridged.channel("general"))
    );
}

#[tokio::test]
async fn several_files_go_together_and_into_a_direct_message() {
    let mut bridged = BridgedApp::new().await;
    let answer = bridged
        .ask_python(
            r#"{"channel": "@alice", "files": [{"name": "a.txt", "content": "one"}, {"filename": "b.txt", "content": b"two"}]}"#,
        )
        .await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    let expect = [
        ("a.txt".to_owned(), b"one".to_vec()),
        ("b.txt".to_owned(), b"two".to_vec()),
    ];
    assert_eq!(shared(&bridged), expect);
    assert_eq!(
        bridged
            .control
            .calls(Some("files.completeUploadExternal"))
            .len(),
        1
    );
}

#[tokio::test]
async fn a_file_that_can_not_be_uploaded_is_refused_with_a_sentence() {
    let mut bridged = BridgedApp::new().await;
    for (message, error, word) in [
        (
            r#"{"file": {"name": "a", "content": b"\xff" * (17 << 20)}}"#,
            "file_too_large",
            "max-file-mib",
        ),
        (r#"{"file": {"name": "a"}}"#, "invalid_file", "`content`"),
        (
            r#"{"file": {"name": "a", "content": "x"}, "channel": None}"#,
            "invalid_channel",
            "`channel`",
        ),
        (
            r#"{"file": {"name": "a", "content": "x"}, "metadata": {}}"#,
            "invalid_arguments",
            "metadata",
        ),
        (
            r#"{"method": "files.upload", "content": "x"}"#,
            "method_deprecated",
            "retired",
        ),
        (
            r#"{"text": "hi", "username": b"\xff"}"#,
            "invalid_arguments",
            "`username`",
        ),
    ] {
        let answer = bridged.ask_python(message).await;
        assert_eq!(
            (&answer["type"], &answer["error"]),
            (&json!("slack.failed"), &json!(error)),
            "{answer}"
        );
        assert!(
            answer["detail"].as_str().unwrap().contains(word),
            "{answer}"
        );
    }
    bridged.still_serves().await;
}

#[tokio::test]
async fn a_file_is_shared_once_whatever_fails() {
    let mut bridged = BridgedApp::new().await;
    let lost = |perform| Answer {
        status: 502,
        perform,
        ..Answer::default()
    };
    // The place, the content, and the answer of the call that shares it, which had its effect all the same.
    bridged
        .control
        .answer("files.getUploadURLExternal", lost(false));
    bridged.control.answer("upload", lost(false));
    bridged
        .control
        .answer("files.completeUploadExternal", lost(true));
    let answer = bridged
        .ask(json!({"file": {"name": "a.txt", "content": "once"}}))
        .await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(
        bridged
            .control
            .calls(Some("files.completeUploadExternal"))
            .len(),
        1
    );
    assert_eq!(answer["message"]["files"][0]["name"], "a.txt");
}

#[tokio::test]
async fn a_file_outlives_a_kill_and_is_shared_once() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut app = deployment.sender();
    let mut bridge = deployment.bridge().await;
    // It is shared, and the answer never comes.
    let never = Answer {
        delay_ms: 600_000,
        ..Answer::default()
    };
    control.answer("files.completeUploadExternal", never);
    let reply = app.new_channel().await;
    let message = format!(
        r#"{{"file": {{"name": "a.bin", "content": b"\xff\x00"}}, "reply_channel": {reply:?}}}"#
    );
    app.send_python("slack.send", &message).await;
    let calls = || control.calls(Some("files.completeUploadExternal"));
    eventually("the file is shared", async || calls().pop()).await;
    bridge.kill().await;
    let _bridge = deployment.bridge().await;
    let answer: Value = app.next(&reply).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(answer["message"]["files"][0]["name"], "a.bin");
    assert_eq!(calls().len(), 1);
}
