//! Write djangobot plugins in Rust.
//!
//! A plugin is a type with a config, a [`Plugin`] impl and one [`export!`]. The whole of one that puts the sender's
//! handle beside the id:
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
//! # What a component asks for
//! The functions of [`store`], [`slack`], [`secrets`] and [`http`] need the operator's grant, named in `plugin.toml`
//! under `capabilities`. What a plugin does not call is not in its component: there is nothing to switch off.
//!
//! # What is not there
//! The target `wasm32-unknown-unknown` has no clock, environment, files or randomness of its own. `std::time` panics
//! ([`clock`] tells the time), `println!` goes nowhere ([`info!`](crate::info!) and its like go to the host's log).
//!
//! On every other target the same calls are answered by [`testing`], so that a plugin is tested by `cargo test`.

#[doc(hidden)]
pub mod bindings;
pub mod clock;
mod config;
mod edits;
mod emission;
mod event;
#[doc(hidden)]
pub mod export;
mod host;
pub mod http;
pub mod log;
pub mod mrkdwn;
pub mod pointer;
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

/// Whatever stopped a plugin. Any error becomes one by `?`, and so does a text, by `.into()` or `?`.
pub type Error = Box<dyn std::error::Error>;

/// A plugin: made once for each instance, and called for one event after another.
///
/// What it holds stays from call to call. A panic ends the instance, and the next event meets a new one; the panic's
/// message is in the host's log.
pub trait Plugin: Sized + 'static {
    /// What the operator says under `[plugin.config]`, once the host has checked it against the manifest's schema;
    /// [`NoConfig`] where there is nothing to say.
    type Config: DeserializeOwned;

    /// Makes the plugin. Events can't be seen yet, and the roster may still be empty.
    ///
    /// # Errors
    /// An error refuses the load; its text is for the operator.
    fn new(config: Self::Config) -> Result<Self, Error>;

    /// Says what becomes of an event.
    ///
    /// # Errors
    /// An error leaves the event as it was; the operator's `on-error` says whether it goes on.
    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error>;
}

/// What a plugin does to hand its state on, where it has any that an update must not lose:
/// `export!(MyPlugin, lifecycle)`.
pub trait Lifecycle: Plugin {
    /// Whether the plugin can do its work. Asked after [`Plugin::new`] and [`Lifecycle::restore`], before events.
    ///
    /// # Errors
    /// An error refuses the load.
    fn health(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The state, for the version that comes after this one.
    fn snapshot(&mut self) -> Vec<u8>;

    /// Takes the state of the version before this one.
    ///
    /// # Errors
    /// An error refuses the load, and the version before stays.
    fn restore(&mut self, state: Vec<u8>) -> Result<(), Error>;
}

/// The config of a plugin that has none: any key in it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The examples in the crate's README.
#[cfg(all(doctest, not(target_family = "wasm")))]
#[doc = include_str!("../README.md")]
pub struct Readme;
