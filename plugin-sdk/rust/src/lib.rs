//! The SDK for writing djangobot plugins in Rust.
//!
//! A plugin is a type with a config, a [`Plugin`] impl and one [`export!`]. This is a whole plugin, which adds the
//! sender's handle to each message:
//!
//! ```
//! use djangobot_plugin::{Edits, Error, Event, NoConfig, Plugin, Verdict, roster};
//!
//! struct Names;
//!
//! impl Plugin for Names {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig) -> Result<Self, Error> {
//!         Ok(Names)
//!     }
//!
//!     fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
//!         let user = event.text("/user").and_then(|id| roster::user(&id));
//!         let Some(user) = user else { return Ok(Verdict::Keep) };
//!         Ok(Edits::new().set("/user_name", user.name).into())
//!     }
//! }
//!
//! djangobot_plugin::export!(Names);
//!
//! // In `#[test]`s:
//! use djangobot_plugin::testing::Host;
//! use serde_json::json;
//!
//! let mut names = Host::new().user("U1", "alice").load::<Names>(json!({}));
//! let outcome = names.inbound("message", json!({"user": "U1", "text": "hi"}));
//! assert_eq!(outcome.event, json!({"user": "U1", "text": "hi", "user_name": "alice"}));
//! ```
//!
//! # Capabilities
//! The functions of [`store`], [`slack`], [`secrets`] and [`http`] need the operator's grant, and `plugin.toml` has to
//! ask for it under `capabilities`, or under `optional-capabilities` if the plugin can do without. A function whose grant
//! is missing answers `Denied`.
//!
//! # Parts of the standard library that do not work
//! The target `wasm32-unknown-unknown` has no clock, environment, files or randomness of its own. `std::time` panics,
//! so use [`clock`]. `println!` prints nothing, so use [`info!`](crate::info!) and the other macros, which write to the
//! host's log.
//!
//! On every other target the module [`testing`] answers the same calls, so that a plugin is tested by `cargo test`.

#[doc(hidden)]
pub mod bindings;
pub mod clock;
mod config;
mod edits;
mod emission;
mod event;
#[doc(hidden)]
pub mod export;
pub mod host;
pub mod http;
mod imports;
pub mod log;
pub mod mrkdwn;
pub mod pointer;
pub mod random;
pub mod roster;
pub mod secrets;
pub mod slack;
pub mod store;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod value;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use bindings::djangobot::plugin::emitter::EmitError;
pub use bindings::djangobot::plugin::types::{Direction, Edit, Emission, Field, Value, Verdict};
pub use edits::Edits;
pub use emission::emit;
pub use event::Event;

/// The error of a plugin. Any error becomes one by `?`, and so does a text, by `.into()` or `?`.
pub type Error = Box<dyn std::error::Error>;

/// A plugin. It is made once for each instance, and called for one event after another.
///
/// Its fields keep their values from call to call. A panic ends the instance, and the next event gets a new one; the
/// message of the panic is in the host's log.
pub trait Plugin: Sized + 'static {
    /// The type of `[plugin.config]`, which the host has checked against the manifest's schema; [`NoConfig`] for a
    /// plugin without a config.
    type Config: DeserializeOwned;

    /// Makes the plugin. There is no event yet, and the roster may still be empty.
    ///
    /// # Errors
    /// With an error the plugin is not loaded. The text is for the operator.
    fn new(config: Self::Config) -> Result<Self, Error>;

    /// Decides about an event.
    ///
    /// # Errors
    /// With an error the event stays as it was, and the operator's `on-error` decides whether it goes on.
    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error>;
}

/// A plugin that hands its state on to its next version: `export!(MyPlugin, lifecycle)`.
pub trait Lifecycle: Plugin {
    /// Checks whether the plugin can do its work. The host calls it after [`Plugin::new`] and [`Lifecycle::restore`],
    /// before any event.
    ///
    /// # Errors
    /// With an error the plugin is not loaded.
    fn health(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The state, for the next version.
    fn snapshot(&mut self) -> Vec<u8>;

    /// Takes the state of the version before.
    ///
    /// # Errors
    /// With an error this version is not loaded, and the version before goes on serving.
    fn restore(&mut self, state: Vec<u8>) -> Result<(), Error>;
}

/// The config of a plugin without settings: any key in it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The examples in the crate's README.
#[cfg(all(doctest, not(target_family = "wasm")))]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The examples in the chapter of the documents about writing plugins.
#[cfg(all(doctest, not(target_family = "wasm")))]
#[doc = include_str!("../../../docs/src/plugins/writing.md")]
pub struct Chapter;
