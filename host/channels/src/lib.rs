//! Django channel layers for Rust, wire-compatible with `channels_redis` and `asgi_redis`.
//!
#![doc = include_str!("../README.md")]
//!
//! # Where things are
//! [`LayerConfig`] and [`open`] make a [`ChannelLayer`]; its [`Receiver`]s read. [`codec`] and [`capacity`] are the parts of
//! the format that stand alone. A message on its way out passes `queues` (the layer), `placement` (which host),
//! `redis_core` or `asgi_redis` (the scripts) and `connection`; on its way in `receiver`.

mod asgi_redis;
pub mod capacity;
pub mod codec;
pub mod config;
mod connection;
mod credentials;
mod dialect;
mod embedded;
mod guarded;
pub mod layer;
mod lease;
pub mod name;
mod placement;
pub mod probe;
mod pubsub;
mod queues;
mod receiver;
mod redis_core;
mod refusal;
mod score;
mod sentinel;
mod sharding;
mod stream;
mod tls;

/// Ways for the fuzz targets to what has no other way in; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::embedded::conversation::{answers, requests};
    pub use crate::probe::read_answer;
    pub use crate::stream::readable;
    pub use crate::tls::judged;
}

pub use config::{ConfigError, LayerConfig, open};
pub use credentials::Credentials;
pub use embedded::{BindError, EmbeddedLayer, EmbeddedServer, LayerOptions, ServerOptions};
pub use guarded::{Guard, Guarded};
pub use layer::{
    ChannelLayer, DecodeError, Delivery, LayerError, Member, OpenError, Place, Receiver,
    ReceiverId, Sent, Serializer, UnknownWire, Wire,
};
pub use lease::{Claim, Holder, Lease};
pub use name::{ChannelName, GroupName, NameError};
pub use refusal::RefusalKind;
pub use tls::TlsFailure;
