//! A trap in what a plain `pip install channels_redis` gives: workers that end when nothing happens for 5 s.
//!
//! `channels_redis.core` waits for a message with `BZPOPMIN key 5`, and redis-py 8 and newer gives an answer 5 s
//! (`redis._defaults.DEFAULT_SOCKET_TIMEOUT`), so the wait and its limit end together (channels_redis issue 422).

use serde_json::{Map, Value};
use url::Url;

use crate::probe::ProjectLayer;

/// How long `channels_redis.core.RedisChannelLayer` blocks (`brpop_timeout`), in seconds.
const BLOCKS: f64 = 5.0;
/// What redis-py 8 gives an answer where nobody says otherwise, in seconds.
const REDIS8_DEFAULT: f64 = 5.0;

/// Whether this project's workers end with a `TimeoutError` once nothing happens for 5 s: which host is at fault
/// and the cure, as sentences; `None` when all is well.
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
        let limit = socket_timeout(host).unwrap_or(default)?;
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

/// A host's own `socket_timeout`, where it has one; `Some(None)` is Python's `None`, no limit.
fn socket_timeout(host: &Value) -> Option<Option<f64>> {
    let (url, keywords) = match host {
        Value::String(url) => (Some(url.as_str()), None),
        Value::Object(keywords) => (
            keywords.get("address").and_then(Value::as_str),
            Some(keywords),
        ),
        _ => (None, None),
    };
    // In redis-py's `from_url` what the URL says wins over the keywords.
    url.and_then(in_url)
        .map(Some)
        .or_else(|| in_keywords(keywords?))
}

fn in_url(url: &str) -> Option<f64> {
    let url = Url::parse(url).ok()?;
    let (_, value) = url
        .query_pairs()
        .find(|(name, _)| name == "socket_timeout")?;
    value.parse().ok()
}

fn in_keywords(keywords: &Map<String, Value>) -> Option<Option<f64>> {
    keywords.get("socket_timeout").map(Value::as_f64)
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
    fn a_limit_beyond_the_wait_is_no_trap() {
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
    fn older_redis_py_traps_only_who_asks_for_it() {
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
