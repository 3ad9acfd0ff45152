//! Calls whose answer was lost: what they did is found out, and done once.

use djangobot_tests::eventually;
use local_slack::{Answer, Call};
use serde_json::json;

use super::{numbers, silent};
use crate::bridge::calls;
use crate::deployment::Deployment;

#[tokio::test]
async fn a_post_whose_answer_is_lost_is_looked_up_and_posted_once() {
    let deployment = super::deployment().await;
    let _bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    let mut n = 0;
    for perform in [true, false] {
        for answer in [
            Answer {
                status: 500,
                body: Some("no JSON".into()),
                ..Answer::default()
            },
            Answer {
                status: 502,
                ..Answer::default()
            },
            Answer {
                error: Some("fatal_error".into()),
                ..Answer::default()
            },
            Answer {
                hang_up: true,
                ..Answer::default()
            },
            Answer {
                body: Some("{\"ok\": tr".into()),
                ..Answer::default()
            },
            page(504),
            // A proxy in front of Slack may not know whether the call had its effect.
            page(503),
            page(408),
            page(403),
            page(302),
        ] {
            let answer = Answer { perform, ..answer };
            deployment
                .control
                .answer("chat.postMessage", answer.clone());
            let message = json!({"text": n.to_string(), "reply_channel": reply, "id": n});
            app.send("slack.send", &message).await;
            n += 1;
            let told = app.next(&reply).await;
            let texts = deployment.texts("general").await;
            assert_eq!(texts, numbers(0..n), "{answer:?}");
            let last = deployment.posted("general", None).await.pop().unwrap();
            assert_eq!(
                (&told["type"], &told["ts"], &told["request"]),
                (&json!("slack.sent"), &last["ts"], &json!(n - 1)),
                "{answer:?}: {told}"
            );
        }
    }
}

/// A page of a proxy in front of Slack.
fn page(status: u16) -> Answer {
    Answer {
        status,
        body: Some("<html>try later</html>".into()),
        ..Answer::default()
    }
}

#[tokio::test]
async fn a_lookup_that_slacks_limit_would_delay_for_minutes_ends_in_an_outcome_that_says_so() {
    let deployment = super::deployment().await;
    let _bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    let cut = Answer {
        hang_up: true,
        perform: true,
        ..Answer::default()
    };
    let limited = Answer {
        retry_after: Some(600),
        times: 100,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", cut);
    deployment.control.answer("conversations.history", limited);
    for n in 0..2 {
        let message = json!({"text": n.to_string(), "reply_channel": reply, "id": n});
        app.send("slack.send", &message).await;
    }
    let told = app.next(&reply).await;
    assert_eq!(
        (&told["type"], &told["error"], &told["request"]),
        (&json!("slack.failed"), &json!("interrupted"), &json!(0))
    );
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("not tried again") && detail.contains("conversations.history"),
        "{detail}"
    );
    // The next message of the conversation does not wait for the limit's end.
    assert_eq!(app.next(&reply).await["type"], "slack.sent");
}

#[tokio::test]
async fn one_reading_of_a_history_serves_all_messages_that_are_in_doubt_after_a_kill() {
    const MESSAGES: usize = 60;
    let deployment = super::deployment().await;
    let slowly = Answer {
        times: u64::MAX,
        delay_ms: 100,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", slowly);
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    for n in 0..MESSAGES {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    deployment.called("chat.postMessage", MESSAGES / 4).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    forget_notes(&deployment);
    let _bridge = deployment.configured_bridge().await;
    assert_eq!(
        deployment.has("general", MESSAGES).await,
        numbers(0..MESSAGES)
    );
    let calls = deployment.calls("conversations.history");
    // The test itself and the search for gaps read histories, too, in other ways.
    let is_lookup = |call: &&Call| {
        let arguments = &call.arguments;
        arguments["limit"] == "200" && arguments["include_all_metadata"] == "true"
    };
    let readings = calls.iter().filter(is_lookup).count();
    assert!((1..=2).contains(&readings), "{readings} readings");
}

#[tokio::test]
async fn a_message_in_doubt_is_found_behind_all_that_was_said_since_it_was_accepted() {
    // More than a reading looks at that does not know since when.
    const SAID: usize = 1_050;
    let deployment = super::deployment().await;
    deployment.control.answer("chat.postMessage", silent());
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    for n in 0..3 {
        let message = json!({"text": n.to_string(), "reply_channel": reply, "id": n});
        app.send("slack.send", &message).await;
    }
    deployment.called("chat.postMessage", 1).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    forget_notes(&deployment);
    for _ in 0..SAID {
        deployment.control.say("alice", "general", "well").unwrap();
    }
    let _bridge = deployment.configured_bridge().await;
    for outcome in app.take(&reply, 3).await {
        assert_eq!(outcome["type"], "slack.sent", "{outcome}");
    }
    assert_eq!(deployment.calls("chat.postMessage").len(), 3);
}

/// As if the disk had been too full for notes of calls: whatever waits may have been posted.
fn forget_notes(deployment: &Deployment) {
    let state = deployment.folder.path().join(".djangobot");
    std::fs::remove_file(state.join("outbox.complete")).unwrap();
    let database = rusqlite::Connection::open(state.join("state.db")).unwrap();
    let noted = database.execute("UPDATE outbox SET begun = NULL", ());
    noted.unwrap();
}

#[tokio::test]
async fn a_reply_is_looked_up_in_its_thread() {
    let deployment = super::deployment().await;
    let _bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let thread = deployment.control.say("alice", "general", "well?").unwrap();
    for (text, perform) in [("lost", true), ("undone", false)] {
        let cut = Answer {
            hang_up: true,
            perform,
            ..Answer::default()
        };
        deployment.control.answer("chat.postMessage", cut);
        let message = json!({"text": text, "thread_ts": thread});
        app.send("slack.send", &message).await;
        calls(&deployment.control, "conversations.replies", 1).await;
    }
    eventually("both are there", async || {
        let thread = deployment.posted("general", Some(&thread)).await;
        let texts: Vec<_> = thread.iter().map(|it| it["text"].clone()).collect();
        (texts == ["well?", "lost", "undone"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_post_with_metadata_of_the_app_is_not_confused_with_an_equal_one() {
    let deployment = super::deployment().await;
    let bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    let message = json!({"text": "done & dusted", "reply_channel": reply,
        "metadata": {"event_type": "task_done", "event_payload": {"n": 1}}});
    let mut seen = Vec::new();
    for perform in [None, Some(true), Some(false)] {
        if let Some(perform) = perform {
            let cut = Answer {
                hang_up: true,
                perform,
                ..Answer::default()
            };
            deployment.control.answer("chat.postMessage", cut);
        }
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(told["type"], "slack.sent", "{told}");
        seen.push(told["ts"].clone());
    }
    let posted = deployment.posted("general", None).await;
    let ts: Vec<_> = posted.iter().map(|it| it["ts"].clone()).collect();
    assert_eq!(ts, seen, "each is its own");
    assert!(
        posted
            .iter()
            .all(|it| it["metadata"] == message["metadata"])
    );
    for (outcome, count) in [("found", 1.0), ("absent", 1.0)] {
        let metric = format!("djangobot_ambiguous_sends_total{{outcome=\"{outcome}\"}}");
        assert_eq!(bridge.metric(&metric).await, count, "{outcome}");
    }
}

#[tokio::test]
async fn a_post_without_metadata_is_looked_up_by_its_text() {
    let deployment = super::deployment().await;
    let not_an_app = Answer {
        error: Some("metadata_must_be_sent_from_app".into()),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", not_an_app);
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    app.send("slack.send", &json!({"text": "0"})).await;
    assert_eq!(deployment.has("general", 1).await, numbers(0..1));
    bridge
        .line("a post in doubt is looked up by its text")
        .await;
    // Also after a restart.
    deployment.control.answer("chat.postMessage", silent());
    app.send("slack.send", &json!({"text": "1"})).await;
    app.send("slack.send", &json!({"text": "2"})).await;
    deployment.called("chat.postMessage", 3).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    let _bridge = deployment.configured_bridge().await;
    assert_eq!(deployment.has("general", 3).await, numbers(0..3));
    let posted = deployment.posted("general", None).await;
    assert!(posted.iter().all(|it| it["metadata"].is_null()));
}

#[tokio::test]
async fn where_history_may_not_be_read_the_failure_names_the_scope() {
    let deployment = super::deployment().await;
    let mut bridge = deployment.configured_bridge().await;
    deployment
        .control
        .set_scopes(&["chat:write", "channels:read", "rtm:stream", "users:read"]);
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    for (n, reply) in [(0, Some(&reply)), (1, None)] {
        let cut = Answer {
            hang_up: true,
            perform: true,
            ..Answer::default()
        };
        deployment.control.answer("chat.postMessage", cut);
        let mut message = json!({"text": n.to_string()});
        if let Some(reply) = reply {
            message["reply_channel"] = reply.as_str().into();
        }
        app.send("slack.send", &message).await;
    }
    let told = app.next(&reply).await;
    assert_eq!(
        (&told["type"], &told["error"]),
        (&json!("slack.failed"), &json!("interrupted")),
        "{told}"
    );
    let line = bridge.line("kept as dead letter 1 ").await;
    for words in [told["detail"].as_str().unwrap(), &line] {
        assert!(
            words.contains("Slack may have carried it out")
                && words.contains("lacks the scope")
                && words.contains("channels:history"),
            "{words}"
        );
    }
    // Killed in the middle of a call, it says the same.
    deployment.control.answer("chat.postMessage", silent());
    app.send("slack.send", &json!({"text": "2"})).await;
    deployment.called("chat.postMessage", 3).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    let bridge = deployment.configured_bridge().await;
    // It may come before the bridge says that it has the roster.
    let line = eventually("the failure is told", async || {
        bridge.logs("kept as dead letter 2 ").pop()
    })
    .await;
    let line = line["message"].as_str().unwrap();
    assert!(
        line.contains("was ended while it called") && line.contains("channels:history"),
        "{line}"
    );
    app.send("slack.send", &json!({"text": "3"})).await;
    calls(&deployment.control, "chat.postMessage", 1).await;
    let refused = "djangobot_ambiguous_sends_total{outcome=\"refused\"}";
    assert_eq!(bridge.metric(refused).await, 1.0);
}

#[tokio::test]
async fn a_call_that_may_be_repeated_is_and_its_earlier_effect_counts_as_success() {
    let deployment = super::deployment().await;
    let _bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    app.send(
        "slack.send",
        &json!({"text": "first", "reply_channel": reply}),
    )
    .await;
    let first = app.next(&reply).await;
    let (channel, ts) = (&first["channel"], &first["ts"]);
    for (method, arguments) in [
        ("chat.update", json!({"ts": ts, "text": "second"})),
        ("reactions.add", json!({"timestamp": ts, "name": "eyes"})),
        ("reactions.remove", json!({"timestamp": ts, "name": "eyes"})),
        ("chat.delete", json!({"ts": ts})),
    ] {
        let cut = Answer {
            hang_up: true,
            perform: true,
            ..Answer::default()
        };
        deployment.control.answer(method, cut);
        let mut message = arguments;
        message["method"] = method.into();
        message["channel"] = channel.clone();
        message["reply_channel"] = reply.as_str().into();
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(told["type"], "slack.sent", "{method}: {told}");
        assert_eq!(deployment.calls(method).len(), 2, "{method}");
    }
    // To delete a message that was never there is a failure.
    let gone =
        json!({"method": "chat.delete", "channel": channel, "ts": ts, "reply_channel": reply});
    app.send("slack.send", &gone).await;
    assert_eq!(app.next(&reply).await["error"], "message_not_found");
}
