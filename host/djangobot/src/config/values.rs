//! Types of single values that both the config file and the command line have: transports, time spans, formats.

use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

/// The config file that is read if none is named.
pub(crate) const CONFIG_FILE: &str = "djangobot.toml";
/// Slack's Web API.
pub(super) const SLACK_API: &str = "https://slack.com/api/";

/// The transports over which Slack's events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// The Real-Time Messaging API, for classic apps. It needs a bot token alone.
    Rtm,
    /// A WebSocket that djangobot opens. It needs a bot token and an app-level token.
    SocketMode,
    /// The Events API: Slack sends HTTP requests to --listen. It needs a bot token and a signing secret.
    Http,
}

impl Transport {
    /// Its name in `djangobot.transport` of each event.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtm => "rtm",
            Self::SocketMode => "socket-mode",
            Self::Http => "http",
        }
    }
}

/// A time span, written as a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds(pub(super) Duration);

impl std::str::FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("{text:?} is not a number of seconds"))?;
        Self::try_from(seconds)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;
    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| format!("{seconds} is not a number of seconds from 0 up"))
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Lines for people to read.
    Human,
    /// One JSON object a line, for programs.
    Json,
}

/// The format of an event on the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub(crate) enum BodyFormat {
    /// Slack's own object, flat, with `type`, `reply_channel` and `djangobot` set.
    #[value(name = "flat")]
    #[serde(rename = "flat")]
    Flat,
    /// The body of djangobot 0.1: `{"text": <JSON bytes>}`, with `user` and `channel` as names.
    #[value(name = "djangobot-0.1")]
    #[serde(rename = "djangobot-0.1")]
    V01,
}
