//! The layers that live on Redis servers, and what they share: connections, the choice of a server, and scripts.

mod client;
mod cluster;
pub(crate) mod dialect;
mod lease;
mod placement;
pub(crate) mod pubsub_layer;
pub(crate) mod queue_layer;
mod receiver;
mod refusal;
mod script;
mod sentinel;
pub(crate) mod server;
pub(crate) mod sharding;
mod subscription;
