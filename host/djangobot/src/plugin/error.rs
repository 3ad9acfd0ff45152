//! How a `plugin` command fails.

use std::path::PathBuf;

use djangobot_event::CleanText;
use djangobot_plugins::Capability;
use djangobot_plugins::install::recipe::RecipeError;
use miette::Diagnostic;
use thiserror::Error;

use crate::failure::Failure;
use crate::state::folder::FolderError;
use crate::telemetry::Terminal;

/// What stops a command, with its cure. Started wrongly: exit code 2; gone wrong: 1.
#[derive(Debug, Error, Diagnostic)]
pub(super) enum PluginError {
    #[error("there is a plugin {0:?} already")]
    #[diagnostic(help(
        "djangobot plugin update {0} takes its newest version; --name NAME adds this one beside it under another name"
    ))]
    Taken(String),
    #[error("there is no plugin {name:?}")]
    Missing {
        name: String,
        #[help]
        help: String,
    },
    #[error("{0:?} can't be a plugin's name: it has lower-case letters, digits and hyphens")]
    Name(String),
    #[error("{0} needs its sha256, since what a server sends can change")]
    #[diagnostic(help(
        "add --sha256 HEX, or #sha256=HEX at the end of the address; whoever published the plugin says it, and sha256sum FILE \
         tells it of a file that you trust"
    ))]
    NoDigest(String),
    #[error("a folder that is built has no sha256 to promise")]
    #[diagnostic(help("leave --sha256 out; the lock holds that of what was built"))]
    DigestOfFolder,
    #[error("what ships with djangobot has no sha256 to promise")]
    #[diagnostic(help("leave --sha256 out; the lock holds that of what was taken"))]
    DigestOfShipped,
    #[error("{name} is not what djangobot.lock pins: {why}")]
    #[diagnostic(help(
        "take the lock and what it pins from the same commit; or, if this is what you want, djangobot plugin update {name}"
    ))]
    NotPinned { name: String, why: String },
    #[error("{} must be granted to it, and there is no terminal to ask on", words(.missing))]
    #[diagnostic(help("if you agree: {command}"))]
    NotGranted {
        missing: Vec<Capability>,
        command: String,
    },
    #[error("{what}, and there is no terminal to ask on")]
    #[diagnostic(help("if you agree: {command}"))]
    NotAgreed { what: String, command: String },
    #[error("nothing was done, since you did not agree")]
    Disagreed,
    #[error("nothing was done: {} was not granted", words(.0))]
    Declined(Vec<Capability>),
    #[error("it does not ask for {0}")]
    #[diagnostic(help("it asks for {1}"))]
    NotAsked(Capability, String),
    #[error("the file at {address} is another than the lock has: its sha256 is {found}")]
    #[diagnostic(help(
        "if that is the version that you want: djangobot plugin update {name} --sha256 {found}"
    ))]
    OtherFile {
        name: String,
        address: String,
        found: String,
    },
    #[error("--{0} is meant for one plugin")]
    #[diagnostic(help("name it: djangobot plugin update NAME --{0} ..."))]
    OneOnly(&'static str),
    #[error("{0} of {1} plugins could not be updated")]
    NotAll(usize, usize),
    #[error("the running djangobot refuses {name} {version}: {why}")]
    #[diagnostic(help(
        "nothing was changed: what ran before goes on, and djangobot.lock pins what it did"
    ))]
    Refused {
        name: String,
        version: String,
        why: String,
    },
    #[error("{0} was written, and the running djangobot did not take it: {1}")]
    #[diagnostic(help("what ran before goes on; djangobot plugin list shows what runs"))]
    NotTaken(String, String),
    #[error("{} can't be read: {reason}", path.display())]
    Unread {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{}: {place}: {reason}", path.display())]
    #[diagnostic(help(
        "it holds a JSON object such as {{\"type\": \"message\", \"text\": \"hi\"}}, an array of them, or one a line"
    ))]
    NoEvent {
        path: PathBuf,
        place: String,
        reason: String,
    },
    #[error("--plugin-config is no JSON: {0}")]
    NoConfig(String),
    #[error("{0} is not loaded: {1}")]
    NotLoaded(String, String),
    #[error("the plugin failed on {0} of {1} events")]
    FailedOn(usize, usize),
    #[error("{} is there already", .0.display())]
    #[diagnostic(help("choose another name, or delete it"))]
    Exists(PathBuf),
    #[error("{} can't be written: {reason}", path.display())]
    Unwritten {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} is no folder of the Rust SDK: there is no package djangobot-plugin in it", .0.display())]
    NoSdk(PathBuf),
    #[error(transparent)]
    #[diagnostic(transparent)]
    State(FolderError),
    /// From below, with all that is to be said.
    #[error("{0}")]
    Below(String),
}

impl PluginError {
    /// What went wrong below, its text made fit for a terminal: some of it may come from a plugin.
    pub(super) fn below(error: impl std::error::Error) -> Self {
        Self::Below(CleanText::lines(&error.to_string()))
    }

    /// As [`PluginError::below`]; what a compiler said is shown at once, in its own lines.
    pub(super) fn recipe(error: RecipeError, terminal: &Terminal) -> Self {
        let (folder, said, what) = match error {
            RecipeError::Failed { folder, said } => (folder, said, "does not build"),
            RecipeError::Cargo { folder, said } => (folder, said, "can't be read by cargo"),
            error => return Self::below(error),
        };
        terminal.quote(&CleanText::lines(&said));
        Self::Below(format!("{} {what}; nothing was changed", folder.display()))
    }

    fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Taken(_)
                | Self::Missing { .. }
                | Self::Name(_)
                | Self::NoDigest(_)
                | Self::DigestOfFolder
                | Self::DigestOfShipped
                | Self::NotGranted { .. }
                | Self::NotAgreed { .. }
                | Self::NotAsked(..)
                | Self::OneOnly(_)
                | Self::Exists(_)
                | Self::NoSdk(_)
        )
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        match error.is_usage() {
            true => Self::usage(error),
            false => Self::failed(error),
        }
    }
}

fn words(capabilities: &[Capability]) -> String {
    let words: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    words.join(", ")
}
