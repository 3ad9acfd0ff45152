//! The settings of the embedded server and of its layer.

use crate::capacity::Capacities;
use crate::codec::Key;
use crate::config::{EmbeddedConfig, RedisConfig};
use crate::wire::Serializer;

/// The database that the layer is on: the one that a URL without a number means.
pub(super) const DATABASE: usize = 0;

/// Bounds and access of an [`EmbeddedServer`](super::EmbeddedServer).
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// About how many bytes of messages and keys it holds; a command that needs more is refused with `OOM`.
    pub memory_limit: usize,
    /// How many clients may be connected.
    pub max_clients: usize,
    /// How many bytes may wait for a subscriber that does not read, before it is disconnected.
    pub subscriber_limit: usize,
    /// What clients must send with `AUTH`; needed to listen on more than this machine.
    pub password: Option<String>,
    /// The settings of [`EmbeddedServer::layer`](super::EmbeddedServer::layer). Where a client's differ, that is logged once for each of them; without
    /// any, clients are not compared, and the layer has channels_redis's own defaults.
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

/// The options that `CHANNEL_LAYERS` has for the same, with the same defaults.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// Begins every key.
    pub prefix: String,
    /// Seconds for which a message waits.
    pub expiry: u64,
    /// Seconds for which a channel stays in a group.
    pub group_expiry: u64,
    /// How many messages wait on a channel.
    pub capacities: Capacities,
    /// The first encrypts, all decrypt; none: no encryption.
    pub keys: Vec<Key>,
    /// Random bytes before each payload.
    pub random_prefix_length: usize,
    /// How payloads are written.
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
    /// What [`crate::EmbeddedServer::bind_with`] takes for this layer.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            password: self.password().map(str::to_owned),
            layer: Some(LayerOptions::from(&self.layer)),
            ..ServerOptions::default()
        }
    }
}
