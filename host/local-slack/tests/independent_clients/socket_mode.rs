//! Clients of Socket Mode, and an app of Bolt.

use std::time::Duration;

use local_slack::{Delivery, Fault, Happening, LocalSlack, Options, Outcome, Reason};
use serde_json::{Value, json};

use crate::{Client, replaced, soon, start};

/// A delivery's outcome, how many attempts there were, and what the app answered to the last.
async fn settled(slack: &LocalSlack, number: u64) -> (Outcome, usize, Option<Value>) {
    let delivery = soon(slack.control().settled(number)).await;
    let last = delivery.attempts.last().unwrap();
    (
        delivery.outcome,
        delivery.attempts.len(),
        last.response.clone(),
    )
}

#[tokio::test]
async fn bolt_gets_all_kinds_and_answers_them() {
    let slack = start().await;
    let control = slack.control();
    let mut app = Client::start(&slack, "bolt.py");
    app.tells("connected").await;
    soon(control.wait_for_connections(1)).await;

    let ts = control.say("alice", "general", "good morning é").unwrap();
    let told = app.tells("good morning").await;
    assert_eq!(
        (&told["event"]["ts"], &told["event"]["text"]),
        (&json!(ts), &json!("good morning é"))
    );
    let reaction = json!({"type": "reaction_added", "user": control.user_id("alice"), "reaction": "tada",
        "item": {"type": "message", "channel": control.channel_id("general"), "ts": ts}});
    let number = control.event(&reaction);
    let posts = soon(control.wait_for_calls("chat.postMessage", 1)).await;
    assert_eq!(posts[0].arguments["text"], "thanks for :tada:");
    assert_eq!(settled(&slack, number).await.0, Outcome::Acknowledged);

    let number = control.slash("alice", "general", "/deploy", "now").unwrap();
    let (outcome, attempts, answer) = settled(&slack, number).await;
    assert_eq!((outcome, attempts), (Outcome::Acknowledged, 1));
    assert_eq!(answer.unwrap()["text"], "deploying now");
    let later = soon(control.wait_for_calls("response_url", 1)).await;
    assert_eq!(later[0].arguments["body"]["text"], "deployed");

    let action = json!({"type": "block_actions", "container": {"type": "message"},
        "actions": [{"type": "button", "action_id": "go", "block_id": "b"}]});
    let number = control.interact("bob", Some("general"), &action).unwrap();
    assert_eq!(settled(&slack, number).await.0, Outcome::Acknowledged);
    let told = app.tells(r#""action":"go""#).await;
    assert_eq!(told["user"], json!(control.user_id("bob")));
    let opened = soon(control.wait_for_calls("views.open", 1)).await;
    assert_eq!(opened[0].answer["ok"], true);

    for (payload, answer) in [
        (
            json!({"type": "view_submission", "view": {"type": "modal", "callback_id": "v"}}),
            json!({"response_action": "errors", "errors": {"block": "too short"}}),
        ),
        (
            json!({"type": "block_suggestion", "action_id": "pick", "block_id": "b", "value": "o"}),
            json!({"options": [{"text": {"type": "plain_text", "text": "one"}, "value": "1"}]}),
        ),
    ] {
        let number = control.interact("alice", None, &payload).unwrap();
        let expect = (Outcome::Acknowledged, 1, Some(answer));
        assert_eq!(settled(&slack, number).await, expect);
    }
    let shortcut = json!({"type": "shortcut", "callback_id": "cut"});
    let number = control.interact("alice", None, &shortcut).unwrap();
    app.tells(r#""shortcut":"cut""#).await;
    assert_eq!(
        settled(&slack, number).await,
        (Outcome::Acknowledged, 1, None)
    );
}

#[tokio::test]
async fn bolt_comes_back_after_each_kind_of_end() {
    let slack = start().await;
    let control = slack.control();
    let mut app = Client::start(&slack, "bolt.py");
    app.tells("connected").await;
    let mut last = soon(control.wait_for_connections(1)).await.remove(0);
    for number in 0..3 {
        match number {
            0 => drop(control.drop_connections(None)),
            1 => drop(control.disconnect(None, Reason::RefreshRequested)),
            // Bolt connects again at a warning, and waits for the end of the old connection.
            _ => drop(control.disconnect(None, Reason::Warning)),
        }
        last = replaced(&control, &last).await;
        let text = format!("after end {number}");
        control.say("alice", "general", &text).unwrap();
        app.tells(&text).await;
    }
}

#[tokio::test]
async fn the_python_client_acknowledges_and_gets_what_it_ignored_again() {
    let slack = LocalSlack::start(Options {
        ack_timeout: Duration::from_millis(500),
        retry_delays: [0, 50, 100].map(Duration::from_millis),
        ping_interval: Duration::from_millis(100),
        ..Options::default()
    })
    .await
    .unwrap();
    let control = slack.control();
    let mut client = Client::start(&slack, "socket_mode.py");
    client.tells("connected").await;
    let first = soon(control.wait_for_connections(1)).await.remove(0);
    control.say("alice", "general", "good morning").unwrap();
    let told = client.tells("good morning").await;
    assert_eq!(
        (&told["type"], &told["attempt"], &told["accepts"]),
        (&json!("events_api"), &json!(0), &json!(false))
    );
    control.say("alice", "general", "ignore me").unwrap();
    for attempt in 0..4 {
        let told = client.tells("ignore me").await;
        assert_eq!(told["attempt"], attempt);
        if attempt > 0 {
            assert_eq!(told["reason"], "timeout");
        }
    }
    let ignored = |one: &Delivery| one.outcome == Outcome::GivenUp;
    soon(control.wait_for_delivery(ignored)).await;
    control.app_rate_limited();
    let told = client.tells("app_rate_limited").await;
    assert!(told["payload"].get("event").is_none());
    let number = control.slash("alice", "general", "/x", "").unwrap();
    assert_eq!(
        settled(&slack, number).await,
        (Outcome::Acknowledged, 1, None)
    );
    // Half open: its pings stay without an answer, so that it connects again.
    control.freeze(Some(first.id));
    soon(control.wait_for_connections(2)).await;
}

#[tokio::test]
async fn the_node_client_acknowledges_answers_and_reconnects() {
    let slack = start().await;
    let control = slack.control();
    let mut client = Client::start(&slack, "socket_mode.js");
    client.tells(r#""state":"connected""#).await;
    let first = soon(control.wait_for_connections(1)).await.remove(0);

    // It offers to compress, which is declined; long text comes through.
    let long = format!("good morning é {}", "x".repeat(100_000));
    control.say("alice", "general", &long).unwrap();
    let told = client.tells("good morning").await;
    assert_eq!(told["body"]["event"]["text"], long);
    let number = control.slash("alice", "general", "/x", "").unwrap();
    let expect = (
        Outcome::Acknowledged,
        1,
        Some(json!({"text": "as you wish"})),
    );
    assert_eq!(settled(&slack, number).await, expect);
    // Its empty acknowledgements have an empty payload.
    let number = control
        .interact("alice", None, &json!({"type": "shortcut"}))
        .unwrap();
    assert_eq!(
        settled(&slack, number).await,
        (Outcome::Acknowledged, 1, None)
    );

    control.fault(Fault {
        happening: Happening::Duplicate,
        times: 1,
        spare: 0,
        probability: None,
        seed: 0,
    });
    control.say("alice", "general", "twice").unwrap();
    for _ in 0..2 {
        assert_eq!(client.tells("twice").await["attempt"], 0);
    }

    control.drop_connections(None);
    let second = replaced(&control, &first).await;
    client.tells(r#""state":"connected""#).await;
    control.disconnect(None, Reason::Warning);
    let third = replaced(&control, &second).await;
    client.tells(r#""state":"connected""#).await;
    control.freeze(Some(third.id));
    soon(control.wait_until(|open| open.iter().any(|one| !one.frozen))).await;
    client.tells(r#""state":"connected""#).await;
    control.drop_connections(Some(third.id));
    control.say("bob", "general", "after all that").unwrap();
    client.tells("after all that").await;
}

#[tokio::test]
async fn a_refused_token_is_fatal_to_the_node_client_of_socket_mode() {
    let slack = start().await;
    slack
        .control()
        .revoke(slack.app_token(), "account_inactive");
    let mut client = Client::start(&slack, "socket_mode.js");
    let told = client.tells("refused").await;
    assert!(
        told["refused"]
            .as_str()
            .unwrap()
            .contains("account_inactive")
    );
}
