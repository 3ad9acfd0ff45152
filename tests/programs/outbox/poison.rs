//! Calls that fail however often they are tried: each has its outcome, and what is behind it goes.

use djangobot_tests::eventually;
use local_slack::Answer;
use serde_json::json;

use super::World;
use crate::bridge::Bridge;

/// So without end.
fn always(answer: Answer) -> Answer {
    Answer {
        probability: Some(1.0),
        ..answer
    }
}

/// A page of a server that fails, to all calls that hold `text`.
fn broken(status: u16, text: &str) -> Answer {
    always(Answer {
        status,
        body: Some("<html>Internal Server Error</html>".into()),
        contains: text.into(),
        ..Answer::default()
    })
}

/// A bridge that tries messages for so many seconds.
async fn hasty(world: &World, seconds: u32) -> Bridge {
    let path = world.folder.path().join("djangobot.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        format!("{toml}\n[slack]\nsend-timeout = {seconds}\n"),
    )
    .unwrap();
    world.bridge().await
}

#[tokio::test]
async fn a_call_that_fails_alone_gives_way_to_what_is_behind_it() {
    let world = World::new().await;
    let mut bridge = world.bridge().await;
    let mut app = world.app();
    let mut replies = Vec::new();
    for (n, channel, message) in [
        (
            0,
            "general",
            json!({"method": "chat.update", "ts": "1.000001"}),
        ),
        (1, "random", json!({"method": "chat.postMessage"})),
        (
            2,
            "core-team",
            json!({"method": "chat.delete", "ts": "1.000001"}),
        ),
    ] {
        let method = message["method"].as_str().unwrap();
        let answer = match n {
            0 => broken(500, "poison"),
            1 => broken(503, "poison"),
            _ => always(Answer {
                error: Some("fatal_error".into()),
                ..Answer::default()
            }),
        };
        world.control.answer(method, answer);
        for text in ["poison", "behind it"] {
            let reply = app.new_channel().await;
            let mut message = match text {
                "poison" => message.clone(),
                _ => json!({}),
            };
            message["text"] = text.into();
            message["channel"] = channel.into();
            message["reply_channel"] = reply.as_str().into();
            app.send("slack.send", &message).await;
            replies.push((text, channel, reply));
        }
    }
    for (text, channel, reply) in replies {
        let told = app.next(&reply).await;
        if text == "poison" {
            assert_eq!(told["type"], "slack.failed", "{channel}: {told}");
            let detail = told["detail"].as_str().unwrap();
            assert!(detail.contains("other calls of Slack succeed"), "{detail}");
        } else {
            assert_eq!(told["type"], "slack.sent", "{channel}: {told}");
        }
    }
    bridge.line("it is tried again").await;
}

#[tokio::test]
async fn nothing_is_tried_for_longer_than_the_config_allows() {
    let world = World::new().await;
    let _bridge = hasty(&world, 3).await;
    let mut app = world.app();
    let limited = always(Answer {
        retry_after: Some(3600),
        ..Answer::default()
    });
    for (method, answer, message, error) in [
        ("*", broken(503, ""), json!({"text": "away"}), "http_status"),
        (
            "*",
            broken(500, ""),
            json!({"text": "away, and who knows"}),
            "http_status",
        ),
        (
            "conversations.open",
            broken(500, ""),
            json!({"text": "not opened", "channel": "@carol"}),
            "http_status",
        ),
        (
            "chat.postMessage",
            limited,
            json!({"text": "limited"}),
            "ratelimited",
        ),
        // The pause that Slack asked for holds this one, too.
        (
            "none",
            Answer::default(),
            json!({"text": "limited still"}),
            "ratelimited",
        ),
    ] {
        world.control.answer(method, answer);
        let reply = app.new_channel().await;
        let mut message = message;
        message["reply_channel"] = reply.as_str().into();
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(
            (&told["type"], &told["error"]),
            (&json!("slack.failed"), &json!(error)),
            "{message}: {told}"
        );
        world.control.clear_answers();
    }
    let other = app.new_channel().await;
    let message = json!({"text": "fine", "channel": "random", "reply_channel": other});
    app.send("slack.send", &message).await;
    assert_eq!(app.next(&other).await["type"], "slack.sent");
}

#[tokio::test]
async fn a_retry_after_of_0_is_no_hot_loop() {
    let world = World::new().await;
    let hot = || {
        always(Answer {
            retry_after: Some(0),
            ..Answer::default()
        })
    };
    let _bridge = world.bridge().await;
    for method in ["chat.postMessage", "conversations.list", "users.info"] {
        world.control.answer(method, hot());
    }
    let mut app = world.app();
    for channel in ["general", "nowhere"] {
        let message = json!({"text": "hi", "channel": channel});
        app.send("slack.send", &message).await;
    }
    world.control.say("alice", "general", "hi").unwrap();
    for method in ["chat.postMessage", "conversations.list"] {
        eventually(&format!("{method} is called some times"), async || {
            let calls = world.control.calls(Some(method));
            (calls.len() >= 3).then_some(())
        })
        .await;
        let calls = world.control.calls(Some(method));
        let pauses: Vec<f64> = calls.windows(2).map(|it| it[1].at - it[0].at).collect();
        assert!(
            pauses.iter().all(|pause| *pause >= 0.9),
            "{method}: {pauses:?}"
        );
    }
}
