//! Makes a channel layer from its settings.

use std::sync::Arc;

use crate::config::{ConfigError, LayerConfig};
use crate::layer::ChannelLayer;
use crate::redis::dialect::asgi::AsgiRedis;
use crate::redis::dialect::core::Core;
use crate::redis::pubsub_layer::PubSubLayer;
use crate::redis::queue_layer::QueueLayer;

/// Makes the layer that `config` describes. This does no I/O: the first call shows whether the server is there.
///
/// The embedded layer can't be made here, because its server has to be started: use [`crate::EmbeddedServer::bind`] and
/// its `layer()`.
///
/// # Errors
/// [`ConfigError::NeedsServer`] for the embedded layer.
pub fn open(config: LayerConfig) -> Result<Arc<dyn ChannelLayer>, ConfigError> {
    Ok(match config {
        LayerConfig::Redis(config) => Arc::new(QueueLayer::<Core>::new(config)),
        LayerConfig::AsgiRedis(config) => Arc::new(QueueLayer::<AsgiRedis>::new(config)),
        LayerConfig::PubSub(config) => Arc::new(PubSubLayer::new(config)),
        LayerConfig::Embedded(_) => return Err(ConfigError::NeedsServer),
    })
}
