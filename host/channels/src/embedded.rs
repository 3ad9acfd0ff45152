//! The embedded channel layer: a small Redis server inside the process, and a layer on its store without sockets.
//!
//! A stock `channels_redis` (core and pub/sub; redis-py 5 to 8) talks to [`EmbeddedServer`] as to a Redis, so that
//! a newcomer needs no Redis server. [`EmbeddedLayer`] works on the same store from within.
//!
//! Its answers are those of Redis, but inside it has one lock over all keys in memory, which suits development and one
//! small machine. It does not interpret Lua: it recognises the scripts of known clients, and carries them out in Rust.
//!
//! The way of a request: `session` reads it (`resp`), `command` runs it on the `store` under the lock of `state`, and
//! the `waiters` of all keys that it changed are served before the lock is released.

mod clients;
mod command;
mod command_error;
pub(crate) mod conversation;
mod differences;
mod glob;
mod layer;
mod list;
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
