//! Warns of workers that end when no message comes for 5 s, as after a plain `pip install channels_redis`.
//!
//! `channels_redis.core` waits for a message with `BZPOPMIN key 5`, and the default time limit of redis-py 8 and newer
//! is 5 s too (`redis._defaults.DEFAULT_SOCKET_TIMEOUT`), so the limit may end first (channels_redis issue 422).

use serde_json::{Map, Value};
use url::Url;

use crate::probe::ProjectLayer;

/// How long `channels_redis.core.RedisChannelLayer` blocks (`brpop_timeout`), in seconds.
const BLOCKS: f64 = 5.0;
/// The default time limit of redis-py 8 for an answer, in seconds.
const REDIS8_DEFAULT: f64 = 5.0;

/// If this project's workers end with a `TimeoutError` when no message comes for 5 s: the host with the fault and the
/// cure, as sentences. `None` if they do not.
pub fn worker_trap(probed: &ProjectLayer) -> Option<String> {
    if probed.backend != "channels_redis.core.RedisChannelLayer" {
        return None;
    }
    let redis = probed.versions.redis.as_deref()?;
    let major: u32 = redis.split('.').next()?.parse().ok()?;
    let default = (major >= 8).then_some(REDIS8_DEFAULT);
    let nowhere = Value::Null;
    let hosts = match probed.config.get("hosts").and_then(Value::as_array) {
        Some(hosts) if !hosts.is_empty() => hosts.iter().collect(),
        _ => vec![&nowhere],
    };
    let (nth, limit) = hosts.into_iter().enumerate().find_map(|(nth, host)| {
        let limit = match socket_timeout(host) {
            SocketTimeout::Unset => default?,
            SocketTimeout::Unlimited => return None,
            SocketTimeout::Seconds(limit) => limit,
        };
        (limit <= BLOCKS).then_some((nth, limit))
    })?;
    let alias = &probed.alias;
    Some(format!(
        "workers will end with a TimeoutError when no message comes for {BLOCKS} s: redis-py {redis} gives hosts[{nth}] of \
         CHANNEL_LAYERS[{alias:?}] {limit} s to answer, and channels_redis waits for {BLOCKS} s. \
         Write the host as {{\"address\": \"redis://...\", \"socket_timeout\": None}}{}.",
        if default.is_some() {
            ", or install redis<8"
        } else {
            ""
        }
    ))
}

/// The `socket_timeout` of a host.
enum SocketTimeout {
    /// The host does not set it.
    Unset,
    /// It is Python's `None`.
    Unlimited,
    Seconds(f64),
}

fn socket_timeout(host: &Value) -> SocketTimeout {
    let (url, keywords) = match host {
        Value::String(url) => (Some(url.as_str()), None),
        Value::Object(keywords) => (
            keywords.get("address").and_then(Value::as_str),
            Some(keywords),
        ),
        _ => (None, None),
    };
    // In redis-py's `from_url` the URL wins over the keywords.
    match url.and_then(in_url) {
        Some(seconds) => SocketTimeout::Seconds(seconds),
        None => keywords.map_or(SocketTimeout::Unset, in_keywords),
    }
}

fn in_url(url: &str) -> Option<f64> {
    let url = Url::parse(url).ok()?;
    let (_, value) = url
        .query_pairs()
        .find(|(name, _)| name == "socket_timeout")?;
    value.parse().ok()
}

fn in_keywords(keywords: &Map<String, Value>) -> SocketTimeout {
    match keywords.get("socket_timeout") {
        None => SocketTimeout::Unset,
        Some(value) => value
            .as_f64()
            .map_or(SocketTimeout::Unlimited, SocketTimeout::Seconds),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probe::Versions;

    fn check(redis: &str, hosts: Value, expect: Option<&str>) {
        let probed = ProjectLayer {
            python: "python".into(),
            alias: "default".into(),
            backend: "channels_redis.core.RedisChannelLayer".into(),
            class: "channels_redis.core.RedisChannelLayer".into(),
            overrides: Vec::new(),
            providers: Vec::new(),
            config: json!({"hosts": hosts}),
            aliases: vec!["default".into()],
            settings_module: None,
            versions: Versions {
                redis: Some(redis.into()),
                ..Versions::default()
            },
        };
        let found = worker_trap(&probed);
        match (&found, expect) {
            (None, None) => {}
            (Some(found), Some(part)) => assert!(found.contains(part), "{found}"),
            _ => panic!("redis {redis}, {hosts}: {found:?}"),
        }
        let pubsub = ProjectLayer {
            backend: "channels_redis.pubsub.RedisPubSubChannelLayer".into(),
            ..probed
        };
        assert_eq!(worker_trap(&pubsub), None);
    }

    #[test]
    fn redis_py_8_traps_hosts_that_do_not_say_otherwise() {
        check("8.1.0", Value::Null, Some("hosts[0]"));
        check("8.1.0", json!([]), Some("hosts[0]"));
        check("8.1.0", json!(["redis://h"]), Some("install redis<8"));
        check("8.1.0", json!([["h", 6379]]), Some("hosts[0]"));
        check(
            "10.0.0",
            json!([{"host": "h", "port": 6379}]),
            Some("hosts[0]"),
        );
        check(
            "8.1.0",
            json!([{"address": "redis://h", "socket_timeout": null}, "redis://h"]),
            Some("hosts[1]"),
        );
        check(
            "8.1.0",
            json!([{"sentinels": [["h", 26379]], "master_name": "m"}]),
            Some("hosts[0]"),
        );
    }

    #[test]
    fn a_limit_beyond_the_wait_is_not_a_trap() {
        check(
            "8.1.0",
            json!([{"address": "redis://h", "socket_timeout": null}]),
            None,
        );
        check(
            "8.1.0",
            json!([{"address": "redis://h", "socket_timeout": 10}]),
            None,
        );
        check("8.1.0", json!(["redis://h?socket_timeout=7.5"]), None);
        check(
            "8.1.0",
            json!([{"address": "redis://h?socket_timeout=3", "socket_timeout": null}]),
            Some("3 s"),
        );
    }

    #[test]
    fn older_redis_py_traps_only_hosts_that_set_a_short_limit() {
        check("7.4.1", json!(["redis://h"]), None);
        check("7.4.1", Value::Null, None);
        check(
            "7.4.1",
            json!([{"address": "redis://h", "socket_timeout": 5}]),
            Some("5 s to answer"),
        );
        check(
            "5.2.0",
            json!([{"address": "redis://h", "socket_timeout": 2}]),
            Some("2 s to answer"),
        );
    }
}
