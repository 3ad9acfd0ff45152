//! Tests of the example project's worker, and of the trap that `worker_trap` warns about.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use djangobot_channels::probe::{ProbeOptions, probe, worker_trap};
use djangobot_channels::{ChannelLayer, LayerConfig, open};
use djangobot_tests::{Program, Redis, python, python_redis7};
use serde_json::{Value, json};

use crate::pair::{Reader, send};

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("example")
}

/// Starts the worker of the example, or of a copy of it.
fn worker(python: PathBuf, redis: &Redis, directory: &Path) -> Program {
    let mut command = Command::new(python);
    command
        .args([
            "-u",
            "manage.py",
            "runworker",
            "slack.message",
            "slack.hello",
        ])
        .current_dir(directory);
    command
        .env("DJANGOBOT_EXAMPLE_REDIS", redis.url())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.env_remove("DJANGO_SETTINGS_MODULE");
    Program::start(command)
}

async fn layer_of_example(url: &str) -> Arc<dyn ChannelLayer> {
    let options = ProbeOptions {
        python: Some(python()),
        directory: example(),
        ..ProbeOptions::default()
    };
    let probed = probe("myapp.asgi:channel_layer", &options).await.unwrap();
    assert_eq!(worker_trap(&probed), None, "the example shows the cure");
    let mut config = probed.config;
    config["hosts"][0]["address"] = json!(url);
    open(LayerConfig::from_settings(&probed.backend, &config).unwrap()).unwrap()
}

#[tokio::test]
async fn the_example_answers_people_and_not_itself() {
    let redis = Redis::start();
    let rust = layer_of_example(&redis.url()).await;
    let mut worker = worker(python(), &redis, &example());
    let answers = Reader::open(&rust, "slack.send", "tests").await;
    let message = |text: &str, more: Value| {
        let mut message = json!({"type": "slack.message", "channel": "C024BE91L", "user": "U023BECGF", "text": text, "reply_channel": "slack.send"});
        message
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        message
    };
    send(&*rust, "slack.hello", &[json!({"type": "slack.hello"})]).await;
    worker.line("connected to Slack").await;
    send(
        &*rust,
        "slack.message",
        &[
            message("not this", json!({"bot_id": "B1"})),
            message("nor this", json!({"subtype": "message_changed"})),
            message("hi", json!({})),
        ],
    )
    .await;
    let answer = answers.next().await;
    assert_eq!(
        (&answer["text"], &answer["channel"]),
        (&json!("echo hi"), &json!("C024BE91L"))
    );
    let reply_channel = answer["reply_channel"].as_str().unwrap();
    send(
        &*rust,
        reply_channel,
        &[
            json!({"type": "slack.sent", "ok": true, "ts": "1.2"}),
            json!({"type": "slack.failed", "ok": false, "error": "channel_not_found"}),
        ],
    )
    .await;
    worker.line("sent: ").await;
    assert!(worker.line("failed: ").await.contains("channel_not_found"));
}

#[tokio::test]
async fn the_trap_is_reported_only_where_a_worker_really_ends() {
    // A copy of the example without the cure for the trap.
    let trapped = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-R")
        .arg(example())
        .arg(trapped.path().join("example"))
        .status()
        .unwrap();
    assert!(copied.success());
    let trapped = trapped.path().join("example");
    let settings = trapped.join("myapp/settings.py");
    let text = std::fs::read_to_string(&settings).unwrap();
    let without = text.replace(r#"{"address": REDIS, "socket_timeout": None}"#, "REDIS");
    assert_ne!(without, text);
    std::fs::write(&settings, without).unwrap();

    let trap = async |python: PathBuf| {
        let options = ProbeOptions {
            python: Some(python),
            directory: trapped.clone(),
            ..ProbeOptions::default()
        };
        worker_trap(&probe("myapp.settings", &options).await.unwrap())
    };
    let told = trap(python()).await.unwrap();
    assert!(
        told.contains("TimeoutError") && told.contains("hosts[0]"),
        "{told}"
    );
    assert_eq!(trap(python_redis7()).await, None);

    // Two workers without the trap start first, so that they have been idle for longer when the other one ends.
    let mut cured = Served::start(python(), &example()).await;
    let mut older = Served::start(python_redis7(), &trapped).await;
    let redis = Redis::start();
    let mut ending = worker(python(), &redis, &trapped);
    let status = ending.exit().await;
    assert!(
        !status.success() && ending.output().contains("TimeoutError"),
        "{}",
        ending.output()
    );
    cured.serve().await;
    older.serve().await;
}

/// A worker with a Redis of its own.
struct Served {
    layer: Arc<dyn ChannelLayer>,
    worker: Program,
    _redis: Redis,
}

impl Served {
    async fn start(python: PathBuf, directory: &Path) -> Self {
        let redis = Redis::start();
        let layer = layer_of_example(&redis.url()).await;
        let mut served = Self {
            worker: worker(python, &redis, directory),
            layer,
            _redis: redis,
        };
        served.serve().await;
        served
    }

    /// Lets it serve one message.
    async fn serve(&mut self) {
        send(
            &*self.layer,
            "slack.hello",
            &[json!({"type": "slack.hello"})],
        )
        .await;
        self.worker.line("connected to Slack").await;
    }
}
