//! Slack's own SDKs, for Python and for Node, against the local Slack: to them it is Slack.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that does not get what it expects has failed"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use djangobot_tests::Program;
use local_slack::{Connection, Control, LocalSlack, Options};
use serde_json::Value;

mod rtm;
mod socket_mode;
mod web;

/// Short pings, so that a few of both kinds fall into each test.
async fn start() -> LocalSlack {
    let options = Options {
        ping_interval: Duration::from_millis(100),
        ..Options::default()
    };
    LocalSlack::start(options).await.unwrap()
}

/// A script of `clients/`, given the API's address, a bot's token and an app-level token.
fn script(slack: &LocalSlack, name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    let mut command = if name.ends_with(".py") {
        Command::new(djangobot_tests::python())
    } else {
        let mut node = Command::new(djangobot_tests::node());
        node.env("NODE_PATH", djangobot_tests::node_modules());
        node
    };
    command.arg(path).arg(slack.api_url()).arg(slack.token());
    command.arg(slack.app_token());
    // A proxy of the developer's has no say on loopback.
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// An SDK's client of RTM or Socket Mode.
struct Client(Program);

impl Client {
    fn start(slack: &LocalSlack, name: &str) -> Client {
        Client(Program::start(script(slack, name)))
    }

    /// The next line of its output that contains `part`.
    async fn tells(&mut self, part: &str) -> Value {
        let line = self.0.line(part).await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    async fn step(&mut self, step: Value) {
        self.0.write_line(&step.to_string()).await;
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(djangobot_tests::DEADLINE, future)
        .await
        .expect("it did not happen in time")
}

/// Waits for a connection that is not `old`, and for the end of that one.
async fn replaced(control: &Control, old: &Connection) -> Connection {
    let new = |open: &[Connection]| open.len() == 1 && open[0].id != old.id;
    soon(control.wait_until(new)).await.remove(0)
}
