//! The embedded channel layer: a small Redis server inside the process, and a layer on its store without sockets.
//!
//! A stock `channels_redis` (core and pub/sub; redis-py 5 to 8) talks to [`EmbeddedServer`] as to a Redis, so that
//! nothing need be installed to try things out. [`EmbeddedLayer`] works on the same store from within.
//!
//! It is a Redis in what it answers, not in what it is: one lock over all keys in memory, which suits development
//! and one small machine. Lua is not interpreted: the scripts of known clients are recognised and done in Rust.
//!
//! A message passes: `session` reads a request (`resp`), `command` runs it on the `store` under the lock of `state`,
//! and whatever it changed is handed to those who wait for it (`waiting`) before the lock is given up.

mod clients;
mod command;
mod command_error;
pub(crate) mod conversation;
mod differences;
mod glob;
mod layer;
mod number;
mod options;
mod queues;
mod reader;
mod resp;
mod script;
mod server;
mod session;
mod sorted_set;
mod state;
mod store;
mod subscriptions;
mod ticket;
mod waiters;

pub use layer::EmbeddedLayer;
pub use options::{LayerOptions, ServerOptions};
pub use server::{BindError, EmbeddedServer};
