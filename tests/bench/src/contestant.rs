//! A bridge under measurement, ours or the original, with a local Slack of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use djangobot_tests::Program;
use djangobot_tests::environment::Virtualenv;
use local_slack::{Answer, Burst, LocalSlack, Options};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::peers;
use crate::queue::Queue;
use crate::statistics::Round;

/// No queue is ever full.
const CAPACITY: u64 = 10_000_000;
/// Seconds; nothing is dropped for its age.
const EXPIRY: u64 = 600;
/// How long a bridge may take until it is connected.
pub(crate) const CONNECTED: Duration = Duration::from_secs(30);

/// The layer that a bridge sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// channels_redis's, with Slack's object flat: what djangobot does for Channels 4.
    ChannelsRedis,
    /// asgi_redis's, with the body of 2016: what djangobot 0.1 does.
    AsgiRedis,
}

/// The original's virtualenv. Its list is complete: later releases of what it pulls in don't run on Python 3.8.
pub(crate) const ORIGINAL: Virtualenv = Virtualenv {
    name: "original",
    requirements: include_str!("../peers/original/requirements.txt"),
    complete: true,
};

/// A running bridge that is connected to its Slack.
pub(crate) struct Contestant {
    pub(crate) slack: LocalSlack,
    pub(crate) program: Program,
    /// From the start of the process to its WebSocket's.
    pub(crate) started_in: Duration,
    /// Holds its configuration and state.
    _directory: TempDir,
}

impl Contestant {
    /// Starts our bridge on the Redis at `port`.
    pub(crate) async fn ours(port: u16, layer: Layer) -> Self {
        let (slack, directory) = (
            slack().await,
            tempfile::tempdir().expect("there is room for a folder"),
        );
        let backend = match layer {
            Layer::ChannelsRedis => "channels_redis.core.RedisChannelLayer",
            Layer::AsgiRedis => "asgi_redis.RedisChannelLayer",
        };
        fs::write(
            directory.path().join("djangobot.toml"),
            settings(backend, port),
        )
        .expect("a new folder can be written to");
        let mut command = Command::new(peers::program("djangobot"));
        command
            .arg("run")
            .current_dir(directory.path())
            .env("DJANGOBOT_TOKEN", slack.token())
            .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
        Self::start(slack, directory, command).await
    }

    /// Starts our bridge with these plugins; what they need is in `folder`, which the first start fills.
    pub(crate) async fn with_plugins(port: u16, folder: &Path, components: &[PathBuf]) -> Self {
        let (slack, directory) = (
            slack().await,
            tempfile::tempdir().expect("there is room for a folder"),
        );
        let program = peers::program("djangobot");
        if !folder.join("djangobot.toml").exists() {
            for component in components {
                let mut add = Command::new(&program);
                add.args(["plugin", "add", "--yes"])
                    .arg(component)
                    .current_dir(folder);
                let added = add.output().expect("djangobot runs");
                assert!(
                    added.status.success(),
                    "{}",
                    String::from_utf8_lossy(&added.stderr)
                );
            }
        }
        let mut command = Command::new(program);
        command
            .args(["run", &format!("redis://127.0.0.1:{port}")])
            .current_dir(folder)
            .env("DJANGOBOT_TOKEN", slack.token())
            .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
        Self::start(slack, directory, command).await
    }

    /// Starts djangobot 0.1 as its users did, but for the address of Slack's Web API.
    pub(crate) async fn original(port: u16) -> Self {
        let (slack, directory) = (
            slack().await,
            tempfile::tempdir().expect("there is room for a folder"),
        );
        // Slack has retired this method, so the local Slack has none; the bot asks for it once, at its start.
        let channels: Vec<_> = ["general", "random", "ops", "lounge", "core-team"]
            .iter()
            .filter_map(|name| Some(json!({"id": slack.control().channel_id(name)?, "name": name})))
            .collect();
        let body = Some(json!({"ok": true, "channels": channels}));
        slack.control().answer(
            "channels.list",
            Answer {
                body,
                ..Answer::default()
            },
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/original");
        // It prints a line for each event; nobody needs to read them, which is the least that it can cost.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" -W ignore \"$@\" > /dev/null"])
            .arg(ORIGINAL.interpreter())
            .arg(folder.join("run.py"))
            .arg("project.asgi:channel_layer")
            .current_dir(folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DJANGOBOT_TOKEN", slack.token())
            .env("SLACK_API", slack.api_url())
            .env("REDIS_PORT", port.to_string())
            .env("CAPACITY", CAPACITY.to_string())
            .env("EXPIRY", EXPIRY.to_string());
        Self::start(slack, directory, command).await
    }

    async fn start(slack: LocalSlack, directory: TempDir, command: Command) -> Self {
        let began = Instant::now();
        let program = Program::start(command);
        let connected = timeout(CONNECTED, slack.control().wait_for_connections(1)).await;
        let started_in = began.elapsed();
        assert!(
            connected.is_ok(),
            "no connection to Slack within {CONNECTED:?}; the bridge wrote:\n{}",
            program.output()
        );
        Self {
            slack,
            program,
            started_in,
            _directory: directory,
        }
    }

    /// Lets Slack send `events` messages of about 500 bytes as fast as the bridge takes them, until all are in `queue`
    /// or no more come.
    pub(crate) async fn burst(&self, queue: &mut Queue, events: u64) -> Round {
        queue.clear().await;
        let control = self.slack.control();
        let (cpu, began) = (self.program.cpu_time(), Instant::now());
        let sending = control.burst(Burst {
            frames: events,
            bytes: 500,
            channels: 1,
            per_second: None,
        });
        let (sent, arrival) = tokio::join!(sending, queue.wait_for(events));
        assert_eq!(sent.frames, events, "Slack sent something else");
        // Work that it does after Redis has answered belongs to its CPU time, too.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Round {
            messages: arrival.messages,
            lost: events.saturating_sub(arrival.messages),
            wall: arrival.at - began,
            cpu: self.program.cpu_time() - cpu,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.program.terminate().await;
        self.slack.shutdown().await;
    }
}

/// Our configuration for a layer on the Redis at `port`, with channels that never fill up. It ends in the table `[layer]`.
pub(crate) fn settings(backend: &str, port: u16) -> String {
    format!(
        "[layer]\nbackend = {backend:?}\nconfig = {{ hosts = [[\"127.0.0.1\", {port}]], capacity = {CAPACITY}, expiry = {EXPIRY} }}\n"
    )
}

async fn slack() -> LocalSlack {
    // A ping may not fall into a measurement.
    let options = Options {
        ping_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    LocalSlack::start(options)
        .await
        .expect("loopback can be listened on")
}
