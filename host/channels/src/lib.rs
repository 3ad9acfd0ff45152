//! Django channel layers for Rust, wire-compatible with `channels_redis` and `asgi_redis`.

pub mod layer;
pub mod name;

pub use layer::{ChannelLayer, Delivery, LayerError, Member, OpenError, Receiver, ReceiverId, Sent, Serializer};
pub use name::{ChannelName, GroupName, NameError};
