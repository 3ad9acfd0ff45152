//! What a layer is made of: from URLs, or from a Django project's `CHANNEL_LAYERS`.

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

pub use hosts::{Endpoint, Host, Tls};
pub use login::{Login, LoginSource};

use crate::capacity::Capacities;
use crate::codec::Key;
use crate::wire::Serializer;

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
    /// The servers; more than one are shards.
    pub hosts: Vec<Host>,
    /// Begins each key: `asgi`, or `asgi:` for asgi_redis.
    pub prefix: String,
    /// Seconds that a message is kept unread.
    pub expiry: u64,
    /// Seconds that a channel stays in a group.
    pub group_expiry: u64,
    /// How many messages a channel may hold.
    pub capacities: Capacities,
    /// The first encrypts, all decrypt; none: no encryption.
    pub keys: Vec<Key>,
    /// Random bytes before each payload (core layer only).
    pub random_prefix_length: usize,
    /// How payloads are written.
    pub serializer: Serializer,
    /// How long what a reader took stays its own when it is not heard of. Ours, not Django's.
    pub lease: Duration,
    /// Options that were passed over, as sentences.
    pub warnings: Vec<String>,
    /// Who is asked when a server refuses the hosts' user and password.
    pub credentials: Option<Arc<dyn LoginSource>>,
}

/// The settings of the embedded layer.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Where its server listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The settings that its clients have: those of a core layer whose one host is this server, with its password.
    pub layer: RedisConfig,
}

impl EmbeddedConfig {
    /// What clients must send as the password, where they must.
    pub fn password(&self) -> Option<&str> {
        let host = self.layer.hosts.first()?;
        host.password.as_deref().filter(|it| !it.is_empty())
    }

    /// Asks clients for `password`.
    pub fn set_password(&mut self, password: String) {
        if let Some(host) = self.layer.hosts.first_mut() {
            host.password = Some(password);
        }
    }
}

/// Why no layer can be made of some settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A layer's URL can't be read.
    #[error(
        "{url} is no channel layer: {reason}; write redis://HOST:PORT/DB, rediss://, unix:///PATH?db=N, redis+pubsub://, asgi-redis:// or embedded://"
    )]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// URLs of different kinds, or several of a kind that has one.
    #[error("{0}")]
    Mixed(String),
    /// The embedded layer can't be opened without I/O.
    #[error(
        "the embedded layer has a server to start first: EmbeddedServer::bind, then its layer()"
    )]
    NeedsServer,
    /// An option has a value that can't be used.
    #[error("{path}: {reason}")]
    Option {
        /// Where in the settings, such as `CONFIG["hosts"][1]["address"]`.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A BACKEND that is not spoken here.
    #[error("BACKEND {backend:?} can't be used from outside its process: {reason}")]
    Backend {
        /// The dotted path in the settings.
        backend: String,
        /// What to do instead.
        reason: String,
    },
}

impl LayerConfig {
    /// Sets who is asked when a server refuses the user and password that these settings name.
    pub fn set_credentials(&mut self, credentials: Arc<dyn LoginSource>) {
        match self {
            Self::Redis(config) | Self::PubSub(config) | Self::AsgiRedis(config) => {
                config.credentials = Some(credentials);
            }
            Self::Embedded(_) => {}
        }
    }

    /// Options that were passed over, as sentences for the user.
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

/// The layers on Redis, as URL schemes and backends tell them apart.
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
