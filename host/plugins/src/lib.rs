//! The plugin host: WebAssembly components that every event goes through, sandboxed, limited, replaced while they run.
//!
//! The crate knows nothing of Slack's protocol or of channel layers: an event is a [`djangobot_event::Event`] with a
//! kind and a [`Direction`], and a [`Roster`] answers questions about the team.

mod child;
pub mod config;
pub mod digest;
mod entry;
pub mod file;
pub mod grant;
mod host;
pub mod install;
pub mod manifest;
mod plugin_event;
pub mod private;
pub mod progress;
pub mod runtime;
pub mod schema;
pub mod services;
pub mod set;
mod status;
mod verdict;
pub mod versions;
pub mod watch;

/// Entry points for the fuzz targets; not a part of the crate's interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::runtime::abi::v1::check_place;
}

pub use child::own_program;
pub use config::{Limits, LimitsConfig, OnError, PluginConfig};
pub use digest::Digest;
pub use grant::Capability;
pub use host::{PluginHost, ResolveError, TrialOutcome};
pub use install::builds::Builds;
pub use install::component::Artifact;
pub use install::components::Components;
pub use install::config_file::ConfigFile;
pub use install::lock::{Lock, LockEntry};
pub use install::script::{Script, ScriptLanguage};
pub use install::source::Source;
pub use manifest::Manifest;
pub use plugin_event::{
    DropReason, HostKind, PluginAnswer, PluginEvent, PluginMessage, PluginOutput,
};
pub use runtime::compile::Compiler;
pub use runtime::engine::{Engine, EngineError};
pub use runtime::load::{LoadError, Parts, PluginSpec};
pub use services::roster::{Direction, Roster};
pub use services::slack::{CallError, SlackApi};
pub use status::{State, Status};
pub use verdict::{Emission, Failure, Verdict};
pub use versions::{Rollback, Versions};
