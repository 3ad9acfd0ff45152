//! Why there are no settings.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::config::misplaced::Misplaced;
use crate::config::values::{CONFIG_FILE, SLACK_API};

/// Why there are no settings. All of these are usage errors: exit code 2.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum ConfigError {
    #[error("the config file {} can't be read: {reason}", path.display())]
    #[diagnostic(help(
        "--config and DJANGOBOT_CONFIG name it; without them {CONFIG_FILE} of this folder is read, where there is one"
    ))]
    Unreadable {
        path: PathBuf,
        reason: std::io::Error,
    },
    // No snippet of the file: the token may stand beside the mistake.
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
    Misplaced(#[from] Misplaced),
    #[error("there is no signing secret, and events over HTTP can't be trusted without it")]
    #[diagnostic(help(
        "set DJANGOBOT_SIGNING_SECRET: the app's page \"Basic Information\", \"App Credentials\", \"Signing Secret\""
    ))]
    NoSigningSecret,
    #[error("no address is given to take Slack's requests at")]
    #[diagnostic(help(
        "give --listen 0.0.0.0:8080 or another address that Slack's requests reach through your proxy, and name https://YOUR-HOST/slack/events as the app's request URL"
    ))]
    NoListen,
    #[error("token rotation needs client-id, client-secret and refresh-token together")]
    #[diagnostic(help(
        "write all three below [slack], or none: the app's page \"Basic Information\" has the first two, \"OAuth & Permissions\" the third, which begins with xoxe-"
    ))]
    HalfRotation,
    #[error("{what} can't be read from {}: {reason}", path.display())]
    #[diagnostic(help(
        "it holds the secret alone; whoever runs djangobot must be able to read it"
    ))]
    SecretFile {
        what: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{what} is missing: {} is empty", path.display())]
    #[diagnostic(help("write the secret alone into it"))]
    EmptySecretFile { what: &'static str, path: PathBuf },
    #[error("no channel layer is named")]
    #[diagnostic(help(
        "give a TARGET such as myapp.asgi:channel_layer or redis://127.0.0.1:6379, set DJANGO_SETTINGS_MODULE, or write target = \"...\" below [layer] in {CONFIG_FILE};\n\
         without Redis: djangobot run embedded://"
    ))]
    NoTarget,
    #[error(
        "{0:?} is no TARGET together with the others: several are shards, and each must be a URL"
    )]
    #[diagnostic(help("give one module, or only URLs"))]
    MixedTargets(String),
    #[error("{value:?} is no URL of a Web API: {reason}")]
    #[diagnostic(help("Slack's is {SLACK_API}; a local Slack prints its own at its start"))]
    ApiUrl { value: String, reason: &'static str },
}
