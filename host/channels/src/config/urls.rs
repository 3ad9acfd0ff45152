//! Reads the URLs of layers.

use std::net::SocketAddr;

use crate::config::{ConfigError, EmbeddedConfig, Kind, LayerConfig, host_url, settings};

/// The address of the embedded layer if its URL has none: a free port of this machine.
const EMBEDDED_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

impl LayerConfig {
    /// Reads layer URLs; several of them are shards of one layer, in their order.
    ///
    /// `redis://`, `rediss://` and `unix:///path?db=N` are the core layer, `redis+pubsub://` (also
    /// `rediss+pubsub://`, `unix+pubsub://`) the pub/sub layer, `asgi-redis://` Channels 1's, and
    /// `embedded://[host:port]` the layer inside this process. The part behind `?` takes the
    /// options that redis-py takes there.
    ///
    /// # Errors
    /// A URL can't be read, or the URLs do not name one layer.
    pub fn from_urls(urls: &[String]) -> Result<Self, ConfigError> {
        Self::from_urls_with(urls, &serde_json::Value::Null)
    }

    /// Reads layer URLs as [`LayerConfig::from_urls`] does, with the options of a Django project's CONFIG. Its `hosts`
    /// and `connection_kwargs` are ignored, because the URLs say where the layer is.
    ///
    /// # Errors
    /// A URL can't be read, the URLs do not name one layer, or an option can't be used.
    pub fn from_urls_with(
        urls: &[String],
        options: &serde_json::Value,
    ) -> Result<Self, ConfigError> {
        let Some(first) = urls.first() else {
            return Err(ConfigError::Mixed(
                "no URL of a channel layer was given; the simplest is redis://localhost:6379"
                    .into(),
            ));
        };
        let has_embedded = urls.iter().any(|url| url.starts_with("embedded://"));
        if has_embedded && urls.len() > 1 {
            return Err(ConfigError::Mixed(
                "the embedded layer can't be one of several shards; give its URL alone".into(),
            ));
        }
        if let Some(address) = first.strip_prefix("embedded://") {
            return embedded(address, options);
        }
        let kind = kind_of(first);
        let mut config = settings::read_options(kind, options)?;
        for url in urls {
            if kind_of(url) != kind {
                return Err(ConfigError::Mixed("the URLs name layers of different kinds; all shards of a layer must have the same scheme".into()));
            }
            let host = host_url::from_url(&kind.plain_url(url), &mut config.warnings);
            config.hosts.push(host.map_err(|reason| ConfigError::Url {
                url: host_url::redact(url),
                reason,
            })?);
        }
        Ok(kind.with(config))
    }
}

impl Kind {
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

/// Reads the part behind `embedded://`.
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
            refused("embedded:// takes an optional IP:PORT, such as embedded://127.0.0.1:6379, with :PASSWORD@ before it if clients must give a password".into())
        })?,
    };
    let mut layer = settings::read_options(Kind::Core, options)?;
    let url = format!("redis://{credentials}{listen}");
    let host = host_url::from_url(&url, &mut layer.warnings).map_err(refused)?;
    if host
        .username
        .as_deref()
        .is_some_and(|user| !matches!(user, "" | "default"))
    {
        return Err(refused("the embedded layer has only one user, which has no name; write embedded://:PASSWORD@HOST:PORT".into()));
    }
    layer.hosts.push(host);
    Ok(LayerConfig::Embedded(EmbeddedConfig { listen, layer }))
}

/// An address as it may be shown: as it was written, or dots if a part of it may be a password without its `@`.
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
