//! Reads an entry of Django's `CHANNEL_LAYERS`, as the probe reports it: BACKEND and CONFIG.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::capacity::{Capacities, Pattern};
use crate::codec::Key;
use crate::config::keywords::{KeywordSupport, Setting};
use crate::config::{ConfigError, Endpoint, Host, Kind, LayerConfig, RedisConfig, host_url};
use crate::wire::Serializer;

const SUPPORTED: &str = "supported are channels_redis.core.RedisChannelLayer, channels_redis.pubsub.RedisPubSubChannelLayer, \
     channels_valkey.core.ValkeyChannelLayer, channels_valkey.pubsub.ValkeyPubSubChannelLayer and asgi_redis.RedisChannelLayer";

/// The longest random prefix of a message; channels_redis's default is 12 bytes.
const MAX_RANDOM_PREFIX: i64 = 65_536;

impl LayerConfig {
    /// Reads an entry of Django's `CHANNEL_LAYERS`: its BACKEND, and its CONFIG as JSON.
    ///
    /// Values that JSON can't hold are marked: `{"__regex__": "..."}`, `{"__bytes__": "<base64>"}`,
    /// `{"__unsupported__": "<type>"}`.
    ///
    /// # Errors
    /// The option that can't be used, or the BACKEND that is not supported.
    pub fn from_settings(backend: &str, config: &serde_json::Value) -> Result<Self, ConfigError> {
        read(backend, config)
    }
}

fn read(backend: &str, config: &Value) -> Result<LayerConfig, ConfigError> {
    let kind = kind(backend)?;
    let empty = Map::new();
    let options = dict(config, &empty)?;
    let mut read = Reader::new(kind);
    read.hosts(options.get("hosts").unwrap_or(&Value::Null))?;
    // asgi_redis takes one set of connection keywords for all hosts.
    if let Some(kwargs) = options
        .get("connection_kwargs")
        .filter(|kwargs| !kwargs.is_null())
    {
        read.connection_kwargs(kwargs)?;
    }
    read.options(options)?;
    Ok(kind.with(read.config))
}

/// Reads the options of CONFIG, without the hosts.
pub(super) fn read_options(kind: Kind, config: &Value) -> Result<RedisConfig, ConfigError> {
    let empty = Map::new();
    let mut read = Reader::new(kind);
    read.options(dict(config, &empty)?)?;
    Ok(read.config)
}

fn dict<'a>(
    config: &'a Value,
    empty: &'a Map<String, Value>,
) -> Result<&'a Map<String, Value>, ConfigError> {
    match config {
        Value::Null => Ok(empty),
        Value::Object(options) => Ok(options),
        _ => Err(option("CONFIG", "it should be a dict")),
    }
}

fn kind(backend: &str) -> Result<Kind, ConfigError> {
    let refuse = |reason: String| {
        Err(ConfigError::Backend {
            backend: backend.to_owned(),
            reason,
        })
    };
    match backend {
        "channels_redis.core.RedisChannelLayer" | "channels_valkey.core.ValkeyChannelLayer" => Ok(Kind::Core),
        "channels_redis.pubsub.RedisPubSubChannelLayer" | "channels_valkey.pubsub.ValkeyPubSubChannelLayer" => Ok(Kind::PubSub),
        "asgi_redis.RedisChannelLayer" | "asgi_redis.core.RedisChannelLayer" => Ok(Kind::AsgiRedis),
        "channels.layers.InMemoryChannelLayer" | "asgiref.inmemory.ChannelLayer" => refuse(
            "it keeps messages in the memory of one Python process; for development, run `djangobot layer` and set BACKEND to \
             channels_redis.core.RedisChannelLayer with the host that it prints"
                .into(),
        ),
        "asgi_redis.RedisLocalChannelLayer" | "asgi_redis.local.RedisLocalChannelLayer" => {
            refuse("it keeps messages in the memory of one machine; use asgi_redis.RedisChannelLayer".into())
        }
        "asgi_redis.RedisSentinelChannelLayer" | "asgi_redis.sentinel.RedisSentinelChannelLayer" => {
            refuse("djangobot does not read the Sentinels of Channels 1; give the master's address as an asgi-redis:// URL".into())
        }
        _ => refuse(SUPPORTED.to_owned()),
    }
}

struct Reader {
    kind: Kind,
    config: RedisConfig,
}

impl Reader {
    fn new(kind: Kind) -> Self {
        let config = match kind {
            Kind::AsgiRedis => RedisConfig::asgi_redis(Vec::new()),
            Kind::Core | Kind::PubSub => RedisConfig::core(Vec::new()),
        };
        Self { kind, config }
    }

    fn options(&mut self, options: &Map<String, Value>) -> Result<(), ConfigError> {
        if let Some(capacity) = options.get("capacity") {
            self.config.capacities = Capacities::new(count(r#"CONFIG["capacity"]"#, capacity)?);
        }
        for (name, value) in options {
            self.option(name, value)?;
        }
        if self.kind == Kind::PubSub {
            // Nothing is stored, so equal messages need no different bytes.
            self.config.random_prefix_length = 0;
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: &Value) -> Result<(), ConfigError> {
        let path = format!("CONFIG[{name:?}]");
        refuse_unsupported(&path, value)?;
        match name {
            "hosts" | "capacity" | "connection_kwargs" => {}
            "prefix" => self.config.prefix = text(&path, value)?.to_owned(),
            "expiry" => self.config.expiry = seconds(&path, value)?,
            // Python accepts None here, and only its groups fail then.
            "group_expiry" if value.is_null() => {}
            "group_expiry" => self.config.group_expiry = seconds(&path, value)?,
            "channel_capacity" => self.channel_capacity(&path, value)?,
            "symmetric_encryption_keys" => self.keys(&path, value)?,
            "random_prefix_length" if self.kind == Kind::Core => {
                let length = value
                    .as_i64()
                    .ok_or_else(|| option(&path, "it should be a whole number"))?;
                if length > MAX_RANDOM_PREFIX {
                    return Err(option(
                        &path,
                        &format!(
                            "each message would begin with {length} random bytes; {MAX_RANDOM_PREFIX} are the most"
                        ),
                    ));
                }
                // As in channels_redis, a negative length means no prefix.
                self.config.random_prefix_length = usize::try_from(length).unwrap_or(0);
            }
            "serializer_format" if self.kind != Kind::AsgiRedis => {
                self.config.serializer = match text(&path, value)? {
                    "msgpack" => Serializer::Msgpack,
                    "json" => Serializer::Json,
                    other => {
                        return Err(option(
                            &path,
                            &format!(
                                "the serializer {other:?} is the project's own Python code, which djangobot can't run; use \"msgpack\" or \"json\""
                            ),
                        ));
                    }
                }
            }
            // Callbacks of the pub/sub layer, and names of counters, change nothing for a client.
            "on_disconnect" | "on_reconnect" | "stats_prefix" => {}
            _ => self
                .config
                .warnings
                .push(format!("{path} is not known to djangobot and was ignored")),
        }
        Ok(())
    }

    fn hosts(&mut self, value: &Value) -> Result<(), ConfigError> {
        const PATH: &str = r#"CONFIG["hosts"]"#;
        refuse_unsupported(PATH, value)?;
        let hosts = match value {
            Value::Null => &[][..],
            Value::Array(hosts) => hosts,
            _ => {
                return Err(option(
                    PATH,
                    "it should be a list of hosts, even if there is only one: [\"redis://localhost:6379\"]",
                ));
            }
        };
        if hosts.is_empty() {
            self.config.hosts.push(Host::tcp("localhost", 6379));
        }
        for (nth, entry) in hosts.iter().enumerate() {
            let host = host(&format!("{PATH}[{nth}]"), entry, &mut self.config.warnings)?;
            self.config.hosts.push(host);
        }
        Ok(())
    }

    fn connection_kwargs(&mut self, value: &Value) -> Result<(), ConfigError> {
        let path = r#"CONFIG["connection_kwargs"]"#;
        let Value::Object(kwargs) = value else {
            return Err(option(path, "it should be a dict"));
        };
        for host in &mut self.config.hosts {
            keywords(path, kwargs, host, &[], &mut self.config.warnings)?;
        }
        Ok(())
    }

    fn channel_capacity(&mut self, path: &str, value: &Value) -> Result<(), ConfigError> {
        for (nth, (key, capacity)) in pairs(path, value)?.into_iter().enumerate() {
            let pattern = match &key {
                Value::String(glob) => Pattern::Glob(glob),
                Value::Object(marked) => match marked.get("__regex__").and_then(Value::as_str) {
                    Some(regex) => Pattern::Regex(regex),
                    None => {
                        return Err(option(
                            path,
                            &format!("key {nth} should be a glob or a compiled regex, not {key}"),
                        ));
                    }
                },
                _ => {
                    return Err(option(
                        path,
                        &format!("key {nth} should be a glob or a compiled regex, not {key}"),
                    ));
                }
            };
            let capacity = count(&format!("{path}[{key}]"), &capacity)?;
            self.config
                .capacities
                .add(pattern, capacity)
                .map_err(|error| option(path, &error.to_string()))?;
        }
        Ok(())
    }

    fn keys(&mut self, path: &str, value: &Value) -> Result<(), ConfigError> {
        let keys = match value {
            Value::Null => return Ok(()),
            Value::Array(keys) => keys,
            _ => {
                return Err(option(
                    path,
                    "it should be a list of keys, even if there is only one",
                ));
            }
        };
        for (nth, key) in keys.iter().enumerate() {
            let path = format!("{path}[{nth}]");
            refuse_unsupported(&path, key)?;
            let secret = bytes_or_text(key)
                .ok_or_else(|| option(&path, "a key should be a string or bytes"))?;
            let key =
                Key::new(&secret).ok_or_else(|| option(&path, "it can't be made a Fernet key"))?;
            self.config.keys.push(key);
        }
        Ok(())
    }
}

/// Reads one entry of `hosts` (`channels_redis.utils.decode_hosts` and `create_pool`).
fn host(path: &str, entry: &Value, warnings: &mut Vec<String>) -> Result<Host, ConfigError> {
    refuse_unsupported(path, entry)?;
    match entry {
        Value::String(url) => from_url(path, url, warnings),
        Value::Array(_) => pair(path, entry),
        Value::Object(marked) if marked.contains_key("__bytes__") => {
            let url = bytes_or_text(entry).and_then(|bytes| String::from_utf8(bytes).ok());
            from_url(
                path,
                &url.ok_or_else(|| option(path, "it should be a URL"))?,
                warnings,
            )
        }
        Value::Object(keys) if keys.contains_key("address") => {
            let at = format!("{path}[\"address\"]");
            let address = &keys["address"];
            refuse_unsupported(&at, address)?;
            let mut host = match address {
                Value::Array(_) => pair(&at, address)?,
                _ => Host::tcp("localhost", 6379),
            };
            keywords(path, keys, &mut host, &["address"], warnings)?;
            if !address.is_array() {
                // As in redis-py, options of the URL win over the keywords.
                let url = text(&at, address)?;
                host.read_url(url, warnings).map_err(|reason| {
                    option(&at, &format!("{}: {reason}", host_url::redact(url)))
                })?;
            }
            Ok(host)
        }
        Value::Object(keys) if keys.get("master_name").is_some_and(|name| !name.is_null()) => {
            sentinel(path, keys, warnings)
        }
        Value::Object(keys) => {
            let mut host = Host::tcp("localhost", 6379);
            keywords(path, keys, &mut host, &[], warnings)?;
            Ok(host)
        }
        _ => Err(option(
            path,
            "a host is a URL, a (host, port) pair, or a dict with \"address\", with \"host\" and \"port\", or with \"sentinels\" and \"master_name\"",
        )),
    }
}

fn sentinel(
    path: &str,
    keys: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Host, ConfigError> {
    let at = format!("{path}[\"master_name\"]");
    let master = text(&at, &keys["master_name"])?.to_owned();
    let at = format!("{path}[\"sentinels\"]");
    let list = keys
        .get("sentinels")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| {
        option(
            &at,
            "it should be a list of (host, port) pairs of the Sentinels",
        )
    })?;
    let mut sentinels = Vec::with_capacity(list.len());
    for (nth, entry) in list.iter().enumerate() {
        let mut sentinel = host(&format!("{at}[{nth}]"), entry, warnings)?;
        if let Some(Value::Object(kwargs)) = keys.get("sentinel_kwargs") {
            keywords(
                &format!("{path}[\"sentinel_kwargs\"]"),
                kwargs,
                &mut sentinel,
                &[],
                warnings,
            )?;
        }
        sentinels.push(sentinel);
    }
    let mut host = Host::at(Endpoint::Sentinel { sentinels, master });
    keywords(
        path,
        keys,
        &mut host,
        &["master_name", "sentinels", "sentinel_kwargs"],
        warnings,
    )?;
    Ok(host)
}

fn from_url(path: &str, url: &str, warnings: &mut Vec<String>) -> Result<Host, ConfigError> {
    host_url::from_url(url, warnings)
        .map_err(|reason| option(path, &format!("{}: {reason}", host_url::redact(url))))
}

fn pair(path: &str, value: &Value) -> Result<Host, ConfigError> {
    let parts = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let [Value::String(host), port] = parts else {
        return Err(option(path, "it should be a (host, port) pair"));
    };
    let port = port
        .as_u64()
        .or_else(|| port.as_str()?.parse().ok())
        .and_then(|port| u16::try_from(port).ok());
    Ok(Host::tcp(
        host,
        port.ok_or_else(|| option(path, "its second part should be a port"))?,
    ))
}

/// Sets redis-py's keywords on `host`, without those in `but`.
fn keywords(
    path: &str,
    keys: &Map<String, Value>,
    host: &mut Host,
    but: &[&str],
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    // `ssl` is set last: `ssl=True` keeps the values of the other `ssl_` keywords, and `ssl=False` undoes them.
    let (ssl, others): (Vec<_>, Vec<_>) = keys.iter().partition(|(name, _)| *name == "ssl");
    for (name, value) in others.into_iter().chain(ssl) {
        if but.contains(&name.as_str()) {
            continue;
        }
        let at = format!("{path}[{name:?}]");
        match host.set(name, Setting::Json(value)) {
            Ok(KeywordSupport::Known) => {}
            Ok(KeywordSupport::Unknown) => {
                warnings.push(format!("{at} is not known to djangobot and was ignored"))
            }
            Err(reason) => {
                refuse_unsupported(&at, value)?;
                return Err(option(&at, &reason));
            }
        }
    }
    Ok(())
}

/// The entries of a dict. The probe writes it as a list of pairs if its keys are not strings or their order matters.
fn pairs(path: &str, value: &Value) -> Result<Vec<(Value, Value)>, ConfigError> {
    let wrong = || option(path, "it should be a dict of patterns and numbers");
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(map) => match map.get("__items__") {
            Some(items) => items,
            None => {
                return Ok(map
                    .iter()
                    .map(|(key, value)| (Value::String(key.clone()), value.clone()))
                    .collect());
            }
        },
        list => list,
    };
    let pair = |entry: &Value| match entry.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((key.clone(), value.clone())),
        _ => Err(wrong()),
    };
    list.as_array()
        .ok_or_else(wrong)?
        .iter()
        .map(pair)
        .collect()
}

fn refuse_unsupported(path: &str, value: &Value) -> Result<(), ConfigError> {
    match value.get("__unsupported__") {
        Some(kind) => Err(option(
            path,
            &format!(
                "a Python object ({}) has no meaning outside Python; write a plain value, or leave it out",
                kind.as_str().unwrap_or("of some type")
            ),
        )),
        None => Ok(()),
    }
}

fn bytes_or_text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        _ => STANDARD.decode(value.get("__bytes__")?.as_str()?).ok(),
    }
}

fn text<'a>(path: &str, value: &'a Value) -> Result<&'a str, ConfigError> {
    value
        .as_str()
        .ok_or_else(|| option(path, "it should be a string"))
}

/// A number of seconds; a fraction is cut off, as channels_redis does.
fn seconds(path: &str, value: &Value) -> Result<u64, ConfigError> {
    let seconds = value
        .as_f64()
        .filter(|seconds| (1.0..=1e12).contains(seconds));
    seconds
        .map(|seconds| seconds as u64)
        .ok_or_else(|| option(path, "it should be a number of seconds, 1 or more"))
}

fn count(path: &str, value: &Value) -> Result<usize, ConfigError> {
    // Some projects write 1e6, which is a float.
    let count = value.as_f64().filter(|count| (0.0..=9e15).contains(count));
    count
        .map(|count| count as usize)
        .ok_or_else(|| option(path, "it should be a number of messages"))
}

fn option(path: &str, reason: &str) -> ConfigError {
    ConfigError::Option {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
