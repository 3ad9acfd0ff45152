//! The options that stand for settings, which several commands take.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use crate::address::ListenAddress;
use crate::config::values::{BodyFormat, LogFormat, Seconds, Transport};

/// Which channel layer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TargetArgs {
    /// The channel layer: `myapp.asgi:channel_layer`, `myapp.settings`, or URLs such as `redis://127.0.0.1:6379`
    /// (several for shards) [default: the config's `layer.target`, else the project of $DJANGO_SETTINGS_MODULE].
    #[arg(value_name = "TARGET", num_args = 0..)]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// What an event looks like on the layer.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<BodyFormat>,
}

/// How a Django project's settings are read, and what the embedded layer asks of its clients.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectArgs {
    /// The Python that the Django project runs with [default: $VIRTUAL_ENV; .venv, venv or env here or in a folder
    /// around; then PATH].
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_PYTHON")]
    pub(crate) python: Option<PathBuf>,
    /// Which entry of CHANNEL_LAYERS [default: that of the TARGET's layer, else default].
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
    /// How many seconds the project may take to be imported [default: 30].
    #[arg(long, value_name = "SECONDS", env = "DJANGOBOT_IMPORT_TIMEOUT")]
    pub(crate) import_timeout: Option<Seconds>,
    /// The file that holds the password of the embedded layer, where TARGET is embedded://; needed to listen on more than
    /// this machine.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_LAYER_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// How to reach Slack.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SlackArgs {
    /// The bot's token (`xoxb-...`). The environment is the safer place: a command line can be seen by others.
    #[arg(
        short,
        long,
        value_name = "TOKEN",
        env = "DJANGOBOT_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<SecretString>,
    /// The file that holds the bot's token.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The app-level token (`xapp-...`) of Socket Mode.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DJANGOBOT_APP_TOKEN",
        hide_env_values = true
    )]
    pub(crate) app_token: Option<SecretString>,
    /// The file that holds the app-level token.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_APP_TOKEN_FILE")]
    pub(crate) app_token_file: Option<PathBuf>,
    /// What Slack signs its HTTP requests with.
    #[arg(
        long,
        value_name = "SECRET",
        env = "DJANGOBOT_SIGNING_SECRET",
        hide_env_values = true
    )]
    pub(crate) signing_secret: Option<SecretString>,
    /// The file that holds the signing secret.
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_SIGNING_SECRET_FILE")]
    pub(crate) signing_secret_file: Option<PathBuf>,
    /// How events come [default: what the tokens allow: socket-mode with an app-level token, http with a signing secret,
    /// else rtm].
    #[arg(long, value_name = "TRANSPORT", env = "DJANGOBOT_TRANSPORT")]
    pub(crate) transport: Option<Transport>,
    /// The base of the Web API [default: Slack's own].
    #[arg(long, value_name = "URL", env = "DJANGOBOT_SLACK_API_URL")]
    pub(crate) slack_api_url: Option<Url>,
    /// Where a message without `channel` goes [default: general].
    #[arg(long, value_name = "NAME")]
    pub(crate) default_channel: Option<String>,
}

/// What concerns a process that bridges.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Serve /healthz, /readyz and /metrics here, and /slack/events where events come over HTTP.
    #[arg(long, value_name = "ADDR", env = "DJANGOBOT_LISTEN")]
    pub(crate) listen: Option<ListenAddress>,
    /// Serve /readyz and /metrics here, and not where --listen says.
    #[arg(long, value_name = "ADDR", env = "DJANGOBOT_ADMIN_LISTEN")]
    pub(crate) admin_listen: Option<ListenAddress>,
}

impl HostArgs {
    /// Of a command that serves nothing.
    pub(crate) fn of(files: &FilesArgs) -> Self {
        Self {
            files: files.clone(),
            listen: None,
            admin_listen: None,
        }
    }
}

/// Where config and state are, and what is logged.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilesArgs {
    /// The config file [default: djangobot.toml, where there is one].
    #[arg(short, long, value_name = "FILE", env = "DJANGOBOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where what must outlive the process is kept [default: .djangobot].
    #[arg(long, value_name = "DIR", env = "DJANGOBOT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,djangobot_slack=debug` [default: info].
    #[arg(long, value_name = "FILTER", env = "DJANGOBOT_LOG")]
    pub(crate) log: Option<String>,
    /// How log lines look [default: human on a terminal, json elsewhere].
    #[arg(long, value_name = "FORMAT", env = "DJANGOBOT_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}
