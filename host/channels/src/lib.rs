//! Django channel layers for Rust, wire-compatible with `channels_redis` and `asgi_redis`.

pub mod capacity;
pub mod codec;
pub mod config;
mod connection;
pub mod layer;
pub mod name;
mod sentinel;
mod sharding;

pub use config::{ConfigError, LayerConfig};
pub use layer::{ChannelLayer, Delivery, LayerError, Member, OpenError, Receiver, ReceiverId, Sent, Serializer};
pub use name::{ChannelName, GroupName, NameError};
