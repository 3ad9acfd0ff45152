//! A program that takes events over Socket Mode and puts them into Redis: ours, or an app of Bolt for Python.
//!
//! It has a local Slack of its own, and can be killed and started again on what it left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use djangobot_tests::{Program, python};
use local_slack::{Connection, LocalSlack, Options};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::contestant::{CONNECTED, settings};
use crate::peers;

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taker {
    /// Ours.
    Djangobot,
    /// An app of Bolt for Python, whose handler calls `async_to_sync(channel_layer.send)`.
    Bolt,
}

impl Taker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Djangobot => "djangobot",
            Self::Bolt => "slack_bolt",
        }
    }

    /// How many connections it keeps, unless told otherwise.
    fn connections(self) -> usize {
        match self {
            Self::Djangobot => 2,
            Self::Bolt => 1,
        }
    }
}

/// A taker and its Slack.
pub(crate) struct SocketMode {
    pub(crate) slack: LocalSlack,
    taker: Taker,
    /// The port of its Redis.
    redis: u16,
    /// Its configuration and state.
    folder: TempDir,
    program: Option<Program>,
}

impl SocketMode {
    /// Starts one on the Redis at `redis`, and waits until it has all its connections. Slack gives an event again when
    /// it is not acknowledged within `patience`.
    pub(crate) async fn start(taker: Taker, redis: u16, patience: Duration) -> Self {
        // A ping may not fall into a measurement.
        let options = Options {
            ping_interval: Duration::from_secs(3600),
            ack_timeout: patience,
            ..Options::default()
        };
        let slack = LocalSlack::start(options)
            .await
            .expect("loopback can be listened on");
        // On the disk that the programs are on: the folder for temporary files may be in memory.
        let disk = peers::program("djangobot").with_file_name("");
        let folder = tempfile::tempdir_in(disk).expect("there is room for a folder");
        let more = "spool-mib = 16384\n";
        fs::write(
            folder.path().join("djangobot.toml"),
            settings("channels_redis.core.RedisChannelLayer", redis) + more,
        )
        .expect("a new folder can be written to");
        let mut this = Self {
            slack,
            taker,
            redis,
            folder,
            program: None,
        };
        this.start_again().await;
        this.whole().await;
        this
    }

    /// Starts it, on what it left; gives the time until Slack had a connection of it.
    pub(crate) async fn start_again(&mut self) -> Duration {
        let control = self.slack.control();
        let before = control.connections();
        let is_new = |one: &Connection| before.iter().all(|old| old.id != one.id);
        let began = Instant::now();
        let program = self.program.insert(Program::start(self.command()));
        let connected = control.wait_until(|now| now.iter().any(is_new));
        assert!(
            timeout(CONNECTED, connected).await.is_ok(),
            "no connection to Slack within {CONNECTED:?}; {} wrote:\n{}",
            self.taker.name(),
            program.output()
        );
        began.elapsed()
    }

    /// Waits until all its connections are there, and work.
    pub(crate) async fn whole(&self) {
        let (control, count) = (self.slack.control(), self.taker.connections());
        let whole = control.wait_until(|now| now.iter().filter(|one| !one.frozen).count() >= count);
        assert!(
            timeout(2 * CONNECTED, whole).await.is_ok(),
            "{} did not connect {count} times; it wrote:\n{}",
            self.taker.name(),
            self.program().output()
        );
    }

    /// Gives it one event, of a type and in a conversation, which [`crate::tap::marked`] knows by its `number`.
    pub(crate) fn emit(&self, kind: &str, number: usize) {
        emit(&self.slack.control(), kind, number);
    }

    pub(crate) fn program(&self) -> &Program {
        self.program.as_ref().expect("it was started")
    }

    /// Waits for a line with `part` of what it writes.
    pub(crate) async fn said(&mut self, part: &str) {
        let program = self.program.as_mut().expect("it was started");
        program.line(part).await;
    }

    /// Kills it, and waits for its end.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill().await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.kill().await;
        self.slack.shutdown().await;
    }

    /// Where its configuration and state are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let slack = &self.slack;
        match self.taker {
            Taker::Djangobot => {
                let mut command = Command::new(peers::program("djangobot"));
                command
                    .arg("run")
                    .current_dir(self.folder())
                    .env("DJANGOBOT_TOKEN", slack.token())
                    .env("DJANGOBOT_APP_TOKEN", slack.app_token())
                    .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
                command
            }
            Taker::Bolt => {
                let mut command = Command::new(python());
                command
                    .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/bolt.py"))
                    .arg(format!("redis://127.0.0.1:{}", self.redis))
                    .args([&*slack.api_url(), slack.token(), slack.app_token()]);
                command
            }
        }
    }
}

/// As [`SocketMode::emit`].
pub(crate) fn emit(control: &local_slack::Control, kind: &str, number: usize) {
    let text = format!(
        "event-{number:06} {}",
        "of about five hundred bytes ".repeat(12)
    );
    // No two have the same time, by which Slack knows a message.
    control.event(&json!({"type": kind, "channel": "C024BE91L", "user": "U023BECGF", "channel_type": "channel",
        "ts": format!("1355517523.{number:06}"), "event_ts": format!("1355517523.{number:06}"), "text": text}));
}
