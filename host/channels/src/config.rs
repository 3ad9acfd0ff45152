//! The settings of a channel layer. [`LayerConfig`] reads them from URLs or from a Django project's `CHANNEL_LAYERS`.

mod host_url;
mod hosts;
mod keywords;
mod login;
mod settings;
#[cfg(test)]
mod tests;
mod urls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::capacity::Capacities;
use crate::codec::Key;
use crate::wire::Serializer;

pub use hosts::{Endpoint, Host, Tls};
pub use login::{Login, LoginSource};

/// A channel layer's kind and settings.
#[derive(Debug, Clone)]
pub enum LayerConfig {
    /// `channels_redis.core.RedisChannelLayer`: queues in sorted sets.
    Redis(RedisConfig),
    /// `channels_redis.pubsub.RedisPubSubChannelLayer`: a broadcast, nothing is stored.
    PubSub(RedisConfig),
    /// `asgi_redis.RedisChannelLayer` of Channels 1: queues in lists.
    AsgiRedis(RedisConfig),
    /// The layer inside this process, with a RESP server that `channels_redis` can use.
    Embedded(EmbeddedConfig),
}

/// The settings of the layers that live on Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The servers. Several of them are shards.
    pub hosts: Vec<Host>,
    /// The beginning of each key: `asgi`, or `asgi:` for asgi_redis.
    pub prefix: String,
    /// For how many seconds an unread message is kept.
    pub expiry: u64,
    /// For how many seconds a channel stays in a group.
    pub group_expiry: u64,
    /// How many messages a channel may hold.
    pub capacities: Capacities,
    /// The encryption keys: the first encrypts, all are tried to decrypt. Without keys there is no encryption.
    pub keys: Vec<Key>,
    /// Random bytes before each payload (core layer only).
    pub random_prefix_length: usize,
    /// The format of payloads.
    pub serializer: Serializer,
    /// How long messages that a reader has taken stay its own while it does not renew its lease. This setting is ours,
    /// not Django's.
    pub lease: Duration,
    /// Options that were ignored, as sentences.
    pub warnings: Vec<String>,
    /// The source that is asked for newer credentials when a server refuses those of the hosts.
    pub credentials: Option<Arc<dyn LoginSource>>,
}

/// The settings of the embedded layer.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The address on which its server listens. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The settings of its clients: those of a core layer with one host, which is this server with its password.
    pub layer: RedisConfig,
}

impl EmbeddedConfig {
    /// The password that clients must send, if there is one.
    pub fn password(&self) -> Option<&str> {
        let host = self.layer.hosts.first()?;
        host.password.as_deref().filter(|it| !it.is_empty())
    }

    /// Requires `password` of clients.
    pub fn set_password(&mut self, password: String) {
        if let Some(host) = self.layer.hosts.first_mut() {
            host.password = Some(password);
        }
    }
}

/// The reason why no layer can be made of some settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The URL of a layer can't be read.
    #[error("{url} is not the URL of a channel layer: {reason}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// The fault.
        reason: String,
    },
    /// URLs of different kinds, or several URLs of a kind that takes only one.
    #[error("{0}")]
    Mixed(String),
    /// The embedded layer can't be opened without I/O.
    #[error(
        "the embedded layer needs its server: start that with EmbeddedServer::bind, and use its layer()"
    )]
    NeedsServer,
    /// An option has a value that can't be used.
    #[error("{path}: {reason}")]
    Option {
        /// The place in the settings, such as `CONFIG["hosts"][1]["address"]`.
        path: String,
        /// The fault and the cure.
        reason: String,
    },
    /// A BACKEND that is not supported.
    #[error("BACKEND {backend:?} is not supported: {reason}")]
    Backend {
        /// The dotted path in the settings.
        backend: String,
        /// The cure.
        reason: String,
    },
}

impl LayerConfig {
    /// Sets the source that is asked when a server refuses the user and password of these settings.
    pub fn set_credentials(&mut self, credentials: Arc<dyn LoginSource>) {
        match self {
            Self::Redis(config) | Self::PubSub(config) | Self::AsgiRedis(config) => {
                config.credentials = Some(credentials);
            }
            Self::Embedded(_) => {}
        }
    }

    /// Options that were ignored, as sentences for the user.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Redis(config) | Self::PubSub(config) | Self::AsgiRedis(config) => {
                &config.warnings
            }
            Self::Embedded(config) => &config.layer.warnings,
        }
    }
}

impl RedisConfig {
    /// channels_redis's defaults (4.3), on `hosts`.
    pub fn core(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            prefix: "asgi".into(),
            expiry: 60,
            group_expiry: 86_400,
            capacities: Capacities::new(100),
            keys: Vec::new(),
            random_prefix_length: 12,
            serializer: Serializer::Msgpack,
            lease: Duration::from_secs(30),
            warnings: Vec::new(),
            credentials: None,
        }
    }

    /// asgi_redis's defaults (1.4), on `hosts`.
    pub fn asgi_redis(hosts: Vec<Host>) -> Self {
        Self {
            prefix: "asgi:".into(),
            random_prefix_length: 0,
            ..Self::core(hosts)
        }
    }
}

/// The kinds of layers on Redis, by which URL schemes and backends differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Core,
    PubSub,
    AsgiRedis,
}

impl Kind {
    fn with(self, config: RedisConfig) -> LayerConfig {
        match self {
            Self::Core => LayerConfig::Redis(config),
            Self::PubSub => LayerConfig::PubSub(config),
            Self::AsgiRedis => LayerConfig::AsgiRedis(config),
        }
    }
}
