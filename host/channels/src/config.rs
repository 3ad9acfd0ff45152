//! What a layer is made of: from URLs, or from a Django project's `CHANNEL_LAYERS`.

mod hosts;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use hosts::{Endpoint, Host, Tls};

use crate::asgi_redis::AsgiRedis;
use crate::capacity::Capacities;
use crate::codec::Key;
use crate::layer::Serializer;
use crate::pubsub::PubSub;
use crate::queues::Queues;
use crate::redis_core::Core;

/// Where the embedded layer listens when the URL does not say: a free port of this machine.
const EMBEDDED_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

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
}

/// The settings of the embedded layer.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Where its server listens; port 0 takes a free one.
    pub listen: SocketAddr,
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
    /// Reads layer URLs; several of them are shards of one layer, in their order.
    ///
    /// `redis://`, `rediss://` and `unix:///path?db=N` are the core layer, `redis+pubsub://` (also
    /// `rediss+pubsub://`, `unix+pubsub://`) the pub/sub layer, `asgi-redis://` Channels 1's, and
    /// `embedded://[host:port]` the layer inside this process. The part behind `?` takes the
    /// options that redis-py takes there.
    pub fn from_urls(urls: &[String]) -> Result<Self, ConfigError> {
        let Some(first) = urls.first() else {
            return Err(ConfigError::Mixed(
                "no layer's URL was given; the simplest is redis://localhost:6379".into(),
            ));
        };
        if let Some(listen) = first.strip_prefix("embedded://") {
            if urls.len() > 1 {
                return Err(ConfigError::Mixed(
                    "the embedded layer is one: give its URL alone".into(),
                ));
            }
            return embedded(first, listen.trim_end_matches('/'));
        }
        let kind = kind_of(first);
        let mut config = match kind {
            Kind::AsgiRedis => RedisConfig::asgi_redis(Vec::new()),
            Kind::Core | Kind::PubSub => RedisConfig::core(Vec::new()),
        };
        for url in urls {
            if kind_of(url) != kind {
                return Err(ConfigError::Mixed("the URLs name layers of different kinds; shards of one layer have the same kind".into()));
            }
            let host = hosts::from_url(&kind.plain_url(url), &mut config.warnings);
            config.hosts.push(host.map_err(|reason| ConfigError::Url {
                url: hosts::redact(url),
                reason,
            })?);
        }
        Ok(kind.with(config))
    }

    /// Reads an entry of Django's `CHANNEL_LAYERS`: its BACKEND, and its CONFIG as JSON.
    ///
    /// What JSON can't hold comes marked: `{"__regex__": "..."}`, `{"__bytes__": "<base64>"}`,
    /// `{"__unsupported__": "<type>"}`.
    pub fn from_settings(backend: &str, config: &serde_json::Value) -> Result<Self, ConfigError> {
        settings::read(backend, config)
    }

    /// Options that were passed over, as sentences for the user.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Redis(config) | Self::PubSub(config) | Self::AsgiRedis(config) => {
                &config.warnings
            }
            Self::Embedded(_) => &[],
        }
    }
}

/// Makes the layer that `config` describes. No I/O: a server that is away shows with the first call.
///
/// The embedded layer is not made here, since it has a server to start: [`crate::EmbeddedServer::bind`],
/// then its `layer()`.
pub fn open(config: LayerConfig) -> Result<std::sync::Arc<dyn crate::ChannelLayer>, ConfigError> {
    Ok(match config {
        LayerConfig::Redis(config) => std::sync::Arc::new(Queues::<Core>::new(config)),
        LayerConfig::AsgiRedis(config) => std::sync::Arc::new(Queues::<AsgiRedis>::new(config)),
        LayerConfig::PubSub(config) => std::sync::Arc::new(PubSub::new(config)),
        LayerConfig::Embedded(_) => return Err(ConfigError::NeedsServer),
    })
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

    /// `url` with the scheme that redis-py knows.
    fn plain_url(self, url: &str) -> String {
        match self {
            Self::Core => url.to_owned(),
            Self::PubSub => url.replacen("+pubsub://", "://", 1),
            Self::AsgiRedis => url.replacen("asgi-redis", "redis", 1),
        }
    }
}

fn kind_of(url: &str) -> Kind {
    match url.split_once("://") {
        Some((scheme, _)) if scheme.ends_with("+pubsub") => Kind::PubSub,
        Some((scheme, _)) if scheme.starts_with("asgi-redis") => Kind::AsgiRedis,
        _ => Kind::Core,
    }
}

fn embedded(url: &str, listen: &str) -> Result<LayerConfig, ConfigError> {
    let listen = match listen {
        "" => EMBEDDED_DEFAULT,
        _ => listen.replacen("localhost:", "127.0.0.1:", 1).parse().map_err(|_| ConfigError::Url {
            url: url.to_owned(),
            reason: "behind embedded:// stands nothing, or an IP address and a port, such as 127.0.0.1:6379".into(),
        })?,
    };
    Ok(LayerConfig::Embedded(EmbeddedConfig { listen }))
}
