//! Channel layers as projects configure them: the settings are read by the project's own Python, and both ways work.

use djangobot_tests::{Redis, python};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::bridge::calls;
use crate::check::project;
use crate::deployment::Deployment;

const CORE: &str = "channels_redis.core.RedisChannelLayer";
const PUBSUB: &str = "channels_redis.pubsub.RedisPubSubChannelLayer";

/// Checks that a bridge on `djangobot settings`, with this layer in them, and an app with the same layer understand
/// each other.
async fn check_both_ways(backend: &str, config: &Value) {
    let deployment = Deployment::new().await;
    project(deployment.folder.path(), backend, config);
    let python = python().display().to_string();
    let _bridge = deployment
        .bridge_with(&["settings", "--python", &python])
        .await;

    let mut app = App::with_backend(backend, config);
    app.receive(&["slack.message"]).await;
    for n in 0..5 {
        let text = format!("message {n} 🚀");
        deployment.say(&text);
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
    assert_eq!(
        calls(&deployment.control, "chat.postMessage", 5)
            .await
            .len(),
        5
    );
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
async fn events_without_a_subscriber_wait_in_the_bridge() {
    let deployment = Deployment::new().await;
    let url = deployment
        .redis
        .url()
        .replace("redis://", "redis+pubsub://");
    let bridge = deployment.bridge_with(&[&url]).await;
    for n in 0..30 {
        deployment
            .control
            .emit(None, &json!({"type": "early", "n": n}));
    }
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.early\"}", 30.0)
        .await;
    let mut app = App::with_backend(PUBSUB, &json!({"hosts": [host(&deployment.redis.url())]}));
    app.receive(&["slack.early"]).await;
    let numbers: Vec<_> = app
        .take("slack.early", 30)
        .await
        .into_iter()
        .map(|mut message| message["n"].take())
        .collect();
    assert_eq!(json!(numbers), json!((0..30).collect::<Vec<_>>()));
}
