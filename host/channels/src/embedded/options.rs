//! The settings of the embedded server and of its layer.

use crate::capacity::Capacities;
use crate::codec::Key;
use crate::config::{EmbeddedConfig, RedisConfig};
use crate::wire::Serializer;

/// The database of the layer: the one that a URL without a number means.
pub(super) const DATABASE: usize = 0;

/// The bounds and the access rules of an [`EmbeddedServer`](super::EmbeddedServer).
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// About how many bytes of messages and keys it holds. A command that needs more is refused with `OOM`.
    pub memory_limit: usize,
    /// The greatest number of clients.
    pub max_clients: usize,
    /// How many bytes may wait for a subscriber that does not read. Beyond that it is disconnected.
    pub subscriber_limit: usize,
    /// The password that clients must send with `AUTH`. It is required to listen beyond this machine.
    pub password: Option<String>,
    /// The settings of [`EmbeddedServer::layer`](super::EmbeddedServer::layer). Each setting
    /// that differs at a client is logged once. Without settings, clients are not compared, and the layer has
    /// channels_redis's own defaults.
    pub layer: Option<LayerOptions>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            memory_limit: 256 * 1024 * 1024,
            max_clients: 1000,
            subscriber_limit: 32 * 1024 * 1024,
            password: None,
            layer: None,
        }
    }
}

/// The options of the layer, which are those of `CHANNEL_LAYERS`, with the same defaults.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// The beginning of each key.
    pub prefix: String,
    /// For how many seconds an unread message is kept.
    pub expiry: u64,
    /// For how many seconds a channel stays in a group.
    pub group_expiry: u64,
    /// How many messages a channel may hold.
    pub capacities: Capacities,
    /// The encryption keys: the first encrypts, all are tried to decrypt. Without keys there is no encryption.
    pub keys: Vec<Key>,
    /// The number of random bytes before each payload.
    pub random_prefix_length: usize,
    /// The format of payloads.
    pub serializer: Serializer,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self::from(&RedisConfig::core(Vec::new()))
    }
}

impl From<&RedisConfig> for LayerOptions {
    fn from(config: &RedisConfig) -> Self {
        Self {
            prefix: config.prefix.clone(),
            expiry: config.expiry,
            group_expiry: config.group_expiry,
            capacities: config.capacities.clone(),
            keys: config.keys.clone(),
            random_prefix_length: config.random_prefix_length,
            serializer: config.serializer,
        }
    }
}

impl EmbeddedConfig {
    /// The options of this layer for [`crate::EmbeddedServer::bind_with`].
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            password: self.password().map(str::to_owned),
            layer: Some(LayerOptions::from(&self.layer)),
            ..ServerOptions::default()
        }
    }
}
