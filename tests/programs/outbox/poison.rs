//! Calls that fail however often they are tried: each has its outcome, and what is behind it goes.

use std::time::{Duration, Instant};

use djangobot_tests::eventually;
use local_slack::{Answer, OAuth};
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::Bridge;
use crate::deployment::Deployment;

/// The same answer to all calls.
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
async fn hasty(deployment: &Deployment, seconds: u32) -> Bridge {
    deployment.configure_more(&format!("[slack]\nsend-timeout = {seconds}\n"));
    deployment.configured_bridge().await
}

#[tokio::test]
async fn a_call_that_alone_keeps_failing_gives_way_to_later_messages() {
    let deployment = super::deployment().await;
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
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
        deployment.control.answer(method, answer);
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
    bridge.line("trying again").await;
}

#[tokio::test]
async fn no_message_is_tried_for_longer_than_the_config_allows() {
    let deployment = super::deployment().await;
    let _bridge = hasty(&deployment, 3).await;
    let mut app = deployment.roomy_app();
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
        deployment.control.answer(method, answer);
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
        deployment.control.clear_answers();
    }
    let other = app.new_channel().await;
    let message = json!({"text": "fine", "channel": "random", "reply_channel": other});
    app.send("slack.send", &message).await;
    assert_eq!(app.next(&other).await["type"], "slack.sent");
}

#[tokio::test]
async fn a_retry_after_of_0_does_not_make_a_busy_loop() {
    let deployment = super::deployment().await;
    let hot = || {
        always(Answer {
            retry_after: Some(0),
            ..Answer::default()
        })
    };
    let _bridge = deployment.configured_bridge().await;
    for method in ["chat.postMessage", "conversations.list", "users.info"] {
        deployment.control.answer(method, hot());
    }
    let mut app = deployment.roomy_app();
    for channel in ["general", "nowhere"] {
        let message = json!({"text": "hi", "channel": channel});
        app.send("slack.send", &message).await;
    }
    deployment.control.say("alice", "general", "hi").unwrap();
    for method in ["chat.postMessage", "conversations.list"] {
        eventually(&format!("{method} is called some times"), async || {
            let calls = deployment.control.calls(Some(method));
            (calls.len() >= 3).then_some(())
        })
        .await;
        let calls = deployment.control.calls(Some(method));
        let pauses: Vec<f64> = calls.windows(2).map(|it| it[1].at - it[0].at).collect();
        assert!(
            pauses.iter().all(|pause| *pause >= 0.9),
            "{method}: {pauses:?}"
        );
    }
}

/// Sends a message, and what is to follow it in its conversation; the channels on which the outcomes come.
async fn both(app: &mut App, first: Value, behind: Value) -> (String, String) {
    let mut replies = Vec::new();
    for message in [first, behind] {
        let reply = app.new_channel().await;
        let mut message = message;
        message["reply_channel"] = reply.as_str().into();
        app.send("slack.send", &message).await;
        replies.push(reply);
    }
    (replies.remove(0), replies.remove(0))
}

#[tokio::test]
async fn names_from_a_list_that_never_loads_have_an_outcome_and_later_messages_are_sent() {
    let deployment = super::deployment().await;
    let _bridge = hasty(&deployment, 4).await;
    for list in ["users.list", "conversations.list"] {
        deployment.control.answer(list, broken(500, ""));
    }
    let mut app = deployment.roomy_app();
    // The load of a list gives up within a minute and a half, which is too late for a message.
    let (began, soon) = (Instant::now(), Duration::from_secs(60));
    for (message, error) in [
        // A name that looks like an id goes to Slack as an id.
        (
            json!({"method": "chat.postEphemeral", "channel": "general", "user": "nobody", "text": "hi"}),
            "user_not_found",
        ),
        (
            json!({"method": "chat.postEphemeral", "channel": "general", "user": "UNOBODY", "text": "hi"}),
            "user_not_in_channel",
        ),
    ] {
        let behind = json!({"text": "behind it", "channel": "general"});
        let (first, behind) = both(&mut app, message.clone(), behind).await;
        let told = app.next(&first).await;
        assert_eq!(
            (&told["type"], &told["error"]),
            (&json!("slack.failed"), &json!(error)),
            "{message}: {told}"
        );
        assert_eq!(app.next(&behind).await["type"], "slack.sent", "{message}");
    }
    let message =
        json!({"method": "chat.update", "channel": "nowhere", "ts": "1.000001", "text": "x"});
    let (first, _) = both(&mut app, message, json!({"text": "another"})).await;
    let told = app.next(&first).await;
    assert_eq!(told["error"], "channel_not_found", "{told}");
    assert!(
        told["detail"].as_str().unwrap().contains("is not complete"),
        "{told}"
    );
    assert!(began.elapsed() < soon, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_direct_message_that_can_not_be_opened_has_an_outcome_and_later_messages_are_sent() {
    let deployment = super::deployment().await;
    let _bridge = hasty(&deployment, 4).await;
    deployment
        .control
        .answer("conversations.open", broken(500, ""));
    let mut app = deployment.roomy_app();
    let message = |text: &str| json!({"text": text, "channel": "@carol"});
    let (first, behind) = both(&mut app, message("first"), message("behind it")).await;
    let told = app.next(&first).await;
    assert_eq!(
        (&told["type"], &told["error"]),
        (&json!("slack.failed"), &json!("http_status")),
        "{told}"
    );
    deployment.control.clear_answers();
    let told = app.next(&behind).await;
    assert_eq!(told["type"], "slack.sent", "{told}");
}

#[tokio::test]
async fn a_lookup_that_keeps_failing_ends_and_later_messages_are_sent() {
    let deployment = super::deployment().await;
    let _bridge = hasty(&deployment, 4).await;
    deployment
        .control
        .answer("conversations.history", broken(500, ""));
    let mut app = deployment.roomy_app();
    for perform in [true, false] {
        let cut = Answer {
            hang_up: true,
            perform,
            ..Answer::default()
        };
        deployment.control.answer("chat.postMessage", cut);
        let message = |text: &str| json!({"text": text, "channel": "random"});
        let (first, behind) = both(&mut app, message("first"), message("behind it")).await;
        let told = app.next(&first).await;
        assert_eq!(
            (&told["type"], &told["error"]),
            (&json!("slack.failed"), &json!("interrupted")),
            "{told}"
        );
        let detail = told["detail"].as_str().unwrap();
        assert!(
            detail.contains("can't be looked up") && detail.contains("conversations.history"),
            "{detail}"
        );
        assert_eq!(app.next(&behind).await["type"], "slack.sent");
    }
}

#[tokio::test]
async fn a_lookup_goes_on_while_slack_is_away_and_the_message_is_posted_when_it_is_back() {
    let deployment = super::deployment().await;
    let bridge = deployment.configured_bridge().await;
    deployment.control.answer("*", broken(500, ""));
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    let message = json!({"text": "late", "reply_channel": reply});
    app.send("slack.send", &message).await;
    // For longer than a lookup waits where Slack limits it.
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert!(bridge.logs("was given up").is_empty());
    assert!(app.left(&reply).is_empty());
    deployment.control.clear_answers();
    let told = app.next(&reply).await;
    assert_eq!(told["type"], "slack.sent", "{told}");
    assert_eq!(deployment.texts("general").await, ["late"]);
}

#[tokio::test]
async fn a_token_that_can_not_be_renewed_holds_a_message_no_longer_than_the_config_allows() {
    const LIMIT: u32 = 20;
    let deployment = super::deployment().await;
    deployment.configure_rotation(&OAuth::default());
    deployment.configure_more(&format!("send-timeout = {LIMIT}\n"));
    let bridge = deployment.configured_bridge().await;
    let refreshed = async |times: usize| {
        eventually("the token is refreshed", async || {
            (bridge.logs("token was refreshed").len() >= times).then_some(())
        })
        .await;
    };
    refreshed(1).await;
    deployment
        .control
        .answer("oauth.v2.access", broken(500, ""));
    deployment.control.expire_tokens();
    let mut app = deployment.roomy_app();
    let message = |text: &str| json!({"text": text});
    let (first, behind) = both(&mut app, message("first"), message("behind it")).await;
    let began = Instant::now();
    let told = app.next(&first).await;
    let (took, limit) = (began.elapsed(), Duration::from_secs(LIMIT.into()));
    assert_eq!(
        (&told["type"], &told["error"]),
        (&json!("slack.failed"), &json!("token_expired")),
        "{told}"
    );
    assert!(took < limit * 7 / 4, "{took:?}");
    deployment.control.clear_answers();
    // It may have its outcome before the next refresh is tried.
    app.next(&behind).await;
    refreshed(2).await;
    let (last, _) = both(&mut app, message("at last"), message("and then")).await;
    assert_eq!(app.next(&last).await["type"], "slack.sent");
}
