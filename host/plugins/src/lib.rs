//! The plugin host: WebAssembly components in the way of every event, sandboxed, limited, replaced while they run.
//!
//! Knows nothing of Slack's protocol or of channel layers: an event is a [`djangobot_event::Event`] with a kind and a
//! [`Direction`], the team is whatever a [`Roster`] says.

mod abi;
mod breaker;
pub mod builds;
mod cache;
mod child;
pub mod compile;
pub mod component;
pub mod components;
pub mod config;
pub mod config_file;
pub mod digest;
mod engine;
pub mod file;
pub mod grant;
mod guest;
mod host;
pub mod http;
mod instance;
mod load;
pub mod lock;
mod log;
pub mod manifest;
mod meter;
mod pipeline;
mod plugin;
pub mod private;
pub mod progress;
pub mod recipe;
pub mod roster;
pub mod schema;
pub mod secrets;
pub mod set;
pub mod shipped;
pub mod source;
mod stats;
mod status;
pub mod store;
mod vacancy;
mod verdict;
pub mod versions;
mod wasi;
pub mod watch;

/// Ways for the fuzz targets to what has no other way in; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::abi::v1::check_place;
}

pub use builds::Builds;
pub use child::own_program;
pub use compile::Compiler;
pub use component::Artifact;
pub use components::Components;
pub use config::{Limits, LimitsConfig, OnError, PluginConfig};
pub use config_file::ConfigFile;
pub use digest::Digest;
pub use engine::{Engine, EngineError};
pub use grant::Capability;
pub use host::{PluginHost, Ruling, Unready};
pub use load::{LoadError, Parts, Wanted};
pub use lock::{Lock, Locked};
pub use manifest::Manifest;
pub use pipeline::{Dropped, Message, Passed, Passing};
pub use roster::{Direction, Roster};
pub use source::Source;
pub use status::{State, Status};
pub use verdict::{Emission, Failure, Verdict};
pub use versions::{RollBack, Versions};
