//! The pub/sub layer and Channels 1's asgi_redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails panics"
)]

#[macro_use]
mod support;

use std::time::Duration;

use djangobot_channels::{GroupName, LayerError, OpenError, SendReport};
use djangobot_event::Event;
use djangobot_tests::{Redis, eventually};
use serde_json::json;
use support::*;

const PUBSUB: &str = "channels_redis.pubsub.RedisPubSubChannelLayer";
const ASGI_REDIS: &str = "asgi_redis.RedisChannelLayer";

on_each_server! {
    asgi_redis_finds_its_bytes,
    asgi_redis_keeps_order_capacity_and_the_messages_of_a_killed_reader,
    asgi_redis_groups_and_process_local_names_work,
    asgi_redis_readers_are_woken,
}

#[tokio::test]
async fn pubsub_reaches_every_reader_and_tells_how_many() {
    for options in [
        json!({}),
        json!({"serializer_format": "json"}),
        json!({"symmetric_encryption_keys": ["k"]}),
    ] {
        let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
        let mut config = options;
        config["hosts"] = servers.iter().map(|redis| json!(redis.url())).collect();
        let (one, two) = (layer_of(PUBSUB, config.clone()), layer_of(PUBSUB, config));
        let to = channel("slack.message");
        let members = numbered(&one, &to, 0..3);
        assert_eq!(
            one.send(&to, &members).await.unwrap(),
            SendReport {
                accepted: 3,
                receivers: Some(0),
                expired: 0,
                waiting: None
            }
        );
        let (first, second) = (
            one.receiver(&to, &id("r")).await.unwrap(),
            two.receiver(&to, &id("r")).await.unwrap(),
        );
        assert_eq!(
            one.send(&to, &members).await.unwrap(),
            SendReport {
                accepted: 3,
                receivers: Some(2),
                expired: 0,
                waiting: None
            }
        );
        assert_eq!(drain(&one, &first, 3).await, [0, 1, 2]);
        assert_eq!(drain(&two, &second, 3).await, [0, 1, 2]);
        assert_eq!(one.depth(&to).await.unwrap(), None);
        second.close().await.unwrap();
        assert!(matches!(second.next().await, Err(LayerError::Closed)));
    }
}

#[tokio::test]
async fn pubsub_groups_are_subscriptions() {
    let redis = Redis::start();
    let layer = layer(&redis.url().replace("redis://", "redis+pubsub://"));
    let (group, member) = (GroupName::new("ops").unwrap(), channel("asgispecific.x"));
    assert!(matches!(
        layer.group_add(&group, &member).await,
        Err(LayerError::Unsupported { .. })
    ));
    let receiver = layer.receiver(&member, &id("r")).await.unwrap();
    layer.group_add(&group, &member).await.unwrap();
    assert_eq!(
        redis.cli(&["pubsub", "numsub", "asgi__group__ops"]),
        "asgi__group__ops\n1"
    );
    layer
        .group_send(&group, &Event::parse(r#"{"n":1}"#).unwrap())
        .await
        .unwrap();
    assert_eq!(drain(&layer, &receiver, 1).await, [1]);
    layer.group_discard(&group, &member).await.unwrap();
    eventually("the subscription ends", async || {
        redis
            .cli(&["pubsub", "numsub", "asgi__group__ops"])
            .ends_with("\n0")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pubsub_reader_subscribes_again_when_its_server_is_back() {
    let mut redis = Redis::start();
    let layer = layer(&redis.url().replace("redis://", "redis+pubsub://"));
    let to = channel("c");
    let receiver = layer.receiver(&to, &id("r")).await.unwrap();
    redis.restart();
    let members = numbered(&layer, &to, 5..6);
    let sent = async || {
        layer
            .send(&to, &members)
            .await
            .ok()
            .filter(|sent| sent.receivers == Some(1))
    };
    eventually("the reader is back", sent).await;
    assert_eq!(number(&layer, &next(&receiver).await), 5);
    redis.stop();
    assert!(layer.receiver(&channel("other"), &id("r")).await.is_err());
}

async fn asgi_redis_finds_its_bytes(redis: Server) {
    let layer = layer(&redis.url().replace("redis://", "asgi-redis://"));
    let to = channel("slack.message");
    // The body of 2016 is bytes, which only msgpack can say: `seal` takes it as it is.
    let payload = b"\x81\xa4text\xc4\x02hi";
    let member = layer.seal(payload);
    for _ in 0..2 {
        assert_eq!(
            layer
                .send(&to, std::slice::from_ref(&member))
                .await
                .unwrap()
                .accepted,
            1,
            "sending again adds nothing"
        );
    }
    let stored = redis.cli(&["lrange", "asgi:slack.message", "0", "-1"]);
    assert_eq!((stored.len(), &stored[..5]), (5 + 32, "asgi:"));
    assert_eq!(
        redis.cli(&["--no-raw", "get", &stored]),
        r#""\x81\xa4text\xc4\x02hi""#
    );
    // In seconds; one may have passed since.
    let lives = |key: &str, seconds: u64| {
        let left: u64 = redis.cli(&["ttl", key]).parse().unwrap();
        assert!((seconds - 30..=seconds).contains(&left), "{key}: {left}");
    };
    lives("asgi:slack.message", 61);
    lives(&stored, 60);
    let counters = [
        "asgi-meta:slack.message:messages_count",
        "asgi-meta:#global#:messages_count",
    ];
    assert_eq!(
        counters.map(|counter| redis.cli(&["get", counter])),
        ["1", "1"]
    );
    lives(counters[0], 3600);
    lives(counters[1], 86400);
    let receiver = layer.receiver(&to, &id("r")).await.unwrap();
    let delivery = next(&receiver).await;
    assert_eq!(delivery.payload.as_deref().unwrap(), payload);
    receiver.done(&delivery).await.unwrap();
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), [counters[1], counters[0]]);
}

async fn asgi_redis_keeps_order_capacity_and_the_messages_of_a_killed_reader(redis: Server) {
    let config =
        json!({"hosts": [redis.url()], "capacity": 30, "symmetric_encryption_keys": ["k"]});
    let one = layer_of(ASGI_REDIS, config.clone());
    let to = channel("c");
    let members = numbered(&one, &to, 0..40);
    assert_eq!(one.send(&to, &members).await.unwrap().accepted, 30);
    assert_eq!(redis.cli(&["get", "asgi-meta:c:channel_full_count"]), "1");
    let receiver = one.receiver(&to, &id("r")).await.unwrap();
    assert_eq!(drain(&one, &receiver, 2).await, [0, 1]);
    let held = next(&receiver).await;
    drop(receiver);
    let two = layer_of(ASGI_REDIS, config);
    let receiver = two.receiver(&to, &id("r")).await.unwrap();
    let again = next(&receiver).await;
    assert_eq!((&again.member, again.redelivered), (&held.member, true));
    receiver.close().await.unwrap();
    assert_eq!(two.depth(&to).await.unwrap(), Some(28));
    let receiver = two.receiver(&to, &id("s")).await.unwrap();
    assert!(drain(&two, &receiver, 28).await.into_iter().eq(2..30));
    redis.cli(&["rpush", "asgi:c", "asgi:gone"]);
    let expired = next(&receiver).await;
    assert_eq!(expired.payload, Err(OpenError::Expired));
}

async fn asgi_redis_groups_and_process_local_names_work(redis: Server) {
    let layer = layer(&redis.url().replace("redis://", "asgi-redis://"));
    let (group, local) = (GroupName::new("g").unwrap(), local_channel());
    for member in [&local, &channel("general")] {
        layer.group_add(&group, member).await.unwrap();
    }
    assert_eq!(redis.cli(&["type", "asgi::group:g"]), "zset");
    layer
        .group_send(&group, &Event::parse(r#"{"n":3}"#).unwrap())
        .await
        .unwrap();
    for member in [&local, &channel("general")] {
        let receiver = layer.receiver(member, &id("r")).await.unwrap();
        assert_eq!(drain(&layer, &receiver, 1).await, [3]);
        receiver.close().await.unwrap();
    }
}

async fn asgi_redis_readers_are_woken(redis: Server) {
    let layer = layer(&redis.url().replace("redis://", "asgi-redis://"));
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let all = async {
        for n in 0..30 {
            send(&layer, "c", n..n + 1).await;
            assert_eq!(drain(&layer, &receiver, 1).await, [n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all)
        .await
        .expect("the server wakes the reader");
}
