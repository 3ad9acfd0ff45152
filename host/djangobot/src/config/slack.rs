//! The settings about Slack: transport, tokens and secrets, the methods that the app may call, and limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::cli::args::SlackArgs;
use crate::config::api_url::{api_url, is_loopback};
use crate::config::error::ConfigError;
use crate::config::secret_kind::{MisplacedSecret, Setting};
use crate::config::values::{Seconds, Transport};

/// The default of `slack.methods`: the Web API methods that `slack.send` may call.
const METHODS: &[&str] = &[
    "assistant.*",
    "chat.*",
    "reactions.*",
    "conversations.open",
    "files.getUploadURLExternal",
    "files.completeUploadExternal",
    "functions.*",
    "views.*",
];
/// How long an app has to answer a slash command or an interaction. Slack waits for 3 seconds; the rest is for the way
/// of the acknowledgement.
const ANSWER_WAIT: Duration = Duration::from_millis(2_500);
/// The default of `slack.max-file-mib`: the size of all files of one message.
const MAX_FILE_MIB: u64 = 16;
/// The default of `slack.send-timeout`: how long a failing message is tried.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);
/// The default number of Socket Mode connections. A single one keeps Slack's order, and it is replaced before it ends.
const CONNECTIONS: u8 = 1;

/// How djangobot reaches Slack, and which methods the app may call.
#[derive(Debug)]
pub(crate) struct SlackSettings {
    /// The bot's token, which calls the Web API.
    pub(crate) token: Option<SecretString>,
    /// The app-level token, which opens Socket Mode.
    pub(crate) app_token: Option<SecretString>,
    /// The secret with which Slack signs its HTTP requests.
    pub(crate) signing_secret: Option<SecretString>,
    /// How to get new tokens, if the app's tokens rotate every 12 hours.
    pub(crate) rotation: Option<RotationSettings>,
    pub(crate) api_url: Url,
    /// The transport of events.
    pub(crate) transport: Transport,
    /// The number of Socket Mode connections.
    pub(crate) connections: u8,
    /// The channel of a message without `channel`: a name or an id.
    pub(crate) default_channel: String,
    /// Globs over method names.
    pub(crate) methods: Vec<String>,
    /// How long events and messages that need a name wait for the roster on a first start.
    pub(crate) roster_wait: Duration,
    /// How long the app has to answer a command or an interaction.
    pub(crate) answer_wait: Duration,
    /// The age that a message may have when it is sent; `None` for any age.
    pub(crate) max_age: Option<Duration>,
    /// How long a message is tried, from its first failure on.
    pub(crate) send_timeout: Duration,
    /// The size of all files of one message, in MiB.
    pub(crate) max_file_mib: u64,
    /// When and how Slack's history is read after a gap.
    pub(crate) history: HistorySettings,
}

/// The credentials of an app whose tokens rotate.
#[derive(Debug, Clone)]
pub(crate) struct RotationSettings {
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    /// The first refresh token of the app. Each is good for one refresh; later ones lie in the state.
    pub(crate) refresh_token: SecretString,
}

/// When and how a gap is filled from `conversations.history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistorySettings {
    pub(crate) when: HistoryWhen,
    /// Messages older than this are not read; zero turns reading off.
    pub(crate) reach: Duration,
    /// The most messages that are read of one conversation.
    pub(crate) messages: usize,
    /// The most conversations that are read.
    pub(crate) conversations: usize,
    /// Kinds of events that are read even if none came live yet.
    pub(crate) events: Vec<HistoryEvent>,
}

impl HistorySettings {
    /// Whether history is ever read.
    pub(crate) fn is_on(&self) -> bool {
        self.when != HistoryWhen::Never && !self.reach.is_zero()
    }
}

/// The moments after which history is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HistoryWhen {
    /// After an outage so long that Slack may have given up redelivering; on RTM, which redelivers nothing, after any.
    #[default]
    Outage,
    /// After each connection.
    Always,
    Never,
}

/// Events that can be made from what a history has, by the names that an app subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum HistoryEvent {
    #[serde(rename = "message.channels")]
    Channels,
    #[serde(rename = "message.groups")]
    Groups,
    #[serde(rename = "message.im")]
    Im,
    #[serde(rename = "message.mpim")]
    Mpim,
    #[serde(rename = "app_mention")]
    Mention,
}

impl HistoryEvent {
    /// All messages, whatever kind of conversation they are in.
    pub(crate) const MESSAGES: [Self; 4] = [Self::Channels, Self::Groups, Self::Im, Self::Mpim];
}

/// `[slack]` of the config file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct SlackSection {
    transport: Option<Transport>,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
    app_token: Option<SecretString>,
    app_token_file: Option<PathBuf>,
    signing_secret: Option<SecretString>,
    signing_secret_file: Option<PathBuf>,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    client_secret_file: Option<PathBuf>,
    refresh_token: Option<SecretString>,
    refresh_token_file: Option<PathBuf>,
    connections: Option<ConnectionCount>,
    api_url: Option<Url>,
    default_channel: Option<String>,
    methods: Option<Vec<String>>,
    roster_wait: Option<Seconds>,
    answer_wait: Option<Seconds>,
    max_age: Option<Seconds>,
    send_timeout: Option<Seconds>,
    max_file_mib: Option<FileMib>,
    history: HistorySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct HistorySection {
    when: HistoryWhen,
    events: Vec<HistoryEvent>,
    reach: Option<Seconds>,
    messages: Option<usize>,
    conversations: Option<usize>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u8")]
struct ConnectionCount(u8);

impl TryFrom<u8> for ConnectionCount {
    type Error = String;

    fn try_from(count: u8) -> Result<Self, String> {
        match count {
            1..=10 => Ok(Self(count)),
            _ => Err(format!(
                "{count} is not a number of connections from 1 to 10, which Slack allows"
            )),
        }
    }
}

/// The size of the files of one message. It has a bound, because the files lie in memory and in one row of the state.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct FileMib(u64);

impl TryFrom<u64> for FileMib {
    type Error = String;

    fn try_from(mib: u64) -> Result<Self, String> {
        match mib {
            0..=256 => Ok(Self(mib)),
            _ => Err(format!(
                "{mib} MiB are too many for the files of a message: 256 are the most"
            )),
        }
    }
}

/// A place that may give a secret: the secret itself, or the file that holds it.
struct SecretSource<'a> {
    value: Option<&'a SecretString>,
    file: Option<PathBuf>,
}

impl SlackSection {
    /// Makes the settings: `args` override the section, whose relative paths start from `home`.
    pub(super) fn settings(
        self,
        args: &SlackArgs,
        home: &Path,
    ) -> Result<SlackSettings, ConfigError> {
        let of_args = |value, file: &Option<PathBuf>| SecretSource {
            value,
            file: file.clone(),
        };
        let of_file = |value, file: &Option<PathBuf>| SecretSource {
            value,
            file: file.as_ref().map(|path| home.join(path)),
        };
        let token = secret(
            "the Slack token",
            [
                of_args(args.token.as_ref(), &args.token_file),
                of_file(self.token.as_ref(), &self.token_file),
            ],
        )?;
        let app_token = secret(
            "the app-level token",
            [
                of_args(args.app_token.as_ref(), &args.app_token_file),
                of_file(self.app_token.as_ref(), &self.app_token_file),
            ],
        )?;
        let signing_secret = secret(
            "the signing secret",
            [
                of_args(args.signing_secret.as_ref(), &args.signing_secret_file),
                of_file(self.signing_secret.as_ref(), &self.signing_secret_file),
            ],
        )?;
        let client_secret = secret(
            "the client secret",
            [of_file(
                self.client_secret.as_ref(),
                &self.client_secret_file,
            )],
        )?;
        let refresh_token = secret(
            "the refresh token",
            [of_file(
                self.refresh_token.as_ref(),
                &self.refresh_token_file,
            )],
        )?;
        let rotation = match (self.client_id, client_secret, refresh_token) {
            (None, None, None) => None,
            (Some(client_id), Some(client_secret), Some(refresh_token)) => Some(RotationSettings {
                client_id,
                client_secret,
                refresh_token,
            }),
            _ => return Err(ConfigError::HalfRotation),
        };
        // Socket Mode is preferred if both are configured, because it needs no address that Slack can reach.
        let transport = args.transport.or(self.transport).unwrap_or({
            match (&app_token, &signing_secret) {
                (Some(_), _) => Transport::SocketMode,
                (None, Some(_)) => Transport::Http,
                (None, None) => Transport::Rtm,
            }
        });
        Ok(SlackSettings {
            token,
            app_token,
            signing_secret,
            rotation,
            transport,
            connections: self.connections.map_or(CONNECTIONS, |it| it.0),
            api_url: api_url(args.slack_api_url.clone().or(self.api_url))?,
            default_channel: args
                .default_channel
                .clone()
                .or(self.default_channel)
                .unwrap_or_else(|| "general".into()),
            methods: self
                .methods
                .unwrap_or_else(|| METHODS.iter().map(ToString::to_string).collect()),
            roster_wait: self
                .roster_wait
                .map_or(Duration::from_secs(10), |wait| wait.0),
            answer_wait: self.answer_wait.map_or(ANSWER_WAIT, |wait| wait.0),
            max_age: self.max_age.map(|age| age.0),
            send_timeout: self.send_timeout.map_or(SEND_TIMEOUT, |time| time.0),
            max_file_mib: self.max_file_mib.map_or(MAX_FILE_MIB, |most| most.0),
            history: HistorySettings {
                when: self.history.when,
                events: self.history.events,
                reach: self
                    .history
                    .reach
                    .map_or(Duration::from_secs(24 * 3600), |reach| reach.0),
                messages: self.history.messages.unwrap_or(1_000),
                conversations: self.history.conversations.unwrap_or(500),
            },
        })
    }
}

/// Whether one of `globs` names the method. A `*` at the end of a glob stands for any rest.
pub(crate) fn is_allowed(globs: &[String], method: &str) -> bool {
    globs.iter().any(|glob| match glob.strip_suffix('*') {
        Some(start) => method.starts_with(start),
        None => glob == method,
    })
}

impl SlackSettings {
    /// Finds the secrets of a wrong kind, such as an app-level token in place of the bot's.
    pub(crate) fn misplaced(&self) -> Vec<MisplacedSecret> {
        let rotation = self.rotation.as_ref();
        let given = [
            (Setting::Token, self.token.as_ref()),
            (Setting::AppToken, self.app_token.as_ref()),
            (Setting::SigningSecret, self.signing_secret.as_ref()),
            (
                Setting::ClientSecret,
                rotation.map(|rotation| &rotation.client_secret),
            ),
            (
                Setting::RefreshToken,
                rotation.map(|rotation| &rotation.refresh_token),
            ),
        ];
        MisplacedSecret::among(&given)
    }
}

impl SlackSettings {
    /// Whether the app may call a method through `slack.send`.
    pub(crate) fn allows(&self, method: &str) -> bool {
        is_allowed(&self.methods, method)
    }

    /// The pace of calls, as a multiple of Slack's documented rates. A local Slack has no rates.
    pub(crate) fn speed(&self) -> f64 {
        if self.api_url.host_str().is_some_and(is_loopback) {
            f64::INFINITY
        } else {
            1.0
        }
    }

    /// All secrets, which must never be shown.
    pub(crate) fn secrets(&self) -> Vec<SecretString> {
        let rotation = self.rotation.as_ref();
        [
            self.token.as_ref(),
            self.app_token.as_ref(),
            self.signing_secret.as_ref(),
            rotation.map(|it| &it.client_secret),
            rotation.map(|it| &it.refresh_token),
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
    }

    /// Finds a wrong secret, or a setting that the transport needs and that is missing. `listen` says whether there is
    /// an address to listen at.
    pub(crate) fn lack(&self, listen: bool) -> Option<ConfigError> {
        // A secret of a wrong kind is reported before a missing one: it is often the one that is missing elsewhere.
        if let Some(misplaced) = self.misplaced().into_iter().next() {
            return Some(misplaced.into());
        }
        if self.token.is_none() && self.rotation.is_none() {
            return Some(ConfigError::NoToken);
        }
        match self.transport {
            Transport::SocketMode if self.app_token.is_none() => Some(ConfigError::NoAppToken),
            Transport::Http if self.signing_secret.is_none() => Some(ConfigError::NoSigningSecret),
            Transport::Http if !listen => Some(ConfigError::NoListen),
            Transport::Rtm | Transport::SocketMode | Transport::Http => None,
        }
    }
}

/// Takes the secret from the first of `sources` that gives one. Errors call it `what`.
fn secret<const N: usize>(
    what: &'static str,
    sources: [SecretSource<'_>; N],
) -> Result<Option<SecretString>, ConfigError> {
    for SecretSource { value, file } in sources {
        if let Some(value) = value {
            return Ok(Some(value.clone()));
        }
        if let Some(path) = file {
            return secret_file(what, path).map(Some);
        }
    }
    Ok(None)
}

/// Reads a secret from a file that contains nothing else.
pub(super) fn secret_file(what: &'static str, path: PathBuf) -> Result<SecretString, ConfigError> {
    match std::fs::read_to_string(&path) {
        Err(reason) => Err(ConfigError::SecretFile { what, path, reason }),
        Ok(text) if text.trim().is_empty() => Err(ConfigError::EmptySecretFile { what, path }),
        Ok(text) => Ok(SecretString::from(text.trim().to_owned())),
    }
}
