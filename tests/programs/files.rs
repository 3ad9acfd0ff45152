//! Files that an app sends: uploaded in three calls, shared once whatever fails between.

use djangobot_tests::{Redis, eventually};
use local_slack::Answer;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, slack};
use crate::sending::World;

/// The files that stand in messages of #general, by name and content.
fn shared(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut shared = Vec::new();
    for call in world.control.calls(Some("files.completeUploadExternal")) {
        for file in call.answer["files"].as_array().into_iter().flatten() {
            let content = world.control.file(file["id"].as_str().unwrap()).unwrap();
            shared.push((file["name"].as_str().unwrap().to_owned(), content.to_vec()));
        }
    }
    shared
}

#[tokio::test]
async fn a_file_of_bytes_arrives_in_its_thread_as_it_was() {
    let mut world = World::new().await;
    let parent = world.ask(json!({"text": "a thread"})).await;
    let answer = world
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
    assert_eq!(shared(&world), [("all.bin".to_owned(), all)]);
    let call = world.control.calls(Some("files.completeUploadExternal")).remove(0);
    assert_eq!(
        (&call.arguments["initial_comment"], &call.arguments["thread_ts"]),
        (&json!("every byte"), &parent["ts"])
    );
    assert_eq!(call.arguments["channel_id"], json!(world.channel("general")));
}

#[tokio::test]
async fn several_files_go_together_and_into_a_direct_message() {
    let mut world = World::new().await;
    let answer = world
        .ask_python(
            r#"{"channel": "@alice", "files": [{"name": "a.txt", "content": "one"}, {"filename": "b.txt", "content": b"two"}]}"#,
        )
        .await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    let expect = [("a.txt".to_owned(), b"one".to_vec()), ("b.txt".to_owned(), b"two".to_vec())];
    assert_eq!(shared(&world), expect);
    assert_eq!(world.control.calls(Some("files.completeUploadExternal")).len(), 1);
}

#[tokio::test]
async fn what_can_not_be_uploaded_is_refused_with_a_sentence() {
    let mut world = World::new().await;
    for (message, error, word) in [
        (r#"{"file": {"name": "a", "content": b"\xff" * (17 << 20)}}"#, "file_too_large", "max-file-mib"),
        (r#"{"file": {"name": "a"}}"#, "invalid_file", "`content`"),
        (r#"{"file": {"name": "a", "content": "x"}, "channel": None}"#, "invalid_channel", "`channel`"),
        (r#"{"file": {"name": "a", "content": "x"}, "metadata": {}}"#, "invalid_arguments", "metadata"),
        (r#"{"method": "files.upload", "content": "x"}"#, "method_deprecated", "retired"),
        (r#"{"text": "hi", "username": b"\xff"}"#, "invalid_arguments", "`username`"),
    ] {
        let answer = world.ask_python(message).await;
        assert_eq!((&answer["type"], &answer["error"]), (&json!("slack.failed"), &json!(error)), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{answer}");
    }
    world.still_serves().await;
}

#[tokio::test]
async fn a_file_is_shared_once_whatever_fails() {
    let mut world = World::new().await;
    let lost = |perform| Answer {
        status: 502,
        perform,
        ..Answer::default()
    };
    // The place, the content, and the answer of the call that shares it, which had its effect all the same.
    world.control.answer("files.getUploadURLExternal", lost(false));
    world.control.answer("upload", lost(false));
    world.control.answer("files.completeUploadExternal", lost(true));
    let answer = world.ask(json!({"file": {"name": "a.txt", "content": "once"}})).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(world.control.calls(Some("files.completeUploadExternal")).len(), 1);
    assert_eq!(answer["message"]["files"][0]["name"], "a.txt");
}

#[tokio::test]
async fn a_file_outlives_a_kill_and_is_shared_once() {
    let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
    let control = slack.control();
    let mut app = App::start(&redis.url());
    let mut bridge = Bridge::connected(folder.path(), &slack, &[&redis.url()]).await;
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
    let _bridge = Bridge::connected(folder.path(), &slack, &[&redis.url()]).await;
    let answer: Value = app.next(&reply).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(answer["message"]["files"][0]["name"], "a.bin");
    assert_eq!(calls().len(), 1);
}
