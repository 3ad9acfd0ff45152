//! Options that override settings of the config file. Several commands take them.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use crate::address::ListenAddress;
use crate::config::values::{BodyFormat, LogFormat, Seconds, Transport};

/// The choice of the channel layer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TargetArgs {
    /// Use this channel layer: `myapp.asgi:channel_layer`, `myapp.settings`, or a URL such as `redis://127.0.0.1:6379`;
    /// several URLs are shards [default: the config's `layer.target`, else the project of $DJANGO_SETTINGS_MODULE].
    #[arg(value_name = "TARGET", num_args = 0..)]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Write events onto the layer in this format [default: flat, or djangobot-0.1 on a layer of Channels 1].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<BodyFormat>,
}

/// How a Django project's settings are read, and which password the clients of the embedded layer must give.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectArgs {
    /// Read the Django project's settings with this Python [default: the one of $VIRTUAL_ENV, of .venv, venv or env in
    /// this folder or one above it, or on PATH, whichever is found first].
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_PYTHON")]
    pub(crate) python: Option<PathBuf>,
    /// Use this entry of CHANNEL_LAYERS [default: that of the TARGET's layer, else default].
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
    /// Let the import of the project take this long, in seconds [default: 30].
    #[arg(long, value_name = "SECONDS", env = "DJANGOBOT_IMPORT_TIMEOUT")]
    pub(crate) import_timeout: Option<Seconds>,
    /// Read the password of the embedded layer from this file, if TARGET is embedded://. It is needed to listen on more
    /// than this machine.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_LAYER_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// How djangobot reaches Slack.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SlackArgs {
    /// Use this bot token (`xoxb-...`). The environment is safer: other users can read a command line.
    #[arg(
        short,
        long,
        value_name = "TOKEN",
        env = "DJANGOBOT_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<SecretString>,
    /// Read the bot token from this file.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Use this app-level token (`xapp-...`), which Socket Mode needs.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DJANGOBOT_APP_TOKEN",
        hide_env_values = true
    )]
    pub(crate) app_token: Option<SecretString>,
    /// Read the app-level token from this file.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_APP_TOKEN_FILE")]
    pub(crate) app_token_file: Option<PathBuf>,
    /// Verify the signatures of Slack's HTTP requests with this signing secret.
    #[arg(
        long,
        value_name = "SECRET",
        env = "DJANGOBOT_SIGNING_SECRET",
        hide_env_values = true
    )]
    pub(crate) signing_secret: Option<SecretString>,
    /// Read the signing secret from this file.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_SIGNING_SECRET_FILE")]
    pub(crate) signing_secret_file: Option<PathBuf>,
    /// Get events over this transport [default: socket-mode with an app-level token, http with a signing secret, else
    /// rtm].
    #[arg(long, value_name = "TRANSPORT", env = "DJANGOBOT_TRANSPORT")]
    pub(crate) transport: Option<Transport>,
    /// Call the Web API at this base URL [default: Slack's own].
    #[arg(
        long,
        value_name = "URL",
        env = "DJANGOBOT_SLACK_API_URL",
        value_parser = url
    )]
    pub(crate) slack_api_url: Option<Url>,
    /// Send a message without `channel` to this channel [default: general].
    #[arg(long, value_name = "NAME")]
    pub(crate) default_channel: Option<String>,
}

/// Reads a URL. If its beginning is missing, the parser's own error speaks of a base, which helps nobody.
fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            "the beginning https:// is missing; write a URL such as https://slack.com/api/"
                .to_owned()
        }
        error => format!("{error}; write a URL such as https://slack.com/api/"),
    })
}

/// The options of a process that bridges.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Serve /healthz, /readyz and /metrics at this address, and /slack/events if events come over HTTP.
    #[arg(long, value_name = "ADDR", env = "DJANGOBOT_LISTEN")]
    pub(crate) listen: Option<ListenAddress>,
    /// Serve /readyz and /metrics at this address, and not at that of --listen.
    #[arg(long, value_name = "ADDR", env = "DJANGOBOT_ADMIN_LISTEN")]
    pub(crate) admin_listen: Option<ListenAddress>,
}

impl HostArgs {
    /// The options of a command that listens at no address.
    pub(crate) fn of(files: &FilesArgs) -> Self {
        Self {
            files: files.clone(),
            listen: None,
            admin_listen: None,
        }
    }
}

/// The places of the config and the state, and the logs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilesArgs {
    /// Read this config file [default: djangobot.toml in this folder, if it exists].
    #[arg(short, long, value_name = "FILE", env = "DJANGOBOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Keep the state in this folder: all that must outlive the process [default: .djangobot].
    #[arg(long, value_name = "DIR", env = "DJANGOBOT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The content and the format of the logs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogArgs {
    /// Log this level (error, warn, info, debug, trace) or use a filter such as `info,djangobot_slack=debug` [default:
    /// info].
    #[arg(long, value_name = "FILTER", env = "DJANGOBOT_LOG")]
    pub(crate) log: Option<String>,
    /// Write log lines in this format [default: human on a terminal, json elsewhere].
    #[arg(long, value_name = "FORMAT", env = "DJANGOBOT_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}
