//! The plugin host: WebAssembly components in the way of every event, sandboxed, limited, replaced while they run.
//!
//! Knows nothing of Slack's protocol or of channel layers: an event is a [`djangobot_event::Event`] with a kind and a
//! [`Direction`], the team is whatever a [`Roster`] says.

pub mod component;
pub mod components;
pub mod config;
pub mod config_file;
pub mod digest;
mod file;
pub mod grant;
pub mod lock;
pub mod manifest;
pub mod recipe;
pub mod roster;
pub mod source;

pub use component::Artifact;
pub use components::Components;
pub use config::{Limits, LimitsConfig, OnError, PluginConfig};
pub use config_file::ConfigFile;
pub use digest::Digest;
pub use grant::Capability;
pub use lock::{Lock, Locked};
pub use manifest::Manifest;
pub use roster::{Direction, Roster};
pub use source::Source;
