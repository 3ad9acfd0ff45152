//! The way in, whole: what Slack sends is what a Python app receives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use local_slack::{Control, Frame};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::deployment::Deployment;
use crate::events::{kind, own_events, sample_events, types};

#[tokio::test]
async fn every_event_arrives_on_its_channel_equal_to_what_slack_sent_and_in_order() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let started = now();
    let _bridge = deployment.bridge().await;
    let mut app = deployment.sender();

    let (last, mut events) = everything();
    let own = own_events();
    let parsed: Vec<Value> = own
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let channels: BTreeSet<String> = events
        .iter()
        .chain(&last)
        .chain(&parsed)
        .map(channel_of)
        .collect();
    app.receive(&channels.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    assert_eq!(app.next("slack.hello").await["region"], "local");
    for event in &events {
        assert_eq!(control.emit(None, event), 1);
    }
    for text in own {
        control.emit_frame(None, &Frame::Text(Bytes::from(text)));
    }
    events.extend(parsed);

    let mut ids = BTreeSet::new();
    for (channel, events) in by_channel(&events) {
        for event in events {
            let message = app.next(&channel).await;
            check_flat(&event, message, started, &mut ids);
        }
    }
    control.emit(
        None,
        &json!({"type": "reconnect_url", "url": "wss://elsewhere.example"}),
    );
    // These end the connection, so each has one of its own.
    for event in last {
        let before = control.connections();
        control.emit(None, &event);
        check_flat(
            &event,
            app.next(&channel_of(&event)).await,
            started,
            &mut ids,
        );
        connected_anew(control, &before).await;
        assert_eq!(app.next("slack.hello").await["region"], "local");
    }
    for channel in channels {
        assert_eq!(app.left(&channel), Vec::<Value>::new(), "{channel}");
    }
    assert_eq!(
        deployment.redis.cli(&["EXISTS", "asgislack.reconnect_url"]),
        "0"
    );
}

#[tokio::test]
async fn the_body_of_2016_has_the_events_json_with_names_for_ids() {
    let deployment = Deployment::new().await;
    let _bridge = deployment
        .start(&["--format", "djangobot-0.1", &deployment.redis.url()])
        .await;
    let mut app = App::with_config(&json!({ "hosts": [host(&deployment.redis.url())] }));
    check_v01(&deployment.control, &mut app).await;
}

#[tokio::test]
async fn a_channels_1_app_gets_the_body_of_2016_over_asgi_redis_and_can_answer() {
    let deployment = Deployment::new().await;
    let target = deployment.redis.url().replace("redis://", "asgi-redis://");
    let _bridge = deployment.start(&[&target]).await;
    let mut app = App::channels1(&deployment.redis.url());
    check_v01(&deployment.control, &mut app).await;
    app.send(
        "slack.send",
        &json!({"text": "as in 2016", "channel": "random"}),
    )
    .await;
    let calls = deployment
        .control
        .wait_for_calls("chat.postMessage", 1)
        .await;
    assert_eq!(calls[0].answer["message"]["text"], "as in 2016");
}

/// Names are known from the first event on: it waits for the roster.
async fn check_v01(control: &Control, app: &mut App) {
    app.receive(&["slack.message", "slack.hello", "slack.user_typing"])
        .await;
    control.wait_for_connections(1).await;
    let (alice, general) = (
        control.user_id("alice").unwrap(),
        control.channel_id("general").unwrap(),
    );
    control.say("alice", "general", "Grüße").unwrap();
    let message = v01(app.next("slack.message").await);
    assert_eq!(
        (
            &message["type"],
            &message["user"],
            &message["channel"],
            &message["text"]
        ),
        (
            &json!("message"),
            &json!("alice"),
            &json!("general"),
            &json!("Grüße")
        )
    );
    let typing = json!({"type": "user_typing", "user": alice, "channel": "C0UNKNOWN", "item": {"channel": general}});
    control.emit(None, &typing);
    let expect = json!({"type": "user_typing", "user": "alice", "channel": "C0UNKNOWN", "item": {"channel": general}});
    assert_eq!(v01(app.next("slack.user_typing").await), expect);
    assert_eq!(v01(app.next("slack.hello").await)["type"], "hello");
}

/// The event in a body of 2016, which has nothing else.
fn v01(message: Value) -> Value {
    let body = message.as_object().unwrap();
    assert_eq!(body.len(), 1, "{message}");
    serde_json::from_str(body["text"]["bytes"].as_str().expect("`text` is bytes")).unwrap()
}

/// All samples and types; apart, those after which Slack expects a new connection.
fn everything() -> (Vec<Value>, Vec<Value>) {
    let typed = types()
        .into_iter()
        .enumerate()
        .map(|(n, kind)| json!({"type": kind, "n": n, "channel": "C0000000001"}));
    let events = sample_events().into_iter().chain(typed);
    // Slack tells clients to ignore the URL that this one brings: it stays with the connection.
    let events = events.filter(|event| kind(event) != "reconnect_url");
    events.partition(|event| matches!(kind(event), "goodbye" | "team_migration_started"))
}

fn channel_of(event: &Value) -> String {
    format!("slack.{}", kind(event))
}

fn by_channel(events: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut by_channel = BTreeMap::<String, Vec<Value>>::new();
    for event in events {
        by_channel
            .entry(channel_of(event))
            .or_default()
            .push(event.clone());
    }
    by_channel
}

/// That `message` is `event` with the three keys of ours, and an id that no other has.
fn check_flat(event: &Value, mut message: Value, started: f64, ids: &mut BTreeSet<String>) {
    let about = message["djangobot"].take();
    let mut expect = event.clone();
    expect["type"] = channel_of(event).into();
    expect["reply_channel"] = "slack.send".into();
    expect["djangobot"] = Value::Null;
    assert_eq!(message, expect);
    let received = about["received_at"].as_f64().unwrap();
    assert!(started <= received && received <= now(), "{about}");
    assert_eq!(about["team_id"], "T0LOCAL0001");
    assert_eq!(about["transport"], "rtm");
    assert_eq!(about["attempt"], 1);
    let id = about["id"].as_str().unwrap();
    assert!(id.starts_with("T0LOCAL0001."), "{id}");
    // Some samples are messages with the same channel and ts, and so the same message.
    assert!(
        ids.insert(id.to_owned()) || kind(event) == "message",
        "{id} was given twice"
    );
}

async fn connected_anew(control: &Control, before: &[local_slack::Connection]) {
    let is_new = |now: &[local_slack::Connection]| now.len() == 1 && now[0].id != before[0].id;
    let anew = tokio::time::timeout(djangobot_tests::DEADLINE, control.wait_until(is_new));
    anew.await.expect("the bridge connects anew");
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
