//! What a layer is made of: from URLs, or from a Django project's `CHANNEL_LAYERS`.

mod hosts;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use hosts::{Endpoint, Host, Tls};

use crate::capacity::Capacities;
use crate::codec::Key;
use crate::credentials::Credentials;
use crate::embedded::{LayerOptions, ServerOptions};
use crate::layer::Serializer;
use crate::redis::dialect::asgi::AsgiRedis;
use crate::redis::dialect::core::Core;
use crate::redis::pubsub_layer::PubSub;
use crate::redis::queue_layer::Queues;
use crate::redis::server::Server;

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
    /// Who is asked when a server refuses the hosts' user and password.
    pub credentials: Option<Arc<Credentials>>,
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

    /// What [`crate::EmbeddedServer::bind_with`] takes for this layer.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            password: self.password().map(str::to_owned),
            layer: Some(LayerOptions::from(&self.layer)),
            ..ServerOptions::default()
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
    /// Reads layer URLs; several of them are shards of one layer, in their order.
    ///
    /// `redis://`, `rediss://` and `unix:///path?db=N` are the core layer, `redis+pubsub://` (also
    /// `rediss+pubsub://`, `unix+pubsub://`) the pub/sub layer, `asgi-redis://` Channels 1's, and
    /// `embedded://[host:port]` the layer inside this process. The part behind `?` takes the
    /// options that redis-py takes there.
    pub fn from_urls(urls: &[String]) -> Result<Self, ConfigError> {
        Self::from_urls_with(urls, &serde_json::Value::Null)
    }

    /// Reads layer URLs as [`LayerConfig::from_urls`] does, with the options of a Django project's CONFIG; its `hosts` and
    /// `connection_kwargs` are passed over, since the URLs say where the layer is.
    pub fn from_urls_with(
        urls: &[String],
        options: &serde_json::Value,
    ) -> Result<Self, ConfigError> {
        let Some(first) = urls.first() else {
            return Err(ConfigError::Mixed(
                "no layer's URL was given; the simplest is redis://localhost:6379".into(),
            ));
        };
        if let Some(address) = first.strip_prefix("embedded://") {
            if urls.len() > 1 {
                return Err(ConfigError::Mixed(
                    "the embedded layer is one: give its URL alone".into(),
                ));
            }
            return embedded(address, options);
        }
        let kind = kind_of(first);
        let mut config = settings::read_options(kind, options)?;
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

    /// Sets who is asked when a server refuses the user and password that these settings name.
    pub fn set_credentials(&mut self, credentials: Arc<Credentials>) {
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
    /// The servers, none of them connected to yet.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        let hosts = self.hosts.iter().enumerate();
        hosts
            .map(|(nth, host)| {
                let credentials = self.credentials.clone().map(|it| (nth, it));
                Arc::new(Server::new(host.clone(), credentials))
            })
            .collect()
    }

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

/// Reads what stands behind `embedded://`.
fn embedded(address: &str, options: &serde_json::Value) -> Result<LayerConfig, ConfigError> {
    let refused = |reason: String| ConfigError::Url {
        url: format!("embedded://{}", without_secrets(address)),
        reason,
    };
    let (credentials, listen) = match address.rsplit_once('@') {
        Some((credentials, listen)) => (format!("{credentials}@"), listen),
        None => (String::new(), address),
    };
    let listen = match listen.trim_end_matches('/') {
        "" => EMBEDDED_DEFAULT,
        listen => listen.replacen("localhost:", "127.0.0.1:", 1).parse().map_err(|_| {
            refused("behind embedded:// stands nothing, or an IP address and a port, such as 127.0.0.1:6379, with :PASSWORD@ before it where clients must give a password".into())
        })?,
    };
    let mut layer = settings::read_options(Kind::Core, options)?;
    let url = format!("redis://{credentials}{listen}");
    let host = hosts::from_url(&url, &mut layer.warnings).map_err(refused)?;
    if host
        .username
        .as_deref()
        .is_some_and(|user| !matches!(user, "" | "default"))
    {
        return Err(refused("the embedded layer has one user, which has no name: write embedded://:PASSWORD@HOST:PORT".into()));
    }
    layer.hosts.push(host);
    Ok(LayerConfig::Embedded(EmbeddedConfig { listen, layer }))
}

/// An address as it was written; dots where a part of it may be a password whose `@` is missing.
fn without_secrets(address: &str) -> &str {
    let is_name = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-/".contains(c))
    };
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let is_plain = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host),
    };
    if is_plain && port.chars().all(|c| c.is_ascii_digit() || c == '/') {
        address
    } else {
        "..."
    }
}
