//! The errors of the settings, each with its cure.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::config::secret_kind::MisplacedSecret;
use crate::config::values::{CONFIG_FILE, SLACK_API};

/// The settings can't be read, or something is missing in them. All of these are usage errors: exit code 2.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum ConfigError {
    #[error("the config file {} can't be read: {reason}", path.display())]
    #[diagnostic(help(
        "name a readable file with --config or DJANGOBOT_CONFIG; without them, {CONFIG_FILE} in this folder is read if it exists"
    ))]
    Unreadable {
        path: PathBuf,
        reason: std::io::Error,
    },
    // The error shows no snippet of the file: the token may stand next to the mistake.
    #[error("{message}")]
    Wrong {
        message: String,
        #[help]
        help: Option<String>,
    },
    #[error("there is no Slack token")]
    #[diagnostic(help(
        "set DJANGOBOT_TOKEN, give --token, or write token = \"xoxb-...\" below [slack] in {CONFIG_FILE};\n\
         to try djangobot without a Slack workspace: djangobot dev"
    ))]
    NoToken,
    #[error("there is no app-level token, and Socket Mode needs one")]
    #[diagnostic(help(
        "set DJANGOBOT_APP_TOKEN to the token that begins with xapp-: the app's page \"Basic Information\", \"App-Level Tokens\", scope connections:write;\n\
         without Socket Mode: transport = \"rtm\" for a classic app, \"http\" for the Events API"
    ))]
    NoAppToken,
    #[error(transparent)]
    #[diagnostic(transparent)]
    MisplacedSecret(#[from] MisplacedSecret),
    #[error("there is no signing secret, and events over HTTP can't be trusted without it")]
    #[diagnostic(help(
        "set DJANGOBOT_SIGNING_SECRET: the app's page \"Basic Information\", \"App Credentials\", \"Signing Secret\""
    ))]
    NoSigningSecret,
    #[error("there is no address at which Slack's requests can come in")]
    #[diagnostic(help(
        "give --listen 0.0.0.0:8080 or another address that Slack's requests reach through your proxy, and enter https://YOUR-HOST/slack/events as the app's request URL"
    ))]
    NoListen,
    #[error("token rotation needs client-id, client-secret and refresh-token together")]
    #[diagnostic(help(
        "write all three below [slack], or none: the app's page \"Basic Information\" has the first two, \"OAuth & Permissions\" the third, which begins with xoxe-"
    ))]
    HalfRotation,
    #[error("{what} can't be read from {}: {reason}", path.display())]
    #[diagnostic(help(
        "the file must contain the secret and nothing else, and the user that runs djangobot must be able to read it"
    ))]
    SecretFile {
        what: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{what} is missing: the file {} is empty", path.display())]
    #[diagnostic(help("write the secret into the file, and nothing else"))]
    EmptySecretFile { what: &'static str, path: PathBuf },
    #[error("no channel layer is named")]
    #[diagnostic(help(
        "give a TARGET such as myapp.asgi:channel_layer or redis://127.0.0.1:6379, set DJANGO_SETTINGS_MODULE, or write target = \"...\" below [layer] in {CONFIG_FILE};\n\
         without Redis: djangobot run embedded://"
    ))]
    NoTarget,
    #[error("{0:?} can't be one of several TARGETs: several are shards, and each must be a URL")]
    #[diagnostic(help("give one module, or only URLs"))]
    MixedTargets(String),
    #[error("{value:?} is not the URL of a Web API: {reason}")]
    #[diagnostic(help(
        "leave --slack-api-url out for Slack's own, {SLACK_API}; a local Slack prints its URL when it starts"
    ))]
    ApiUrl { value: String, reason: &'static str },
}
