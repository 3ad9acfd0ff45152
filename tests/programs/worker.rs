//! The example project of the documents: a real Channels worker that answers in Slack.

use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{Program, python, python_redis7};
use local_slack::{Control, LocalSlack};
use serde_json::json;

use crate::bridge::{Bridge, Djangobot, calls, djangobot};
use crate::deployment::Deployment;

/// The folder of the example project.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("example")
}

/// `python manage.py runworker slack.message slack.hello` of the example project.
pub(crate) fn worker(python: &Path, redis: &str) -> Program {
    let mut command = Command::new(python);
    command.args(["manage.py", "runworker", "slack.message", "slack.hello"]);
    command
        .current_dir(example())
        .env("DJANGOBOT_EXAMPLE_REDIS", redis);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("DJANGO_SETTINGS_MODULE");
    Program::start(command)
}

/// Checks that a message of alice's in `channel` is echoed there, and that the worker gets the outcome.
async fn check_echo(worker: &mut Program, control: &Control, channel: &str) {
    let text = format!("hello from {channel}");
    let count = control.calls(Some("chat.postMessage")).len();
    control.say("alice", channel, &text).unwrap();
    let calls = calls(control, "chat.postMessage", count + 1).await;
    let answer = &calls[count].answer;
    assert_eq!(answer["message"]["text"], format!("echo {text}"));
    let sent = worker.line("sent: ").await;
    assert!(
        sent.contains(answer["ts"].as_str().unwrap()) && sent.contains("slack.sent"),
        "{sent}"
    );
}

async fn check_example(slack: &LocalSlack, python: &Path, redis: &str) {
    let mut worker = worker(python, redis);
    worker.line("connected to Slack").await;
    for channel in ["general", "random", "djangobot"] {
        check_echo(&mut worker, &slack.control(), channel).await;
    }
}

#[tokio::test]
async fn the_example_echoes_over_redis_with_either_redis_py() {
    for python in [python(), python_redis7()] {
        let deployment = Deployment::new().await;
        // Redis is named by the project alone; its own Python is asked.
        let mut command = djangobot(&example(), &["myapp.asgi:channel_layer"]);
        command
            .args(["--state-dir", deployment.folder.path().to_str().unwrap()])
            .arg("--python")
            .arg(&python);
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--slack-api-url",
                &deployment.slack.api_url(),
            ])
            .env("DJANGOBOT_TOKEN", deployment.slack.token())
            .env("DJANGOBOT_EXAMPLE_REDIS", deployment.redis.url())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let _bridge = Bridge::of(command).await;
        check_example(&deployment.slack, &python, &deployment.redis.url()).await;
    }
}

#[tokio::test]
async fn the_example_echoes_over_the_embedded_layer() {
    let deployment = Deployment::new().await;
    let bridge = deployment.start(&["embedded://127.0.0.1:0"]).await;
    let started = &bridge.logs("forwarding Slack's events")[0];
    let layer = started["layer"].as_str().unwrap();
    let address = layer.rsplit(' ').next().unwrap();
    check_example(&deployment.slack, &python(), &format!("redis://{address}")).await;
}

#[tokio::test]
async fn the_example_echoes_what_is_typed_into_djangobot_dev() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Djangobot::start(djangobot(
        folder.path(),
        &["dev", "--layer-listen", "127.0.0.1:0"],
    ));
    let layer = dev.line("The embedded channel layer is at redis://").await;
    let address = layer
        .split_whitespace()
        .find_map(|word| word.strip_prefix("redis://"))
        .unwrap();
    let address = format!("redis://{}", address.trim_end_matches('.'));
    let mut worker = worker(&python(), &address);
    worker.line("connected to Slack").await;
    dev.write_line("hello").await;
    worker.line("'text': 'hello'").await;
    dev.line("<-- slack.send").await;
    dev.line("\"text\": \"echo hello\"").await;
    worker.line("sent: ").await;
    assert_eq!(dev.terminate().await.code(), Some(0));
    assert!(
        dev.stdout().contains("#general djangobot: echo hello\n"),
        "{}",
        dev.stdout()
    );
}

#[tokio::test]
async fn events_that_a_killed_worker_had_not_taken_go_to_the_next_worker_in_order() {
    const EVENTS: usize = 300;
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let emit = |n: usize| {
        let event = json!({"type": "message", "subtype": "numbered", "n": n, "channel": "C1", "text": "", "ts": format!("{n}.000001")});
        control.emit(None, &event);
    };

    let mut first = worker(&python(), &deployment.redis.url());
    first.line("connected to Slack").await;
    (0..EVENTS / 2).for_each(emit);
    first.line("'n': 100,").await;
    first.kill().await;
    // More than a channel holds: the rest waits in the bridge.
    (EVENTS / 2..EVENTS).for_each(emit);
    bridge
        .metric_is("djangobot_events_total{type=\"message\"}", EVENTS as f64)
        .await;

    let mut second = worker(&python(), &deployment.redis.url());
    second.line(&format!("'n': {},", EVENTS - 1)).await;
    let output = second.stdout();
    let numbers = output
        .lines()
        .filter_map(|line| line.split("'n': ").nth(1)?.split(',').next()?.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    assert_eq!(
        numbers,
        (numbers[0]..EVENTS).collect::<Vec<_>>(),
        "all that it got, once and in order"
    );
    assert!(numbers[0] <= EVENTS / 2, "{} was lost", EVENTS / 2);
}
