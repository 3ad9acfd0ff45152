//! A deployment of djangobot for a test: a Slack, a Redis, and a folder with the config and the state.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use djangobot_tests::{DEADLINE, Redis, eventually};
use local_slack::{Control, Delivery, LocalSlack, OAuth, Options};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, ExitReport, djangobot, slack_with, with_slack};

/// The app-level token of all tests; nothing that a djangobot writes may show it.
pub(crate) const APP_TOKEN: &str = "xapp-1-not-to-be-shown";

/// The transport over which Slack's events reach the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Rtm,
    SocketMode,
    Http,
}

impl Transport {
    /// The transports of today's apps, over which Slack redelivers and takes answers.
    pub(crate) const OF_APPS: [Transport; 2] = [Transport::SocketMode, Transport::Http];

    /// Its name in the settings and in events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Rtm => "rtm",
            Transport::SocketMode => "socket-mode",
            Transport::Http => "http",
        }
    }
}

/// The surroundings of a bridge. Bridges come and go in it.
pub(crate) struct Deployment {
    pub(crate) transport: Transport,
    pub(crate) slack: LocalSlack,
    pub(crate) control: Control,
    pub(crate) redis: Redis,
    pub(crate) folder: TempDir,
}

impl Deployment {
    /// One over RTM, with a Slack of the usual size.
    pub(crate) async fn new() -> Self {
        Self::with_slack(Options::default()).await
    }

    /// One over RTM, with this Slack.
    pub(crate) async fn with_slack(options: Options) -> Self {
        Self::of(Transport::Rtm, options, Redis::start()).await
    }

    /// One over RTM, on this Redis.
    pub(crate) async fn with_redis(redis: Redis) -> Self {
        Self::of(Transport::Rtm, Options::default(), redis).await
    }

    /// One whose Slack has an app that is reached by `way`.
    pub(crate) async fn over(transport: Transport, options: Options) -> Self {
        let options = Options {
            app_token: Some(APP_TOKEN.into()),
            ..options
        };
        Self::of(transport, options, Redis::start()).await
    }

    /// One over RTM, whose Slack takes other tokens than [`TOKEN`](crate::bridge::TOKEN) too.
    pub(crate) async fn with_any_token() -> Self {
        let slack = LocalSlack::start(Options::default()).await.unwrap();
        Self::around(Transport::Rtm, slack, Redis::start())
    }

    async fn of(transport: Transport, options: Options, redis: Redis) -> Self {
        Self::around(transport, slack_with(options).await, redis)
    }

    fn around(transport: Transport, slack: LocalSlack, redis: Redis) -> Self {
        Self {
            transport,
            control: slack.control(),
            slack,
            redis,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes its config file.
    pub(crate) fn configure(&self, toml: &str) {
        std::fs::write(self.path("djangobot.toml"), toml).unwrap();
    }

    /// Adds lines at the end of its config file.
    pub(crate) fn configure_more(&self, toml: &str) {
        let before = std::fs::read_to_string(self.path("djangobot.toml")).unwrap_or_default();
        self.configure(&format!("{before}\n{toml}"));
    }

    /// Lets bridges renew the tokens that this app has; the lines end with the section `[slack]`.
    pub(crate) fn configure_rotation(&self, oauth: &OAuth) {
        self.configure_more(&format!(
            "[slack]\nclient-id = {:?}\nclient-secret = {:?}\nrefresh-token = {:?}\n",
            oauth.client_id, oauth.client_secret, oauth.refresh_token
        ));
    }

    /// The command `djangobot ARGUMENTS` in its folder, with its Slack and what its way needs in the environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = with_slack(djangobot(self.folder.path(), arguments), &self.slack);
        match self.transport {
            Transport::Rtm => {}
            Transport::SocketMode => {
                command.env("DJANGOBOT_APP_TOKEN", APP_TOKEN);
            }
            Transport::Http => {
                command.env("DJANGOBOT_SIGNING_SECRET", self.slack.signing_secret());
            }
        }
        command
    }

    /// Runs `djangobot ARGUMENTS` to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> ExitReport {
        Djangobot::run(self.command(arguments)).await
    }

    /// Starts a bridge with these arguments, and waits until it listens.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Bridge {
        let mut command = self.command(arguments);
        command.args(["--listen", "127.0.0.1:0"]);
        Bridge::of(command).await
    }

    /// A bridge on its Redis, connected and with the names of its Slack.
    pub(crate) async fn bridge(&self) -> Bridge {
        self.bridge_with(&[&self.redis.url()]).await
    }

    /// The same with these arguments, which name the layer unless the config does.
    pub(crate) async fn bridge_with(&self, arguments: &[&str]) -> Bridge {
        let mut bridge = self.start(arguments).await;
        bridge.line("the roster is loaded").await;
        match self.transport {
            Transport::Rtm => {}
            Transport::SocketMode => {
                eventually("it has a connection", async || {
                    let connections = bridge.metric("djangobot_slack_connections").await;
                    (connections >= 1.0).then_some(())
                })
                .await;
            }
            Transport::Http => {
                let url = bridge.url("/slack/events");
                self.control.set_events_url(Some(&url)).unwrap();
            }
        }
        bridge
    }

    /// An app on its Redis, which reads these channels.
    pub(crate) async fn app(&self, channels: &[&str]) -> App {
        let mut app = self.sender();
        app.receive(channels).await;
        app
    }

    /// An app on its Redis, which reads nothing yet.
    pub(crate) fn sender(&self) -> App {
        App::start(&self.redis.url())
    }

    /// Lets alice say a text in #general. Gives its `ts`.
    pub(crate) fn say(&self, text: &str) -> String {
        self.control.say("alice", "general", text).unwrap()
    }

    /// A delivery of its Slack, once it has come to its end.
    pub(crate) async fn settled(&self, number: u64) -> Delivery {
        settled(&self.control, number).await
    }
}

/// A delivery that has come to its end.
pub(crate) async fn settled(control: &Control, number: u64) -> Delivery {
    timeout(DEADLINE, control.settled(number))
        .await
        .unwrap_or_else(|_| panic!("{number} is not settled: {:#?}", control.deliveries()))
}

/// Settings of a Slack that redelivers soon what was not acknowledged.
pub(crate) fn soon_redelivered() -> Options {
    Options {
        retry_delays: [
            Duration::from_millis(300),
            Duration::from_secs(1),
            Duration::from_secs(20),
        ],
        ..Options::default()
    }
}
