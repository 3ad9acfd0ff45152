//! Django channel layers for Rust, wire-compatible with `channels_redis` and `asgi_redis`.
//!
#![doc = include_str!("../README.md")]
//!
//! # Code map
//! [`LayerConfig`] and [`open`] make a [`ChannelLayer`]; its [`Receiver`]s read. [`codec`] and [`capacity`] are the parts
//! of the format that stand alone. In `redis`, a message on its way out passes `queue_layer`, `sender`, `placement`
//! (the choice of a host), `dialect` (the scripts) and `server`; on its way in it passes `receiver`.

pub mod capacity;
pub mod codec;
pub mod config;
mod credentials;
mod embedded;
mod guarded;
pub mod layer;
mod lease;
pub mod name;
mod open;
pub mod probe;
mod redis;
mod refusal;
mod score;
mod stream;
mod tls;
mod wire;

/// Entry points for the fuzz targets. They are not part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::embedded::conversation::{answers, requests};
    pub use crate::probe::read_answer;
    pub use crate::stream::readable;
    pub use crate::tls::judged;
}

pub use codec::OpenError;
pub use config::{ConfigError, LayerConfig};
pub use credentials::Credentials;
pub use embedded::{BindError, EmbeddedLayer, EmbeddedServer, LayerOptions, ServerOptions};
pub use guarded::{Guard, GuardedLayer};
pub use layer::{ChannelLayer, Delivery, LayerError, Place, Receiver, ReceiverId, SendReport};
pub use lease::{Claim, Holder, Lease};
pub use name::{ChannelName, GroupName, NameError};
pub use open::open;
pub use refusal::RefusalKind;
pub use tls::TlsFailure;
pub use wire::{DecodeError, Member, Serializer, UnknownWire, Wire};
