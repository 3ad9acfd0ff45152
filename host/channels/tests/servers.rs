//! Servers that let us do no more than channels_redis does, and servers that let us do less: the first are enough, and
//! of the second a rehearsal says what is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

mod support;

use std::time::Duration;

use djangobot_channels::{GroupName, LayerError, RefusalKind};
use djangobot_tests::{Redis, eventually};
use serde_json::json;
use support::*;

const CORE: &str = "channels_redis.core.RedisChannelLayer";

/// The commands that channels_redis 4.3's core layer sends, on its own keys.
const ALLOWED: &[&str] = &[
    "acl",
    "setuser",
    "bot",
    "on",
    ">secret",
    "~asgi*",
    "resetchannels",
    "-@all",
    "+eval",
    "+zremrangebyscore",
    "+zcount",
    "+zadd",
    "+expire",
    "+bzpopmin",
    "+zpopmin",
    "+zrange",
    "+del",
    "+zrem",
    "+multi",
    "+exec",
];

/// Sends, reads, gives back, reads again, and sends to a group.
async fn works(layer: &Layer) {
    send(layer, "c", 0..3).await;
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(drain(layer, &receiver, 1).await, [0]);
    assert_eq!(number(layer, &next(&receiver).await), 1);
    receiver.close().await.unwrap();
    assert_eq!(layer.depth(&channel("c")).await.unwrap(), Some(2));
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let again = next(&receiver).await;
    assert_eq!((number(layer, &again), again.redelivered), (1, true));
    receiver.done(&again).await.unwrap();
    assert_eq!(drain(layer, &receiver, 1).await, [2]);
    receiver.close().await.unwrap();

    let group = GroupName::new("g").unwrap();
    for member in ["one", "two", "three"] {
        layer.group_add(&group, &channel(member)).await.unwrap();
    }
    layer.group_discard(&group, &channel("two")).await.unwrap();
    let event = djangobot_event::Event::parse(r#"{"n":7}"#).unwrap();
    layer.group_send(&group, &event).await.unwrap();
    for (member, count) in [("one", 1), ("two", 0), ("three", 1)] {
        let depth = layer.depth(&channel(member)).await.unwrap();
        assert_eq!(depth, Some(count), "{member}");
    }
    layer.ping().await.unwrap();
    layer.rehearse(&[channel("c"), channel("d")]).await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_rights_that_channels_redis_needs_can_run_everything() {
    let redis = Redis::start();
    redis.cli(ALLOWED);
    let url = format!("redis://bot:secret@127.0.0.1:{}", redis.port());
    let layer = layer(&url);
    works(&layer).await;
    // Messages of a killed reader are taken over here as well.
    let short = |config: &mut djangobot_channels::config::RedisConfig| {
        config.lease = Duration::from_millis(600);
    };
    let killed = layer_with(&[&url], short);
    send(&killed, "k", 0..2).await;
    let receiver = killed.receiver(&channel("k"), &id("killed")).await.unwrap();
    assert_eq!(number(&killed, &next(&receiver).await), 0);
    drop((receiver, killed));
    let heir = layer_with(&[&url], short);
    let receiver = heir.receiver(&channel("k"), &id("heir")).await.unwrap();
    assert_eq!(drain(&heir, &receiver, 2).await, [0, 1]);
}

#[tokio::test]
async fn a_user_of_the_pub_sub_layer_may_publish_and_subscribe_and_no_more() {
    let redis = Redis::start();
    redis.cli(&[
        "acl",
        "setuser",
        "bot",
        "on",
        ">secret",
        "&*",
        "-@all",
        "+publish",
        "+subscribe",
        "+unsubscribe",
    ]);
    let url = format!("redis+pubsub://bot:secret@127.0.0.1:{}", redis.port());
    let layer = layer(&url);
    layer.rehearse(&[]).await.unwrap();
    layer.ping().await.unwrap();
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    send(&layer, "c", 0..1).await;
    assert_eq!(drain(&layer, &receiver, 1).await, [0]);
}

#[tokio::test]
async fn a_cluster_of_one_shard_serves() {
    let redis = Redis::with_args(&["--cluster-enabled", "yes"]);
    // ADDSLOTSRANGE came with Redis 7.
    let slots: Vec<_> = (0..16384).map(|slot| slot.to_string()).collect();
    let words = ["cluster", "addslots"].into_iter();
    redis.cli(
        &words
            .chain(slots.iter().map(String::as_str))
            .collect::<Vec<_>>(),
    );
    eventually("the cluster is up", async || {
        redis
            .cli(&["cluster", "info"])
            .contains("cluster_state:ok")
            .then_some(())
    })
    .await;
    works(&layer(&redis.url())).await;
    let tagged = json!({"hosts": [redis.url()], "prefix": "{mine}"});
    works(&layer_of(CORE, tagged)).await;
}

#[tokio::test]
async fn an_idle_reader_without_tracking_asks_seldom() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "default", "-client|tracking"]);
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    send(&layer, "c", 0..1).await;
    assert_eq!(drain(&layer, &receiver, 1).await, [0]);
    let scripts = || -> u64 {
        let stats = redis.cli(&["info", "commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.trim().strip_prefix("cmdstat_evalsha:calls="));
        let calls = line.and_then(|line| line.split(',').next()).unwrap();
        calls.parse().unwrap()
    };
    tokio::time::sleep(Duration::from_secs(12)).await;
    let before = scripts();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = scripts() - before;
    assert!(asked <= 12, "{asked} scripts in 5 s");
    send(&layer, "c", 1..2).await;
    assert_eq!(drain(&layer, &receiver, 1).await, [1]);
}

/// The error of a rehearsal on `url`.
async fn refused(url: &str) -> (Option<RefusalKind>, String) {
    let layer = layer(url);
    let error = layer.rehearse(&[channel("slack.send")]).await.unwrap_err();
    (error.refusal(), error.to_string())
}

#[tokio::test]
async fn a_rehearsal_finds_refusals_that_a_ping_does_not() {
    use RefusalKind as Kind;
    let check = async |redis: &Redis, kind: Kind, words: &str| {
        for scheme in ["redis", "asgi-redis"] {
            let url = redis.url().replace("redis", scheme);
            let (found, error) = refused(&url).await;
            assert_eq!(found, Some(kind), "{error}");
            assert!(error.contains(words), "{error}");
        }
    };
    let redis = Redis::with_args(&[
        "--rename-command",
        "EVAL",
        "",
        "--rename-command",
        "EVALSHA",
        "HIDDEN",
    ]);
    check(&redis, Kind::UnknownCommand, "unknown command").await;

    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "default", "-zpopmin", "-lpop"]);
    check(&redis, Kind::Permission, "run").await;
    redis.cli(&["acl", "setuser", "default", "+@all", "-@scripting"]);
    check(&redis, Kind::Permission, "run").await;

    let replicated = Replicated::start().await;
    check(&replicated.replica, Kind::ReadOnly, "read only").await;

    let member = Redis::with_args(&["--cluster-enabled", "yes"]);
    let (found, error) = refused(&member.url()).await;
    assert!(matches!(found, Some(Kind::Cluster | Kind::Busy)), "{error}");

    let lonely = Redis::with_args(&["--min-replicas-to-write", "1"]);
    if lonely.holds_scripts_to_replicas() {
        check(&lonely, Kind::Replicas, "NOREPLICAS").await;
    } else {
        // Scripts write all the same, and no other command does: asgi_redis's layer needs no other.
        let (found, error) = refused(&lonely.url()).await;
        assert_eq!(found, Some(Kind::Replicas), "{error}");
        let url = lonely.url().replace("redis", "asgi-redis");
        layer(&url)
            .rehearse(&[channel("slack.send")])
            .await
            .unwrap();
    }

    let full = Redis::start();
    full.cli(&["config", "set", "maxmemory", "1"]);
    check(&full, Kind::Memory, "OOM").await;

    for key in ["asgislack.send", "asgislack.send{asgislack.send}$djangobot"] {
        let other = Redis::start();
        other.cli(&["set", key, "a string"]);
        let (found, error) = refused(&other.url()).await;
        assert_eq!(found, Some(Kind::WrongType), "{error}");
    }

    let sentinel = &replicated.sentinel;
    check(sentinel, Kind::UnknownCommand, "unknown command").await;
    let (found, error) = refused(&sentinel.url().replace("redis", "redis+pubsub")).await;
    assert_eq!(found, Some(Kind::UnknownCommand), "{error}");
}

#[tokio::test]
async fn a_rehearsal_leaves_nothing_behind() {
    for scheme in ["redis", "asgi-redis", "redis+pubsub"] {
        let redis = Redis::start();
        let layer = layer(&redis.url().replace("redis", scheme));
        layer.rehearse(&[channel("slack.send")]).await.unwrap();
        let left: Vec<_> = keys(redis.port())
            .into_iter()
            .filter(|key| !key.starts_with("asgi-meta:"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
        layer.close().await;
        let error = layer.rehearse(&[]).await.unwrap_err();
        assert!(matches!(error, LayerError::Closed), "{error}");
    }
}
