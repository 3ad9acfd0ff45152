//! The layers that live on Redis servers, and what they share: connections, the choice of a server, and scripts.

pub(crate) mod dialect;
mod placement;
pub(crate) mod pubsub_layer;
pub(crate) mod queue_layer;
mod receiver;
mod sentinel;
pub(crate) mod server;
pub(crate) mod sharding;
mod subscription;
