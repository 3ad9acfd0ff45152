//! Socket Mode through a plain WebSocket.

use std::time::Duration;

use local_slack::{Delivery, Options, Outcome, Reason};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::{Rtm, SocketMode, call, call_as, hasty, soon, start, start_with};

/// The outcomes of a delivery's attempts: `None` for one that was acknowledged.
fn failures(delivery: &Delivery) -> Vec<Option<&str>> {
    delivery.attempts.iter().map(|one| one.failed).collect()
}

#[tokio::test]
async fn a_connection_needs_an_app_level_token_in_the_header() {
    let slack = start().await;
    let open = "apps.connections.open";
    for (token, form, expect) in [
        ("", vec![], "not_authed"),
        ("", vec![("token", "xapp-1")], "not_authed"),
        ("nonsense", vec![], "invalid_auth"),
        ("xoxb-1", vec![], "not_allowed_token_type"),
    ] {
        let answer = call_as(&slack, token, open, &form).await;
        assert_eq!(answer["error"], expect, "{token} {form:?}");
    }
    let posted = call_as(&slack, "xapp-1", "chat.postMessage", &[]).await;
    assert_eq!(posted["error"], "not_allowed_token_type");
    let app = call_as(&slack, "xapp-1", "auth.test", &[]).await;
    assert!(app["app_id"].as_str().unwrap().starts_with('A'));
    slack.control().set_app_scopes(&[]);
    let refused = call_as(&slack, "xapp-1", open, &[]).await;
    assert_eq!(
        (&refused["error"], &refused["needed"]),
        (&json!("missing_scope"), &json!("connections:write"))
    );
    for error in ["token_revoked", "account_inactive", "team_disabled"] {
        slack.control().revoke("xapp-1", error);
        assert_eq!(call_as(&slack, "xapp-1", open, &[]).await["error"], error);
    }
}

#[tokio::test]
async fn hello_says_how_many_connections_there_are_and_the_eleventh_is_turned_away() {
    let slack = start().await;
    let mut open = Vec::new();
    for count in 1..=10 {
        let connection = SocketMode::connect(&slack).await;
        assert_eq!(connection.hello["num_connections"], count);
        open.push(connection);
    }
    let hello = &open[0].hello;
    assert!(hello["connection_info"]["app_id"].is_string());
    assert!(hello["debug_info"]["host"].is_string());
    assert!(hello["debug_info"]["approximate_connection_time"].as_u64() > Some(1000));
    let mut one_more = SocketMode::open(&slack).await;
    let words = one_more.event().await;
    assert_eq!(
        (&words["type"], &words["reason"]),
        (&json!("disconnect"), &json!("too_many_websockets"))
    );
    assert!(matches!(
        one_more.message().await,
        Some(Message::Close(_)) | None
    ));
    open.pop();
    let left = |all: &[local_slack::Connection]| all.len() == 9;
    soon(slack.control().wait_until(left)).await;
    assert_eq!(
        SocketMode::connect(&slack).await.hello["num_connections"],
        10
    );
}

#[tokio::test]
async fn events_come_in_slacks_wrapper() {
    let slack = start().await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    let ts = control.say("alice", "general", "good morning é").unwrap();
    let envelope = app.take().await;
    assert_eq!(envelope["type"], "events_api");
    assert_eq!(envelope["accepts_response_payload"], false);
    assert_eq!(envelope["retry_attempt"], 0);
    assert_eq!(envelope["retry_reason"], "");
    let payload = &envelope["payload"];
    for key in ["token", "team_id", "api_app_id", "event_context"] {
        assert!(payload[key].is_string(), "{key}: {payload}");
    }
    assert_eq!(payload["type"], "event_callback");
    assert!(payload["event_id"].as_str().unwrap().starts_with("Ev"));
    assert!(payload["event_time"].is_u64());
    assert_eq!(payload["is_ext_shared_channel"], false);
    assert_eq!(
        payload["authorizations"][0]["user_id"],
        json!(control.user_id("djangobot"))
    );
    let event = &payload["event"];
    assert_eq!(
        (
            &event["type"],
            &event["text"],
            &event["ts"],
            &event["channel_type"]
        ),
        (
            &json!("message"),
            &json!("good morning é"),
            &json!(ts),
            &json!("channel")
        )
    );

    let post = json!({"channel": "general", "text": "and to you"});
    call(&slack, "chat.postMessage", post).await;
    assert_eq!(app.take().await["payload"]["event"]["text"], "and to you");
    let general = control.channel_id("general");
    let item = json!({"channel": general, "timestamp": ts, "name": "tada"});
    call(&slack, "reactions.add", item).await;
    assert_eq!(
        app.take().await["payload"]["event"]["type"],
        "reaction_added"
    );
    let secret = json!({"channel": "general", "text": "x", "user": control.user_id("bob")});
    call(&slack, "chat.postEphemeral", secret).await;
    control.say("bob", "djangobot", "psst").unwrap();
    // The opening of the direct messages is an event, and what only Bob sees is none.
    assert_eq!(app.take().await["payload"]["event"]["channel_type"], "im");
    let number = control.event(&json!({"type": "tokens_revoked", "tokens": {}}));
    assert_eq!(
        app.take().await["payload"]["event"]["type"],
        "tokens_revoked"
    );
    let delivery = soon(control.settled(number)).await;
    assert_eq!(delivery.outcome, Outcome::Acknowledged);
    assert!(delivery.attempts[0].latency_ms.is_some());
}

#[tokio::test]
async fn each_payload_goes_to_one_connection_in_turn_and_all_goes_to_rtm() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    let mut apps = [
        SocketMode::connect(&slack).await,
        SocketMode::connect(&slack).await,
    ];
    for number in 0..6 {
        slack
            .control()
            .say("alice", "general", &number.to_string())
            .unwrap();
    }
    let mut seen = Vec::new();
    for app in &mut apps {
        for _ in 0..3 {
            seen.push(app.take().await["payload"]["event"]["text"].clone());
        }
    }
    seen.sort_by_key(Value::to_string);
    assert_eq!(json!(seen), json!(["0", "1", "2", "3", "4", "5"]));
    for number in 0..6 {
        assert_eq!(rtm.event().await["text"], number.to_string());
    }
}

#[tokio::test]
async fn a_conversation_can_be_kept_to_one_connection() {
    let slack = start_with(Options {
        sticky: true,
        ..Options::default()
    })
    .await;
    let control = slack.control();
    let apps = [
        SocketMode::connect(&slack).await,
        SocketMode::connect(&slack).await,
    ];
    for number in 0..20 {
        let channel = ["general", "random", "ops", "core-team"][number % 4];
        control.say("alice", channel, &number.to_string()).unwrap();
    }
    let [one, two] = apps;
    let end = async {
        soon(control.wait_for_delivery(|one| one.number == 19 && one.outcome != Outcome::Open))
            .await;
        control.drop_connections(None);
    };
    let (one, two, ()) = tokio::join!(one.take_all(), two.take_all(), end);
    assert_eq!(one.len() + two.len(), 20);
    let channels = |taken: &[Value]| -> std::collections::BTreeSet<String> {
        let channels = taken.iter().map(|one| &one["payload"]["event"]["channel"]);
        channels.map(Value::to_string).collect()
    };
    assert!(channels(&one).is_disjoint(&channels(&two)));
}

#[tokio::test]
async fn unacknowledged_events_are_delivered_four_times_in_envelopes_of_their_own() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    let number = control.event(&json!({"type": "team_join"}));
    let (mut ids, mut event_ids) = (Vec::new(), Vec::new());
    for attempt in 0..4 {
        let envelope = app.envelope().await;
        assert_eq!(envelope["retry_attempt"], attempt);
        let reason = if attempt == 0 { "" } else { "timeout" };
        assert_eq!(envelope["retry_reason"], reason);
        ids.push(envelope["envelope_id"].to_string());
        event_ids.push(envelope["payload"]["event_id"].to_string());
    }
    let delivery = soon(control.settled(number)).await;
    assert_eq!(delivery.outcome, Outcome::GivenUp);
    assert_eq!(failures(&delivery), [Some("timeout"); 4]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    event_ids.dedup();
    assert_eq!(event_ids.len(), 1);
    // It is too late for that now.
    let late = json!({"envelope_id": delivery.attempts[3].envelope_id});
    app.socket().send(late).await;
    let noted = |one: &Delivery| one.attempts.last().is_some_and(|last| last.late_acks == 1);
    soon(control.wait_for_delivery(noted)).await;
}

#[tokio::test]
async fn an_acknowledged_retry_is_the_last() {
    let slack = start_with(hasty()).await;
    let mut app = SocketMode::connect(&slack).await;
    let number = slack.control().event(&json!({"type": "team_join"}));
    app.envelope().await;
    let again = app.take().await;
    assert_eq!(again["retry_attempt"], 1);
    let delivery = soon(slack.control().settled(number)).await;
    assert_eq!(failures(&delivery), [Some("timeout"), None]);
}

#[tokio::test]
async fn events_without_a_connection_come_with_a_retry() {
    let slack = start_with(Options {
        socket_mode: true,
        retry_delays: [
            Duration::ZERO,
            Duration::from_secs(1),
            Duration::from_secs(300),
        ],
        ..Options::default()
    })
    .await;
    slack.control().say("alice", "general", "anybody?").unwrap();
    let mut app = SocketMode::connect(&slack).await;
    let envelope = app.take().await;
    assert_eq!(envelope["payload"]["event"]["text"], "anybody?");
    assert_eq!(envelope["retry_attempt"], 2);
    // Without an app there is nobody to keep anything for.
    let other = start().await;
    other.control().say("alice", "general", "anybody?").unwrap();
    assert!(other.control().deliveries().is_empty());
}

#[tokio::test]
async fn a_slash_command_is_answered_in_the_acknowledgement_and_later() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    let number = control
        .slash("alice", "random", "/deploy", "now & here")
        .unwrap();
    let envelope = app.envelope().await;
    assert_eq!(envelope["type"], "slash_commands");
    assert_eq!(envelope["accepts_response_payload"], true);
    assert!(envelope.get("retry_attempt").is_none());
    let payload = envelope["payload"].clone();
    assert_eq!(
        (
            &payload["command"],
            &payload["text"],
            &payload["channel_name"]
        ),
        (&json!("/deploy"), &json!("now & here"), &json!("random"))
    );
    let said = json!({"response_type": "in_channel", "text": "on it"});
    app.answer(&envelope, said.clone()).await;
    let delivery = soon(control.settled(number)).await;
    assert_eq!(delivery.attempts[0].response, Some(said));
    let event = app.take().await["payload"]["event"].clone();
    assert_eq!(
        (&event["text"], &event["channel"]),
        (&json!("on it"), &json!(control.channel_id("random")))
    );

    let url = payload["response_url"].as_str().unwrap();
    let post = async |text: &str| {
        let body = json!({"text": text, "response_type": "in_channel"}).to_string();
        let response = soon(crate::client::http().post(url).body(body).send())
            .await
            .unwrap();
        response.status().as_u16()
    };
    for number in 0..5 {
        assert_eq!(post(&format!("later {number}")).await, 200);
        let event = app.take().await["payload"]["event"].clone();
        assert_eq!(event["text"], format!("later {number}"));
    }
    assert_eq!(post("once too often").await, 404);
    let used = soon(control.wait_for_calls("response_url", 6)).await;
    assert_eq!(used[5].answer["error"], "used_url");
    assert_eq!(used[0].arguments["body"]["text"], "later 0");

    // Nobody is asked a second time.
    let number = control.slash("alice", "random", "/deploy", "").unwrap();
    app.envelope().await;
    let delivery = soon(control.settled(number)).await;
    assert_eq!(
        (delivery.outcome, delivery.attempts.len()),
        (Outcome::GivenUp, 1)
    );
}

#[tokio::test]
async fn interactions_have_what_slack_adds_to_them() {
    let slack = start().await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    let click = json!({"type": "block_actions", "actions": [{"action_id": "a", "type": "button"}]});
    control.interact("bob", Some("general"), &click).unwrap();
    let envelope = app.take().await;
    assert_eq!(envelope["type"], "interactive");
    assert_eq!(envelope["accepts_response_payload"], false);
    let payload = &envelope["payload"];
    assert_eq!(payload["user"]["id"], json!(control.user_id("bob")));
    assert_eq!(payload["actions"][0]["action_id"], "a");
    assert!(payload["response_url"].is_string());
    let open = json!({"trigger_id": payload["trigger_id"], "view": {"type": "modal"}});
    let opened = call(&slack, "views.open", open.clone()).await;
    assert!(opened["view"]["id"].as_str().unwrap().starts_with('V'));
    let again = call(&slack, "views.open", open).await;
    assert_eq!(again["error"], "exchanged_trigger_id");

    let answer = json!({"response_action": "errors", "errors": {"b": "no"}});
    for kind in ["view_submission", "block_suggestion"] {
        let number = control
            .interact("bob", None, &json!({"type": kind}))
            .unwrap();
        let envelope = app.envelope().await;
        assert_eq!(envelope["accepts_response_payload"], true);
        app.answer(&envelope, answer.clone()).await;
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.attempts[0].response, Some(answer.clone()));
    }
    control
        .interact("bob", None, &json!({"type": "shortcut"}))
        .unwrap();
    assert_eq!(app.take().await["payload"]["type"], "shortcut");
    control.app_rate_limited();
    let limited = app.take().await["payload"].clone();
    assert_eq!(limited["type"], "app_rate_limited");
    assert!(limited.get("event").is_none() && limited["minute_rate_limited"].is_u64());
    control.envelope("novelty", &json!({"x": 1}), false);
    let novelty = app.take().await;
    assert_eq!(
        (&novelty["type"], &novelty["payload"]),
        (&json!("novelty"), &json!({"x": 1}))
    );
}

#[tokio::test]
async fn acknowledgements_that_slack_would_not_read_count_for_nothing() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    let number = control.slash("alice", "general", "/x", "").unwrap();
    let envelope = app.envelope().await;
    app.answer(&envelope, json!({"text": "x".repeat(20 * 1024)}))
        .await;
    let ack = json!({"envelope_id": envelope["envelope_id"]}).to_string();
    let (first, last) = ack.split_at(10);
    for (part, opcode, is_last) in [(first, Data::Text, false), (last, Data::Continue, true)] {
        let frame = Frame::message(part.to_owned(), OpCode::Data(opcode), is_last);
        app.socket().send_message(Message::Frame(frame)).await;
    }
    for nonsense in ["nonsense", "{}", r#"{"envelope_id": "x"}"#] {
        app.socket().send_message(Message::text(nonsense)).await;
    }
    assert_eq!(
        soon(control.settled(number)).await.outcome,
        Outcome::GivenUp
    );
    assert_eq!(control.stray_acks(), 5);
}

#[tokio::test]
async fn a_disconnect_says_why_and_the_connection_ends() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    for (reason, name) in [
        (Reason::Warning, "warning"),
        (Reason::RefreshRequested, "refresh_requested"),
        (Reason::TooManyWebsockets, "too_many_websockets"),
        (Reason::LinkDisabled, "link_disabled"),
    ] {
        let mut app = SocketMode::connect(&slack).await;
        assert_eq!(control.disconnect(None, reason), 1);
        let words = app.envelope().await;
        assert_eq!(
            (&words["type"], &words["reason"]),
            (&json!("disconnect"), &json!(name))
        );
        if reason == Reason::Warning {
            // It is served until the end.
            control.event(&json!({"type": "team_join"}));
            assert_eq!(app.take().await["payload"]["event"]["type"], "team_join");
        }
        assert!(matches!(
            app.socket().message().await,
            Some(Message::Close(_))
        ));
        assert!(app.socket().message().await.is_none());
        soon(control.wait_until(<[_]>::is_empty)).await;
    }
}

#[tokio::test]
async fn slack_pings_in_socket_mode_too() {
    let slack = start_with(Options {
        ping_interval: Duration::from_millis(5),
        ..Options::default()
    })
    .await;
    let mut app = SocketMode::connect(&slack).await;
    while !matches!(app.socket().message().await.unwrap(), Message::Ping(_)) {}
    app.socket().pong(b"ours").await;
}

#[tokio::test]
async fn a_url_of_socket_mode_serves_once() {
    let slack = start().await;
    let opened = call_as(&slack, "xapp-1", "apps.connections.open", &[]).await;
    let url = opened["url"].as_str().unwrap();
    let mut first = Rtm::open(url).await;
    assert_eq!(first.event().await["type"], "hello");
    let mut second = Rtm::open(url).await;
    assert_eq!(second.event().await["type"], "error");
    second.ended().await;
}
