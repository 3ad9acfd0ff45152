//! RTM through a plain WebSocket.

use std::time::Duration;

use local_slack::Options;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::client::{Rtm, call, channel, soon, start, start_with};

#[tokio::test]
async fn a_url_serves_once() {
    let slack = start().await;
    let connected = call(&slack, "rtm.connect", json!({})).await;
    assert_eq!(connected["self"]["name"], "djangobot");
    assert_eq!(connected["team"]["domain"], "local-slack");
    let url = connected["url"].as_str().unwrap();
    let mut first = Rtm::open(url).await;
    assert_eq!(first.event().await["type"], "hello");
    let mut second = Rtm::open(url).await;
    let expired = json!({"type": "error", "error": {"code": 1, "msg": "Socket URL has expired"}});
    assert_eq!(second.event().await, expired);
    assert!(matches!(
        second.message().await,
        Some(Message::Close(_)) | None
    ));
    first.nothing().await;
}

#[tokio::test]
async fn a_url_that_is_too_old_has_expired() {
    let slack = start_with(Options {
        url_lifetime: Duration::ZERO,
        ..Options::default()
    })
    .await;
    let connected = call(&slack, "rtm.start", json!({})).await;
    let mut rtm = Rtm::open(connected["url"].as_str().unwrap()).await;
    assert_eq!(rtm.event().await["error"]["code"], 1);
}

#[tokio::test]
async fn a_message_is_acknowledged_and_sent_to_all() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let (mut one, mut two) = (Rtm::connect(&slack).await, Rtm::connect(&slack).await);
    one.send(json!({"id": 7, "type": "message", "channel": general, "text": "a & <b> é"}))
        .await;
    let ack = one.event().await;
    let expect = json!({"ok": true, "reply_to": 7, "ts": ack["ts"], "text": "a & <b> é"});
    assert_eq!(ack, expect);
    for rtm in [&mut one, &mut two] {
        let event = rtm.event().await;
        assert_eq!(event["type"], "message");
        assert_eq!(event["text"], "a & <b> é");
        assert_eq!(event["channel"], general.as_str());
        assert_eq!(event["ts"], ack["ts"]);
        assert_eq!(event["event_ts"], ack["ts"]);
        assert!(event["bot_id"].is_string() && event["user"].is_string());
    }
}

#[tokio::test]
async fn a_ping_comes_back_with_all_its_keys() {
    let slack = start_with(Options {
        ping_interval: Duration::from_millis(5),
        ..Options::default()
    })
    .await;
    let mut rtm = Rtm::connect(&slack).await;
    rtm.send(json!({"id": 1, "type": "ping", "time": 12.5, "x": {"y": [null]}}))
        .await;
    let pong = json!({"type": "pong", "reply_to": 1, "time": 12.5, "x": {"y": [null]}});
    assert_eq!(rtm.event().await, pong);
    rtm.pong(b"any bytes \xff").await;
    // The server pings, too.
    while !matches!(rtm.message().await.unwrap(), Message::Ping(_)) {}
    rtm.send(json!({"type": "ping"})).await;
    assert_eq!(rtm.event().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_with_an_error() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let (lounge, old) = (
        channel(&slack, "lounge").await,
        channel(&slack, "old-projects").await,
    );
    let mut rtm = Rtm::connect(&slack).await;
    let long = "x".repeat(4001);
    for (request, code, reply_to) in [
        (json!([1]), 3, None),
        (json!({"id": 1}), 4, Some(1)),
        (json!({"id": 2, "type": "dance"}), 5, Some(2)),
        (json!({"id": 0, "type": "ping"}), 6, None),
        (json!({"id": "1", "type": "ping"}), 6, None),
        (
            json!({"type": "message", "channel": general, "text": "x"}),
            6,
            None,
        ),
        (
            json!({"id": 3, "type": "message", "channel": general}),
            2,
            Some(3),
        ),
        (
            json!({"id": 4, "type": "message", "channel": "C404", "text": "x"}),
            7,
            Some(4),
        ),
        (
            json!({"id": 5, "type": "message", "channel": lounge, "text": "x"}),
            8,
            Some(5),
        ),
        (
            json!({"id": 6, "type": "message", "channel": old, "text": "x"}),
            9,
            Some(6),
        ),
        (
            json!({"id": 7, "type": "message", "channel": general, "text": long}),
            10,
            Some(7),
        ),
        (json!({"id": 8, "type": "presence_sub"}), 11, Some(8)),
    ] {
        rtm.send(request.clone()).await;
        let answer = rtm.event().await;
        assert_eq!(answer["error"]["code"], code, "{request}");
        match reply_to {
            Some(id) => assert_eq!(
                (&answer["ok"], &answer["reply_to"]),
                (&json!(false), &json!(id))
            ),
            None => assert_eq!(answer["type"], "error"),
        }
    }
    rtm.send_message(Message::text("not JSON")).await;
    assert_eq!(rtm.event().await["error"]["code"], 3);
}

#[tokio::test]
async fn too_many_messages_are_slowed_down() {
    let slack = start_with(Options {
        rate_limits: true,
        ..Options::default()
    })
    .await;
    let general = channel(&slack, "general").await;
    let mut rtm = Rtm::connect(&slack).await;
    // Ten may come at once, and one more for each second that this takes.
    for id in 1..100 {
        rtm.send(json!({"id": id, "type": "message", "channel": general, "text": "x"}))
            .await;
        let mut answer = rtm.event().await;
        while answer["reply_to"] != id {
            answer = rtm.event().await;
        }
        if answer["ok"] == false {
            assert_eq!(answer["error"]["code"], -1);
            return;
        }
    }
    panic!("a hundred messages at once are too many");
}

#[tokio::test]
async fn more_than_16_kilobytes_end_the_connection() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    rtm.send(json!({"id": 1, "type": "ping", "x": "x".repeat(16_000)}))
        .await;
    assert_eq!(rtm.event().await["type"], "pong");
    rtm.send_message(Message::text("x".repeat(16 * 1024 + 1)))
        .await;
    rtm.ended().await;
    soon(slack.control().wait_until(|open| open.is_empty())).await;
}

#[tokio::test]
async fn typing_is_sent_to_the_others_only() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let (mut one, mut two) = (Rtm::connect(&slack).await, Rtm::connect(&slack).await);
    one.send(json!({"id": 1, "type": "typing", "channel": general}))
        .await;
    let bot = slack.control().user_id("djangobot");
    let typing = json!({"type": "user_typing", "channel": general, "user": bot});
    assert_eq!(two.event().await, typing);
    one.nothing().await;
}

#[tokio::test]
async fn presence_is_sent_to_those_who_asked() {
    let slack = start().await;
    let control = slack.control();
    let (alice, bob) = (
        control.user_id("alice").unwrap(),
        control.user_id("bob").unwrap(),
    );
    let mut rtm = Rtm::connect(&slack).await;
    let change = |user: &str, presence: &str| json!({"type": "presence_change", "user": user, "presence": presence});
    control.set_presence("alice", false).unwrap();
    rtm.nothing().await;
    rtm.send(json!({"type": "presence_sub", "ids": [alice]}))
        .await;
    assert_eq!(rtm.event().await, change(&alice, "away"));
    control.set_presence("bob", false).unwrap();
    control.set_presence("alice", true).unwrap();
    assert_eq!(rtm.event().await, change(&alice, "active"));
    rtm.send(json!({"type": "presence_query", "ids": [bob, "U404"]}))
        .await;
    assert_eq!(rtm.event().await, change(&bob, "away"));
    rtm.nothing().await;
}

#[tokio::test]
async fn presence_comes_in_batches_where_they_are_understood() {
    let slack = start().await;
    let control = slack.control();
    let ids = json!([control.user_id("alice"), control.user_id("bob")]);
    let connected = call(&slack, "rtm.connect", json!({"batch_presence_aware": 1})).await;
    let mut rtm = Rtm::open(connected["url"].as_str().unwrap()).await;
    assert_eq!(rtm.event().await["type"], "hello");
    rtm.send(json!({"type": "presence_sub", "ids": ids})).await;
    let change = json!({"type": "presence_change", "presence": "active", "users": ids});
    assert_eq!(rtm.event().await, change);
}

#[tokio::test]
async fn the_web_api_makes_events() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let mut rtm = Rtm::connect(&slack).await;
    let posted = call(
        &slack,
        "chat.postMessage",
        json!({"channel": general, "text": "one"}),
    )
    .await;
    let ts = &posted["ts"];
    let event = rtm.event().await;
    assert_eq!(
        (&event["type"], &event["ts"], &event["text"]),
        (&json!("message"), ts, &json!("one"))
    );

    call(
        &slack,
        "chat.update",
        json!({"channel": general, "ts": ts, "text": "two"}),
    )
    .await;
    let event = rtm.event().await;
    assert_eq!(event["subtype"], "message_changed");
    assert_eq!(event["message"]["text"], "two");
    assert_eq!(event["message"]["ts"], *ts);
    assert_eq!(
        event["message"]["edited"]["user"],
        posted["message"]["user"]
    );
    assert_eq!(event["previous_message"]["text"], "one");
    assert_eq!(event["hidden"], true);

    let reaction = json!({"channel": general, "timestamp": ts, "name": "tada"});
    for (method, kind) in [
        ("reactions.add", "reaction_added"),
        ("reactions.remove", "reaction_removed"),
    ] {
        call(&slack, method, reaction.clone()).await;
        let event = rtm.event().await;
        assert_eq!(event["type"], kind);
        assert_eq!(event["reaction"], "tada");
        assert_eq!(
            event["item"],
            json!({"type": "message", "channel": general, "ts": ts})
        );
        assert_eq!(event["item_user"], posted["message"]["user"]);
    }

    call(&slack, "chat.delete", json!({"channel": general, "ts": ts})).await;
    let event = rtm.event().await;
    assert_eq!(event["subtype"], "message_deleted");
    assert_eq!(event["deleted_ts"], *ts);

    let carol = slack.control().user_id("carol");
    let opened = call(&slack, "conversations.open", json!({"users": carol})).await;
    assert_eq!(rtm.event().await["type"], "im_created");
    let open = json!({"type": "im_open", "user": carol, "channel": opened["channel"]["id"]});
    assert_eq!(rtm.event().await, open);
}

#[tokio::test]
async fn events_of_a_channel_stay_with_its_members() {
    let slack = start().await;
    let control = slack.control();
    let mut rtm = Rtm::connect(&slack).await;
    control
        .say("alice", "lounge", "the bot is not here")
        .unwrap();
    control.say("alice", "general", "but here").unwrap();
    let event = rtm.event().await;
    assert_eq!(event["text"], "but here");
    assert_eq!(event["user"], json!(control.user_id("alice")));
    assert!(event["client_msg_id"].is_string() && event["bot_id"].is_null());
}

#[tokio::test]
async fn times_are_unique_and_grow_over_all_channels() {
    let slack = start().await;
    let control = slack.control();
    let mut rtm = Rtm::connect(&slack).await;
    for number in 0..300 {
        let channel = if number % 2 == 0 { "general" } else { "random" };
        control.say("bob", channel, "x").unwrap();
    }
    let mut last = String::new();
    for _ in 0..300 {
        let ts = rtm.event().await["ts"].as_str().unwrap().to_owned();
        assert!(ts > last, "{ts} after {last}");
        last = ts;
    }
}

#[tokio::test]
async fn a_close_is_answered_with_a_close() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    rtm.send_message(Message::Close(None)).await;
    assert!(matches!(rtm.message().await, Some(Message::Close(_))));
    assert!(rtm.message().await.is_none());
    soon(slack.control().wait_until(|open| open.is_empty())).await;
}

#[tokio::test]
async fn a_binary_frame_is_noted_and_not_answered() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    rtm.send_message(Message::Binary(Bytes::from_static(b"\0\x01")))
        .await;
    rtm.nothing().await;
    let frame = soon(
        slack
            .control()
            .wait_for_frame(|frame| frame.kind == "binary"),
    )
    .await;
    assert_eq!(frame.text, "\0\u{1}");
}

#[tokio::test]
async fn shutting_down_cuts_the_sockets() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    soon(slack.shutdown()).await;
    rtm.ended().await;
}

#[tokio::test]
async fn dropping_the_server_cuts_the_sockets() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    drop(slack);
    rtm.ended().await;
}
