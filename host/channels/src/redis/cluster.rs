//! The servers of one layer, with what the layer and its readers need beside them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::config::RedisConfig;
use crate::redis::server::Server;

/// What a layer and its readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) codec: Codec,
    /// Cancelled when the layer is closed.
    pub(crate) closed: CancellationToken,
}
