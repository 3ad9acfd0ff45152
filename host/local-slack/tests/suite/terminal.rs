//! The workspace in a terminal.

use local_slack::terminal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};
use tokio_util::sync::CancellationToken;

use crate::client::{Rtm, SocketMode, call, hasty, soon, start, start_with};

#[tokio::test]
async fn typed_lines_are_posted_and_what_the_bot_does_is_shown() {
    let slack = start().await;
    let control = slack.control();
    let mut rtm = Rtm::connect(&slack).await;
    let (mut keys, typed) = duplex(4096);
    let (shown, screen) = duplex(65536);
    let mut lines = BufReader::new(screen).lines();
    let cancel = CancellationToken::new();
    let session = terminal(&slack, BufReader::new(typed), shown, cancel.clone());
    let script = async {
        let mut next = async || soon(lines.next_line()).await.unwrap().unwrap();
        for (line, user, text, place) in [
            (
                "hello there",
                "alice",
                "hello there",
                control.channel_id("general"),
            ),
            (
                "#ops  ship it",
                "alice",
                "ship it",
                control.channel_id("ops"),
            ),
            ("#random", "alice", "#random", control.channel_id("general")),
            ("@bob psst", "bob", "psst", None),
        ] {
            keys.write_all(format!("{line}\n").as_bytes())
                .await
                .unwrap();
            let event = rtm.event().await;
            assert_eq!(
                (&event["text"], &event["user"]),
                (&json!(text), &json!(control.user_id(user)))
            );
            match place {
                Some(channel) => assert_eq!(event["channel"], channel),
                None => assert!(event["channel"].as_str().unwrap().starts_with('D')),
            }
        }
        keys.write_all(b"\n/help\n#nowhere x\n").await.unwrap();
        assert!(next().await.contains("#general as alice"));
        while !next().await.starts_with("/help") {}
        assert!(next().await.contains("no conversation \"nowhere\""));

        let post = json!({"channel": "general", "text": "hi \u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\nsecond"});
        let ts = call(&slack, "chat.postMessage", post).await["ts"].clone();
        let line = next().await;
        assert!(line.ends_with("] #general djangobot: hi red"), "{line}");
        assert_eq!(line.as_bytes()[0], b'[');
        assert_eq!(next().await, "    second");
        let general = control.channel_id("general");
        let reply = json!({"channel": "general", "text": "deeper", "thread_ts": ts});
        call(&slack, "chat.postMessage", reply).await;
        assert!(
            next()
                .await
                .ends_with("] #general djangobot: (in thread) deeper")
        );
        let item = json!({"channel": general, "timestamp": ts, "name": "tada"});
        call(&slack, "reactions.add", item).await;
        assert!(
            next()
                .await
                .ends_with("] #general djangobot reacted with :tada:")
        );
        call(
            &slack,
            "chat.update",
            json!({"channel": general, "ts": ts, "text": "new"}),
        )
        .await;
        assert!(
            next()
                .await
                .ends_with("] #general djangobot: (changed) new")
        );
        call(&slack, "chat.delete", json!({"channel": general, "ts": ts})).await;
        assert!(
            next()
                .await
                .ends_with("] #general djangobot: (deleted) new")
        );
        let bob = control.user_id("bob");
        call(
            &slack,
            "chat.postMessage",
            json!({"channel": bob, "text": "psst yourself"}),
        )
        .await;
        assert!(next().await.ends_with("] @bob djangobot: psst yourself"));
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(session, script);
    ended.unwrap();
}

#[tokio::test]
async fn the_end_of_the_input_ends_the_session() {
    let slack = start().await;
    let session = terminal(
        &slack,
        &b"good bye"[..],
        Vec::new(),
        CancellationToken::new(),
    );
    soon(session).await.unwrap();
    let general = slack.control().channel_id("general");
    let history = call(
        &slack,
        "conversations.history",
        json!({ "channel": general }),
    )
    .await;
    assert_eq!(history["messages"][0]["text"], "good bye");
}

#[tokio::test]
async fn a_slash_command_is_typed_and_its_answer_is_shown() {
    let slack = start_with(hasty()).await;
    let (mut keys, typed) = duplex(4096);
    let (shown, screen) = duplex(65536);
    let mut lines = BufReader::new(screen).lines();
    let cancel = CancellationToken::new();
    let session = terminal(&slack, BufReader::new(typed), shown, cancel.clone());
    let script = async {
        let mut next = async || soon(lines.next_line()).await.unwrap().unwrap();
        keys.write_all(b"/deploy now\n").await.unwrap();
        assert!(next().await.starts_with("/deploy can't be delivered"));
        let mut app = SocketMode::connect(&slack).await;
        keys.write_all(b"/deploy now\n").await.unwrap();
        let envelope = app.envelope().await;
        let payload = &envelope["payload"];
        assert_eq!(
            (&payload["command"], &payload["text"], &payload["user_name"]),
            (&json!("/deploy"), &json!("now"), &json!("alice"))
        );
        app.answer(&envelope, json!({"text": "on it"})).await;
        let line = next().await;
        assert!(
            line.ends_with("] #general djangobot: (only you see this) on it"),
            "{line}"
        );
        keys.write_all(b"/deploy now\n").await.unwrap();
        app.envelope().await;
        assert_eq!(next().await, "/deploy failed: the app did not take it");
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(session, script);
    ended.unwrap();
}
