//! Makes a channel layer of its settings.

use std::sync::Arc;

use crate::config::{ConfigError, LayerConfig};
use crate::layer::ChannelLayer;
use crate::redis::dialect::asgi::AsgiRedis;
use crate::redis::dialect::core::Core;
use crate::redis::pubsub_layer::PubSubLayer;
use crate::redis::queue_layer::QueueLayer;

/// Makes the layer that `config` describes. No I/O: a server that is away shows with the first call.
///
/// The embedded layer is not made here, since it has a server to start: [`crate::EmbeddedServer::bind`],
/// then its `layer()`.
pub fn open(config: LayerConfig) -> Result<Arc<dyn ChannelLayer>, ConfigError> {
    Ok(match config {
        LayerConfig::Redis(config) => Arc::new(QueueLayer::<Core>::new(config)),
        LayerConfig::AsgiRedis(config) => Arc::new(QueueLayer::<AsgiRedis>::new(config)),
        LayerConfig::PubSub(config) => Arc::new(PubSubLayer::new(config)),
        LayerConfig::Embedded(_) => return Err(ConfigError::NeedsServer),
    })
}
