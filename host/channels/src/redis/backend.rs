//! The part of a layer on Redis that its readers use too.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::config::RedisConfig;
use crate::redis::server::Server;

/// The settings and servers of one layer, shared by the layer and its readers.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) config: RedisConfig,
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) codec: Codec,
    /// Cancelled when the layer is closed.
    pub(crate) closed: CancellationToken,
}
