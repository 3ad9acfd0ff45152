//! Answers to commands, clicks and dialogs: where they go, how often, and what the app hears of them.

use std::time::Duration;

use djangobot_tests::eventually;
use local_slack::Control;
use serde_json::{Value, json};

use crate::app::App;
use crate::deployment::{Deployment, Transport, soon_redelivered};

const LATE: &str = "djangobot_answers_total{outcome=\"late\"}";

/// The bodies that were posted to response URLs, in order.
async fn posted(control: &Control, count: usize) -> Vec<Value> {
    let calls = crate::bridge::calls(control, "response_url", count).await;
    calls
        .iter()
        .map(|call| call.arguments["body"].clone())
        .collect()
}

/// The next change of a message that the app sees.
async fn changed(app: &mut App, subtype: &str) -> Value {
    loop {
        let event = app.next("slack.message").await;
        if event["subtype"] == subtype {
            return event;
        }
    }
}

fn click(ts: &str) -> Value {
    json!({"type": "block_actions", "actions": [{"action_id": "approve"}],
        "container": {"type": "message", "message_ts": ts}})
}

#[tokio::test]
async fn an_answer_to_a_click_changes_the_message_that_was_clicked_and_the_app_hears_of_it() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let _bridge = deployment.bridge().await;
        let mut app = deployment
            .app(&["slack.block_actions", "slack.message"])
            .await;
        let outcomes = app.new_channel().await;
        app.send(
            "slack.send",
            &json!({"text": "Deploy?", "reply_channel": outcomes}),
        )
        .await;
        let ts = app.next(&outcomes).await["ts"].as_str().unwrap().to_owned();

        let delivery = deployment
            .settled(
                control
                    .interact("alice", Some("general"), &click(&ts))
                    .unwrap(),
            )
            .await;
        assert_eq!(delivery.attempts.len(), 1, "{delivery:#?}");
        let reply = app.next("slack.block_actions").await["reply_channel"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_ne!(reply, "slack.send");
        let answer = json!({"text": "Deployed.", "replace_original": true, "reply_channel": outcomes, "id": 7});
        app.send(&reply, &answer).await;
        let outcome = app.next(&outcomes).await;
        assert_eq!(
            outcome,
            json!({"type": "slack.sent", "ok": true, "method": "response_url", "request": 7})
        );
        let change = changed(&mut app, "message_changed").await;
        assert_eq!(
            (&change["message"]["ts"], &change["message"]["text"]),
            (&json!(ts), &json!("Deployed."))
        );
        assert_eq!(
            posted(control, 1).await,
            [json!({"text": "Deployed.", "replace_original": true})]
        );

        // An answer for another place, and a message that is not an answer, are refused with a sentence.
        for (wrong, error) in [
            (json!({"text": "x", "channel": "random"}), "invalid_channel"),
            (json!({"method": "chat.update"}), "method_not_allowed"),
            (json!({}), "no_text"),
        ] {
            let mut wrong = wrong;
            wrong["reply_channel"] = json!(outcomes);
            app.send(&reply, &wrong).await;
            let outcome = app.next(&outcomes).await;
            assert_eq!(outcome["error"], error, "{outcome}");
        }
        // And what belongs to an answer is refused in a message.
        let wrong = json!({"text": "x", "replace_original": true, "reply_channel": outcomes});
        app.send("slack.send", &wrong).await;
        let outcome = app.next(&outcomes).await;
        assert_eq!(outcome["error"], "invalid_arguments");
        let detail = outcome["detail"].as_str().unwrap();
        assert!(
            detail.contains("reply_channel") && detail.contains("chat.update"),
            "{detail}"
        );
        assert_eq!(control.calls(Some("chat.postMessage")).len(), 1);

        // It can be deleted, too.
        app.send(
            &reply,
            &json!({"delete_original": true, "reply_channel": outcomes}),
        )
        .await;
        assert_eq!(app.next(&outcomes).await["type"], "slack.sent");
        assert_eq!(
            changed(&mut app, "message_deleted").await["deleted_ts"],
            json!(ts)
        );
    }
}

/// Buttons in an attachment, as apps made them before blocks.
#[tokio::test]
async fn an_answer_to_a_legacy_button_goes_to_its_address() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let bridge = deployment.bridge().await;
        let mut app = deployment
            .app(&["slack.interactive_message", "slack.message"])
            .await;
        let outcomes = app.new_channel().await;
        let buttons = json!({"text": "Deploy?", "reply_channel": outcomes, "attachments": [{"callback_id": "deploy",
            "fallback": "Deploy?", "actions": [{"name": "yes", "type": "button", "text": "Yes", "value": "1"}]}]});
        app.send("slack.send", &buttons).await;
        let ts = app.next(&outcomes).await["ts"].as_str().unwrap().to_owned();
        let click = json!({"type": "interactive_message", "callback_id": "deploy", "message_ts": ts, "attachment_id": "1",
            "actions": [{"name": "yes", "type": "button", "value": "1"}]});
        let number = control.interact("alice", Some("general"), &click).unwrap();
        let delivery = deployment.settled(number).await;
        assert_eq!(delivery.attempts.len(), 1, "{delivery:#?}");
        let event = app.next("slack.interactive_message").await;
        assert_eq!(event["actions"][0]["value"], "1", "{event:#}");
        let reply = event["reply_channel"].as_str().unwrap();
        assert_ne!(reply, "slack.send");
        bridge.metric_is("djangobot_reply_channels", 1.0).await;
        let answer =
            json!({"text": "Deployed.", "replace_original": true, "reply_channel": outcomes});
        app.send(reply, &answer).await;
        assert_eq!(
            app.next(&outcomes).await,
            json!({"type": "slack.sent", "ok": true, "method": "response_url", "request": null})
        );
        let change = changed(&mut app, "message_changed").await;
        assert_eq!(
            (&change["message"]["ts"], &change["message"]["text"]),
            (&json!(ts), &json!("Deployed."))
        );
        assert_eq!(
            posted(control, 1).await,
            [json!({"text": "Deployed.", "replace_original": true})]
        );
    }
}

#[tokio::test]
async fn the_sixth_answer_and_one_to_an_expired_or_unknown_address_fail_with_the_reason() {
    let deployment = Deployment::over(Transport::SocketMode, soon_redelivered()).await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment
        .app(&["slack.shortcut", "slack.message_action"])
        .await;
    let outcomes = app.new_channel().await;
    let shortcut = json!({"type": "message_action", "callback_id": "tidy"});
    control
        .interact("alice", Some("general"), &shortcut)
        .unwrap();
    let reply = app.next("slack.message_action").await["reply_channel"]
        .as_str()
        .unwrap()
        .to_owned();
    for n in 0..6 {
        app.send(
            &reply,
            &json!({"text": format!("{n}"), "reply_channel": outcomes, "id": n}),
        )
        .await;
    }
    let mut ended = Vec::new();
    for _ in 0..6 {
        ended.push(app.next(&outcomes).await);
    }
    ended.sort_by_key(|it| it["request"].as_u64());
    assert!(
        ended[..5].iter().all(|it| it["type"] == "slack.sent"),
        "{ended:#?}"
    );
    assert_eq!(
        (&ended[5]["type"], &ended[5]["error"]),
        (&json!("slack.failed"), &json!("used_url"))
    );
    let bodies = posted(control, 5).await;
    let texts: Vec<_> = bodies
        .iter()
        .map(|it| it["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    // Without a reply_channel the failure is logged and counted.
    app.send(&reply, &json!({"text": "7"})).await;
    bridge
        .line("an answer was not sent to Slack: Slack takes five")
        .await;
    bridge
        .metric_is("djangobot_answers_total{outcome=\"too_late\"}", 2.0)
        .await;

    // An address that Slack does not know (any more).
    let gone = json!({"type": "message_action", "response_url": format!("{}response/gone", deployment.slack.api_url().replace("api/", ""))});
    control.interact("alice", Some("general"), &gone).unwrap();
    let reply = app.next("slack.message_action").await["reply_channel"]
        .as_str()
        .unwrap()
        .to_owned();
    app.send(&reply, &json!({"text": "x", "reply_channel": outcomes}))
        .await;
    let outcome = app.next(&outcomes).await;
    assert_eq!(outcome["error"], "invalid_url", "{outcome}");
    assert!(
        outcome["detail"].as_str().unwrap().contains("half an hour"),
        "{outcome}"
    );

    // An event that is not known (any more).
    let (queue, _) = reply.split_once('!').unwrap();
    app.send(
        &format!("{queue}!unknown"),
        &json!({"text": "x", "reply_channel": outcomes}),
    )
    .await;
    assert_eq!(app.next(&outcomes).await["error"], "expired_url");

    // A shortcut that is not a message's has no address, and so no channel of its own.
    control
        .interact("alice", None, &json!({"type": "shortcut"}))
        .unwrap();
    assert_eq!(
        app.next("slack.shortcut").await["reply_channel"],
        "slack.send"
    );
}

#[tokio::test]
async fn the_conversations_that_were_chosen_in_a_dialog_get_their_messages() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let _bridge = deployment.bridge().await;
        let mut app = deployment.app(&["slack.view_submission"]).await;
        let outcomes = app.new_channel().await;
        let [general, random] = ["general", "random"].map(|name| control.channel_id(name).unwrap());
        let submission = json!({"type": "view_submission", "view": {"id": "V1"}, "response_urls": [
            {"block_id": "b1", "action_id": "a", "channel_id": general},
            {"block_id": "b2", "action_id": "a", "channel_id": random}]});
        let number = control.interact("alice", None, &submission).unwrap();
        let event = app.next("slack.view_submission").await;
        let reply = event["reply_channel"].as_str().unwrap().to_owned();
        for answer in [
            json!({"text": "to random", "channel": random, "response_type": "in_channel"}),
            json!({"text": "by name", "channel": "#random", "response_type": "in_channel"}),
            json!({"text": "to general", "block_id": "b1", "response_type": "in_channel"}),
            json!({"text": "to whom?"}),
        ] {
            let mut answer = answer;
            answer["reply_channel"] = json!(outcomes);
            app.send(&reply, &answer).await;
        }
        let mut errors = 0;
        for _ in 0..4 {
            let outcome = app.next(&outcomes).await;
            if outcome["ok"] == false {
                errors += 1;
                assert_eq!(outcome["error"], "invalid_channel", "{outcome}");
                assert!(
                    outcome["detail"].as_str().unwrap().contains(&random),
                    "{outcome}"
                );
            }
        }
        assert_eq!(errors, 1);
        // Each went to the address of its conversation.
        let calls = crate::bridge::calls(control, "response_url", 3).await;
        for call in &calls {
            let chosen = match call.arguments["body"]["text"].as_str().unwrap() {
                "to general" => 0,
                _ => 1,
            };
            let url = event["response_urls"][chosen]["response_url"]
                .as_str()
                .unwrap();
            assert!(
                url.ends_with(call.arguments["id"].as_str().unwrap()),
                "{call:#?}"
            );
            assert!(call.arguments["body"].get("channel").is_none());
        }
        deployment.settled(number).await;
    }
}

#[tokio::test]
async fn answers_reach_their_address_after_a_restart_on_a_queueing_and_on_a_pubsub_layer() {
    for is_pubsub in [false, true] {
        let deployment = Deployment::over(Transport::SocketMode, soon_redelivered()).await;
        let control = &deployment.control;
        let url = deployment.redis.url();
        let layer = match is_pubsub {
            true => url.replace("redis://", "redis+pubsub://"),
            false => url.clone(),
        };
        let mut bridge = deployment.bridge_with(&[&layer]).await;
        let backend = match is_pubsub {
            true => "channels_redis.pubsub.RedisPubSubChannelLayer",
            false => "channels_redis.core.RedisChannelLayer",
        };
        let mut app = App::with_backend(backend, &json!({"hosts": [crate::app::host(&url)]}));
        app.receive(&["slack.slash_commands"]).await;
        // Nobody reads a broadcast before it has subscribed.
        let reply = eventually("the command arrives", async || {
            control.slash("alice", "general", "/deploy", "").unwrap();
            let next = app.next("slack.slash_commands");
            let event = tokio::time::timeout(Duration::from_secs(2), next)
                .await
                .ok()?;
            Some(event["reply_channel"].as_str().unwrap().to_owned())
        })
        .await;
        for text in ["1", "2"] {
            app.send(&reply, &json!({"text": text})).await;
        }
        eventually("the first are answered", async || {
            let total = bridge.metric(LATE).await
                + bridge
                    .metric("djangobot_answers_total{outcome=\"in_time\"}")
                    .await;
            (total >= 2.0).then_some(())
        })
        .await;
        let late = bridge.metric(LATE).await as usize;
        bridge.kill().await;
        let bridge = deployment.bridge_with(&[&layer]).await;
        // As before, but for what was used.
        let left = 5 - late;
        for n in 0..=left {
            app.send(&reply, &json!({"text": format!("after {n}")}))
                .await;
        }
        bridge.metric_is(LATE, left as f64).await;
        bridge
            .metric_is("djangobot_answers_total{outcome=\"too_late\"}", 1.0)
            .await;
        assert_eq!(posted(control, 5).await.len(), 5);
    }
}

#[tokio::test]
async fn after_many_commands_each_late_answer_still_finds_its_address() {
    const MANY: usize = 1_200;
    let deployment = Deployment::over(Transport::SocketMode, soon_redelivered()).await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.block_actions"]).await;
    let mut replies = Vec::new();
    for n in 0..MANY {
        control
            .interact(
                "alice",
                Some("general"),
                &json!({"type": "block_actions", "n": n}),
            )
            .unwrap();
        // No more than what a channel of the layer holds.
        if n % 50 == 49 {
            for event in app.take("slack.block_actions", 50).await {
                replies.push(event["reply_channel"].as_str().unwrap().to_owned());
            }
        }
    }
    bridge
        .metric_is("djangobot_reply_channels", MANY as f64)
        .await;
    for (n, reply) in replies.iter().enumerate() {
        app.send(reply, &json!({"text": "late"})).await;
        if n % 50 == 49 {
            bridge.metric_is(LATE, n as f64 + 1.0).await;
        }
    }
    assert_eq!(
        bridge
            .metric("djangobot_answers_total{outcome=\"too_late\"}")
            .await,
        0.0
    );
}
