//! Channel layers as projects configure them: the settings are read by the project's own Python, and both ways work.

use djangobot_tests::{Redis, python};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::bridge::{Bridge, calls, djangobot, slack};
use crate::check::project;
use crate::command_line::with_slack;

const CORE: &str = "channels_redis.core.RedisChannelLayer";
const PUBSUB: &str = "channels_redis.pubsub.RedisPubSubChannelLayer";

/// That a bridge on `djangobot settings`, with this layer in them, and an app with the same layer understand each other.
async fn check_both_ways(backend: &str, config: &Value) {
    let (slack, folder) = (slack().await, tempfile::tempdir().unwrap());
    let control = slack.control();
    project(folder.path(), backend, config);
    let mut command = with_slack(djangobot(folder.path(), &["settings"]), &slack);
    command
        .args(["--listen", "127.0.0.1:0", "--python"])
        .arg(python());
    let mut bridge = Bridge::of(command).await;
    bridge.line("the roster is loaded").await;

    let mut app = App::with_backend(backend, config);
    app.receive(&["slack.message"]).await;
    for n in 0..5 {
        let text = format!("message {n} 🚀");
        control.say("alice", "general", &text).unwrap();
        assert_eq!(app.next("slack.message").await["text"], text);
    }
    let reply = app.new_channel().await;
    for n in 0..5 {
        let message = json!({"text": format!("answer {n}"), "reply_channel": reply, "id": n});
        app.send("slack.send", &message).await;
        let answer = app.next(&reply).await;
        assert_eq!(
            (&answer["type"], &answer["request"]),
            (&json!("slack.sent"), &json!(n)),
            "{answer}"
        );
    }
    assert_eq!(calls(&control, "chat.postMessage", 5).await.len(), 5);
}

#[tokio::test]
async fn a_core_layer_with_every_option_is_understood() {
    let (one, two) = (Redis::start(), Redis::start());
    let config = json!({
        "hosts": [host(&one.url()), host(&format!("{}/3", two.url()))], "prefix": "mine", "expiry": 30, "capacity": 10,
        "channel_capacity": {"slack.*": 20}, "symmetric_encryption_keys": ["a key", "an older key"],
        "serializer_format": "json", "random_prefix_length": 7,
    });
    check_both_ways(CORE, &config).await;
}

#[tokio::test]
async fn a_pubsub_layer_is_understood() {
    let redis = Redis::start();
    check_both_ways(PUBSUB, &json!({"hosts": [host(&redis.url())]})).await;
}

#[tokio::test]
async fn what_nobody_is_subscribed_to_yet_waits_in_the_bridge() {
    let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
    let url = redis.url().replace("redis://", "redis+pubsub://");
    let bridge = Bridge::connected(folder.path(), &slack, &[&url]).await;
    for n in 0..30 {
        slack
            .control()
            .emit(None, &json!({"type": "early", "n": n}));
    }
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.early\"}", 30.0)
        .await;
    let mut app = App::with_backend(PUBSUB, &json!({"hosts": [host(&redis.url())]}));
    app.receive(&["slack.early"]).await;
    let numbers: Vec<_> = app
        .take("slack.early", 30)
        .await
        .into_iter()
        .map(|mut message| message["n"].take())
        .collect();
    assert_eq!(json!(numbers), json!((0..30).collect::<Vec<_>>()));
}
