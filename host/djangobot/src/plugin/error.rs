//! The errors of the `plugin` commands.

use std::path::PathBuf;

use djangobot_event::CleanText;
use djangobot_plugins::Capability;
use djangobot_plugins::install::recipe::RecipeError;
use miette::Diagnostic;
use thiserror::Error;

use crate::failure::Failure;
use crate::state::folder::FolderError;
use crate::telemetry::Terminal;

/// An error that ends a command, with its cure. The exit code is 2 if the command was used wrongly, and 1 otherwise.
#[derive(Debug, Error, Diagnostic)]
pub(super) enum PluginError {
    #[error("there is a plugin {0:?} already")]
    #[diagnostic(help(
        "djangobot plugin update {0} loads its newest version; --name NAME adds this one under another name"
    ))]
    Taken(String),
    #[error("there is no plugin {name:?}")]
    Missing {
        name: String,
        #[help]
        help: String,
    },
    #[error("{0:?} is not a plugin's name: a name has only lower-case letters, digits and hyphens")]
    Name(String),
    #[error("{0} needs a sha256, because a server can send another file at any time")]
    #[diagnostic(help(
        "add --sha256 HEX, or #sha256=HEX at the end of the address; the plugin's author publishes it, and sha256sum FILE \
         prints it for a file that you trust"
    ))]
    NoDigest(String),
    #[error("--sha256 can't be used with a folder, because its component is built here")]
    #[diagnostic(help(
        "leave --sha256 out; the lock gets the sha256 of the component that is built"
    ))]
    DigestOfFolder,
    #[error("--sha256 can't be used with a plugin that ships with djangobot")]
    #[diagnostic(help("leave --sha256 out; the lock gets the sha256 of the component"))]
    DigestOfShipped,
    #[error("{name} is not the version that djangobot.lock pins: {why}")]
    #[diagnostic(help(
        "use a lock and plugins of the same commit; or, if you want this version, djangobot plugin update {name}"
    ))]
    NotPinned { name: String, why: String },
    #[error("the plugin needs the grants {}, and there is no terminal to ask on", words(.missing))]
    #[diagnostic(help("if you agree: {command}"))]
    NotGranted {
        missing: Vec<Capability>,
        command: String,
    },
    #[error("{what}, and there is no terminal to ask on")]
    #[diagnostic(help("if you agree: {command}"))]
    NotAgreed { what: String, command: String },
    #[error("nothing was changed, because you did not agree")]
    Disagreed,
    #[error("nothing was changed, because you did not grant {}", words(.0))]
    Declined(Vec<Capability>),
    #[error("the plugin does not ask for {0}")]
    #[diagnostic(help("leave that grant out; the plugin asks for {1}"))]
    NotAsked(Capability, String),
    #[error("the file at {address} is not the one in the lock: its sha256 is {found}")]
    #[diagnostic(help(
        "if you want this version: djangobot plugin update {name} --sha256 {found}"
    ))]
    OtherFile {
        name: String,
        address: String,
        found: String,
    },
    #[error("--{0} is for one plugin only")]
    #[diagnostic(help("name it: djangobot plugin update NAME --{0} ..."))]
    OneOnly(&'static str),
    #[error("{0} of {1} plugins could not be updated")]
    NotAll(usize, usize),
    #[error("the running djangobot refuses {name} {version}: {why}")]
    #[diagnostic(help(
        "nothing was changed: the version before goes on running, and djangobot.lock still pins it"
    ))]
    Refused {
        name: String,
        version: String,
        why: String,
    },
    #[error("{0} was written, but the running djangobot did not load it: {1}")]
    #[diagnostic(help("the plugins before go on running; djangobot plugin list shows them"))]
    NotTaken(String, String),
    #[error("{} can't be read: {reason}", path.display())]
    Unread {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{}: {position}: {reason}", path.display())]
    #[diagnostic(help(
        "write a JSON object such as {{\"type\": \"message\", \"text\": \"hi\"}} into the file, an array of objects, or one object a line"
    ))]
    NoEvent {
        path: PathBuf,
        position: String,
        reason: String,
    },
    #[error("{}: {position}: {reason}", path.display())]
    #[diagnostic(help(
        "a test is a JSON object with the event `before`, and with `after`, `dropped` or `error`; it may have `name`, `config`, \
         `outbound`, `users`, `conversations`, `emits` and `sends`"
    ))]
    NoFixture {
        path: PathBuf,
        position: String,
        reason: String,
    },
    #[error("there are no tests in {}", .0.display())]
    #[diagnostic(help(
        "write a JSON file with the event `before` and the event `after` there, or name a file with events: djangobot plugin \
         test PLUGIN FILE.json"
    ))]
    NoFixtures(PathBuf),
    #[error("{0} is not a plugin's folder, and so has no tests beside it")]
    #[diagnostic(help("name a file with events: djangobot plugin test {0} FILE.json"))]
    NoFolder(String),
    #[error("{0} of {1} tests failed")]
    FailedTests(usize, usize),
    #[error("--plugin-config is not JSON: {0}")]
    NoConfig(String),
    #[error("{0} is not loaded: {1}")]
    NotLoaded(String, String),
    #[error("the plugin failed on {0} of {1} events")]
    FailedOn(usize, usize),
    #[error("{} already exists", .0.display())]
    #[diagnostic(help("choose another name, or delete that folder"))]
    Exists(PathBuf),
    #[error("{} can't be written: {reason}", path.display())]
    Unwritten {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} is not the folder of the Rust SDK: it has no package djangobot-plugin", .0.display())]
    NoSdk(PathBuf),
    #[error(transparent)]
    #[diagnostic(transparent)]
    State(FolderError),
    /// An error of a lower layer, whose text says all.
    #[error("{0}")]
    Below(String),
}

impl PluginError {
    /// Takes an error of a lower layer. Its text is cleaned for a terminal, because parts of it may come from a plugin.
    pub(super) fn below(error: impl std::error::Error) -> Self {
        Self::Below(CleanText::lines(&error.to_string()))
    }

    /// Takes an error of a build, like [`PluginError::below`]. A compiler's messages are shown at once, in their own
    /// lines, because a report would wrap them.
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
