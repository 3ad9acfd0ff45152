//! A worker that is away for longer than the layer keeps messages gets all of them when it comes back.

use std::time::Duration;

use djangobot_tests::{Redis, eventually};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::deployment::Deployment;
use crate::faults::emit;

const CORE: &str = "channels_redis.core.RedisChannelLayer";
const CHANNELS1: &str = "asgi_redis.RedisChannelLayer";

/// How long the layer keeps messages, in seconds. The host brings unread events to the disk after half of it, and has
/// the other half for that: the half must be longer than a busy machine may stand still.
const EXPIRY: u64 = 12;

/// A config file for a layer that keeps messages for [`EXPIRY`].
fn config(backend: &str, options: &str, redis: &Redis) -> String {
    format!(
        "[layer]\nbackend = \"{backend}\"\nformat = \"flat\"\nconfig = {{ hosts = [\"{}\"], expiry = {EXPIRY}, capacity = 1000{options} }}\n",
        redis.url()
    )
}

/// The numbers in `count` messages of `slack.numbered`.
async fn numbers(app: &mut App, count: usize) -> Vec<u64> {
    let messages = app.take("slack.numbered", count).await;
    messages
        .iter()
        .map(|message: &Value| message["n"].as_u64().unwrap())
        .collect()
}

/// A worker on this layer stays away for longer than [`EXPIRY`], and then reads everything.
async fn worker_stays_away(backend: &str, options: &str) {
    let deployment = Deployment::new().await;
    deployment.configure(&config(backend, options, &deployment.redis));
    let control = &deployment.control;
    let mut bridge = deployment.bridge_with(&[]).await;
    emit(control, "numbered", 0..150);
    bridge.line("no worker reads the channel").await;
    // Twice the expiry, with more on the way.
    let pause = Duration::from_secs(2 * EXPIRY) / 20;
    for n in 150..170 {
        emit(control, "numbered", n..n + 1);
        tokio::time::sleep(pause).await;
    }
    let mut app = match backend {
        CORE => {
            let mut config = json!({"hosts": [host(&deployment.redis.url())], "expiry": EXPIRY});
            if !options.is_empty() {
                config["symmetric_encryption_keys"] = json!(["a key"]);
            }
            App::with_config(&config)
        }
        _ => App::channels1(&deployment.redis.url()),
    };
    app.receive(&["slack.numbered"]).await;
    assert_eq!(
        numbers(&mut app, 170).await,
        (0..170).collect::<Vec<_>>(),
        "{backend}{options}"
    );
    emit(control, "numbered", 170..180);
    assert_eq!(numbers(&mut app, 10).await, (170..180).collect::<Vec<_>>());
    let expired = "djangobot_expired_total{channel=\"slack.numbered\"}";
    assert_eq!(bridge.metric(expired).await, 0.0);
    assert!(app.left("slack.numbered").is_empty());
}

#[tokio::test]
async fn a_worker_that_was_away_for_longer_than_the_expiry_reads_everything() {
    tokio::join!(
        worker_stays_away(CORE, ""),
        worker_stays_away(CORE, ", symmetric_encryption_keys = [\"a key\"]"),
        worker_stays_away(CHANNELS1, "")
    );
}

#[tokio::test]
async fn events_that_nobody_read_outlast_a_kill_of_the_bridge() {
    let deployment = Deployment::new().await;
    deployment.configure(&config(CORE, "", &deployment.redis));
    let control = &deployment.control;
    let mut bridge = deployment.bridge_with(&[]).await;
    emit(control, "numbered", 0..30);
    bridge.line("no worker reads the channel").await;
    bridge.kill().await;
    drop(bridge);
    eventually("all that lay in the layer has expired", async || {
        (deployment.redis.cli(&["exists", "asgislack.numbered"]) == "0").then_some(())
    })
    .await;
    let _bridge = deployment.bridge_with(&[]).await;
    let mut app =
        App::with_config(&json!({"hosts": [host(&deployment.redis.url())], "expiry": EXPIRY}));
    app.receive(&["slack.numbered"]).await;
    assert_eq!(numbers(&mut app, 30).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn messages_that_expire_in_the_layer_are_counted_and_logged() {
    let deployment = Deployment::new().await;
    deployment.configure(&config(CORE, "", &deployment.redis));
    // Another program left it there.
    deployment
        .redis
        .cli(&["zadd", "asgislack.numbered", "1000", "123456789012old"]);
    let control = &deployment.control;
    let mut bridge = deployment.bridge_with(&[]).await;
    emit(control, "numbered", 0..1);
    bridge
        .line("messages expired in the channel layer and are lost")
        .await;
    bridge
        .metric_is("djangobot_expired_total{channel=\"slack.numbered\"}", 1.0)
        .await;
}
