//! The layers on Redis servers, with their connections, their choice of a server, and their scripts.

mod backend;
mod backoff;
mod client;
pub(crate) mod dialect;
mod lease;
mod link;
mod placement;
pub(crate) mod pubsub_layer;
pub(crate) mod queue_layer;
mod receiver;
mod refusal;
mod script;
mod sender;
mod sentinel;
pub(crate) mod server;
pub(crate) mod sharding;
mod subscription;
