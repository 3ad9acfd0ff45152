//! `RedisChannelLayer`: the content of Redis after a send, capacity, expiry, groups, shards, process-local names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails panics"
)]

#[macro_use]
mod support;

use djangobot_channels::{GroupName, LayerError, OpenError, SendReport, Serializer};
use djangobot_event::Event;
use djangobot_tests::Redis;
use serde_json::json;
use support::*;

on_each_server! {
    a_message_lies_in_redis_as_channels_redis_puts_it,
    concurrent_calls_get_strictly_increasing_scores_and_keep_their_order,
    capacity_takes_from_the_front_and_sending_again_fills_up_without_doubles,
    a_call_of_thousands_of_members_is_one_call,
    expired_messages_are_removed_by_the_next_send,
    all_serializers_prefixes_and_keys_come_back,
    a_member_that_cannot_be_opened_is_delivered_once_with_the_reason,
    a_message_that_was_taken_in_time_opens_at_any_later_time,
    a_process_local_message_names_its_channel,
    groups_reach_their_members_and_pass_over_full_ones,
    over_several_hosts_everything_arrives,
    a_script_that_the_server_has_forgotten_is_sent_again,
}

/// All members of a sorted set with their scores.
async fn zset(url: &str, key: &str) -> Vec<(Vec<u8>, f64)> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("ZRANGE")
        .arg(key)
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES")
        .query_async(&mut connection)
        .await
        .unwrap()
}

async fn a_message_lies_in_redis_as_channels_redis_puts_it(redis: Server) {
    let layer = layer(&redis.url());
    let to = channel("slack.message");
    let message = Event::parse(
        r#"{"type":"slack.message","n":5,"neg":-1,"f":1.5,"none":null,"t":true,"l":[1,2]}"#,
    )
    .unwrap();
    let before = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    let sent = layer
        .send(&to, &[layer.encode(&to, &message)])
        .await
        .unwrap();
    assert_eq!(
        sent,
        SendReport {
            accepted: 1,
            receivers: None,
            expired: 0,
            waiting: Some(1)
        }
    );
    let stored = zset(&redis.url(), "asgislack.message").await;
    // The bytes of the dump of channels_redis 4.3, behind 12 random ones.
    let expect = b"\x87\xa4type\xadslack.message\xa1n\x05\xa3neg\xff\xa1f\xcb\x3f\xf8\0\0\0\0\0\0\xa4none\xc0\xa1t\xc3\xa1l\x92\x01\x02";
    assert_eq!(&stored[0].0[12..], expect);
    assert!((stored[0].1 - before).abs() < 20.0);
    assert_eq!(redis.cli(&["ttl", "asgislack.message"]), "60");
    assert_eq!(keys(redis.port()), ["asgislack.message"]);
}

async fn concurrent_calls_get_strictly_increasing_scores_and_keep_their_order(redis: Server) {
    let layer = layer_with(&[&redis.url()], |config| {
        config.capacities = djangobot_channels::capacity::Capacities::new(100_000)
    });
    let calls = (0..20).map(|call| {
        let layer = layer.clone();
        async move { send(&layer, "c", call * 100..(call + 1) * 100).await }
    });
    futures_util::future::join_all(calls).await;
    let stored = zset(&redis.url(), "asgic").await;
    assert_eq!(stored.len(), 2000);
    assert!(stored.is_sorted_by(|a, b| a.1 < b.1));
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let numbers = drain(&layer, &receiver, 2000).await;
    for call in 0..20 {
        let of_call: Vec<_> = numbers
            .iter()
            .copied()
            .filter(|n| n / 100 == call)
            .collect();
        assert!(of_call.is_sorted(), "call {call}: {of_call:?}");
    }
}

/// The Redis that a life of this program sends to whose clock is wrong.
const OTHER_LIFE: &str = "DJANGOBOT_TEST_OTHER_LIFE";

/// Lives of a program between which its clock was set put their messages in one order, and throw none away as too old.
#[tokio::test]
async fn scores_go_by_the_server_s_clock() {
    if let Ok(life) = std::env::var(OTHER_LIFE) {
        let (first, url) = life.split_once(' ').unwrap();
        let first: usize = first.parse().unwrap();
        return send(&layer(url), "c", first..first + 3).await;
    }
    let redis = Redis::start();
    send(&layer(&redis.url()), "c", 0..3).await;
    let library = djangobot_tests::environment::clock_library();
    let library = library.expect("there is no libfaketimeMT.so.1: run `cargo xtask setup`");
    for (first, ahead) in [(3, "+7200"), (6, "-7200")] {
        let other = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["scores_go_by_the_server_s_clock", "--exact"])
            .env(OTHER_LIFE, format!("{first} {}", redis.url()))
            .env("LD_PRELOAD", &library)
            .env("FAKETIME", ahead)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DISABLE_SHM", "1")
            .output()
            .unwrap();
        assert!(other.status.success(), "{other:?}");
    }
    let last = layer(&redis.url());
    send(&last, "c", 9..12).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    for (_, score) in zset(&redis.url(), "asgic").await {
        assert!((score - now.as_secs_f64()).abs() < 60.0, "{score}");
    }
    let receiver = last.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(
        drain(&last, &receiver, 12).await,
        (0..12).collect::<Vec<_>>()
    );
}

async fn capacity_takes_from_the_front_and_sending_again_fills_up_without_doubles(redis: Server) {
    let config = json!({"hosts": [redis.url()], "capacity": 3, "channel_capacity": {"big*": 5}});
    let layer = layer_of("channels_redis.core.RedisChannelLayer", config);
    let (small, big) = (channel("small"), channel("big.one"));
    let members = numbered(&layer, &small, 0..5);
    let accepted = async |to, members| layer.send(to, members).await.unwrap().accepted;
    assert_eq!(accepted(&small, &members).await, 3);
    assert_eq!(
        accepted(&small, &members).await,
        3,
        "those that are there count as accepted"
    );
    assert_eq!(accepted(&small, &members[3..]).await, 0);
    assert_eq!(accepted(&big, &members).await, 5);
    assert_eq!(layer.depth(&small).await.unwrap(), Some(3));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.unwrap().as_secs_f64() - layer.oldest(&small).await.unwrap().unwrap();
    assert!((-60.0..3600.0).contains(&age), "{age}");
    assert_eq!(layer.oldest(&channel("nowhere")).await.unwrap(), None);
    let receiver = layer.receiver(&small, &id("r")).await.unwrap();
    assert_eq!(drain(&layer, &receiver, 3).await, [0, 1, 2]);
    assert_eq!(accepted(&small, &members[3..]).await, 2);
    assert_eq!(drain(&layer, &receiver, 2).await, [3, 4]);
}

async fn a_call_of_thousands_of_members_is_one_call(redis: Server) {
    let layer = layer_with(&[&redis.url()], |config| {
        config.capacities = djangobot_channels::capacity::Capacities::new(100_000)
    });
    send(&layer, "c", 0..25_000).await;
    assert_eq!(layer.depth(&channel("c")).await.unwrap(), Some(25_000));
}

async fn expired_messages_are_removed_by_the_next_send(redis: Server) {
    let layer = layer(&redis.url());
    let old = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
        - 61;
    redis.cli(&[
        "zadd",
        "asgic",
        &old.to_string(),
        "123456789012old",
        &(old + 30).to_string(),
        "123456789012new",
    ]);
    let to = channel("c");
    let members = numbered(&layer, &to, 0..1);
    let sent = layer.send(&to, &members).await.unwrap();
    assert_eq!(
        (sent.expired, sent.waiting),
        (1, Some(2)),
        "the send reports the expired message"
    );
    let stored = zset(&redis.url(), "asgic").await;
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].0, b"123456789012new");
}

async fn all_serializers_prefixes_and_keys_come_back(redis: Server) {
    for (nth, options) in [
        json!({}),
        json!({"serializer_format": "json"}),
        json!({"random_prefix_length": 0}),
        json!({"random_prefix_length": -1}),
        json!({"random_prefix_length": 8, "prefix": "other:"}),
        json!({"symmetric_encryption_keys": ["a"]}),
        json!({"symmetric_encryption_keys": ["new", "a"], "serializer_format": "json"}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut config = options.clone();
        config["hosts"] = json!([redis.url()]);
        let layer = layer_of("channels_redis.core.RedisChannelLayer", config);
        let expect = if options.get("serializer_format").is_some() {
            Serializer::Json
        } else {
            Serializer::Msgpack
        };
        assert_eq!(layer.serializer(), expect);
        let name = format!("c{nth}");
        send(&layer, &name, 0..2).await;
        let receiver = layer.receiver(&channel(&name), &id("r")).await.unwrap();
        assert_eq!(drain(&layer, &receiver, 2).await, [0, 1], "{options}");
        receiver.close().await.unwrap();
    }
}

async fn a_member_that_cannot_be_opened_is_delivered_once_with_the_reason(redis: Server) {
    let keyed = |key: &str| {
        layer_of(
            "channels_redis.core.RedisChannelLayer",
            json!({"hosts": [redis.url()], "symmetric_encryption_keys": [key]}),
        )
    };
    let (ours, theirs) = (keyed("ours"), keyed("theirs"));
    send(&theirs, "c", 0..1).await;
    redis.cli(&["zadd", "asgic", "99999999999", "short"]);
    let receiver = ours.receiver(&channel("c"), &id("r")).await.unwrap();
    let foreign = next(&receiver).await;
    assert_eq!(foreign.payload, Err(OpenError::Key { keys: 1 }));
    receiver.done(&foreign).await.unwrap();
    let short = next(&receiver).await;
    assert_eq!(
        (short.payload.clone(), &short.member[..]),
        (Err(OpenError::Short(5)), &b"short"[..])
    );
    receiver.done(&short).await.unwrap();
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

async fn a_message_that_was_taken_in_time_opens_at_any_later_time(redis: Server) {
    // A message of channels_redis 4.3, behind 12 bytes: older than 70 s for any clock, or ahead of it.
    let member = "123456789012gAAAAABrAs20Y9vkSB_i3dXat568CvrmznCxU7WwmdjZJEgIbmDelN_4dez6zfkpyBb6WyMesuyK667i8m0I9BcJTe8gyHMkKQ==";
    redis.cli(&["zadd", "asgic{asgic}$djangobot.r", "1", member]);
    // Another message, since it begins with other bytes.
    let waiting = member.replace("123456789012", "abcdefghijkl");
    redis.cli(&["zadd", "asgic", "99999999999", &waiting]);
    let layer = layer_of(
        "channels_redis.core.RedisChannelLayer",
        json!({"hosts": [redis.url()], "symmetric_encryption_keys": ["s3cret-key"]}),
    );
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let again = next(&receiver).await;
    assert_eq!(again.payload.as_deref(), Ok(&b"\x81\xa4type\xa3x.y"[..]));
    receiver.done(&again).await.unwrap();
    let late = next(&receiver).await;
    assert!(
        matches!(late.payload, Err(OpenError::Age { limit: 70, .. })),
        "{late:?}"
    );
}

async fn a_process_local_message_names_its_channel(redis: Server) {
    let layer = layer(&redis.url());
    let to = channel("specific.3af3beeb461e49feabc3b40d0411dec0!da1680daf4a943ee88cb7d8cd011d01d");
    let message = Event::parse(r#"{"type":"slack.sent","ok":true}"#).unwrap();
    layer
        .send(&to, &[layer.encode(&to, &message)])
        .await
        .unwrap();
    let stored = zset(
        &redis.url(),
        "asgispecific.3af3beeb461e49feabc3b40d0411dec0!",
    )
    .await;
    // The bytes of the dump of channels_redis 4.3.
    let expect = b"\x83\xa4type\xaaslack.sent\xa2ok\xc3\xb0__asgi_channel__\xd9\x4aspecific.3af3beeb461e49feabc3b40d0411dec0!da1680daf4a943ee88cb7d8cd011d01d";
    assert_eq!(&stored[0].0[12..], expect);
}

async fn groups_reach_their_members_and_pass_over_full_ones(redis: Server) {
    let layer = layer_of(
        "channels_redis.core.RedisChannelLayer",
        json!({"hosts": [redis.url()], "channel_capacity": {"full": 1}}),
    );
    let group = GroupName::new("ops").unwrap();
    let local = local_channel();
    let (general, full, gone) = (channel("general"), channel("full"), channel("gone"));
    for member in [&local, &general, &full, &gone] {
        layer.group_add(&group, member).await.unwrap();
    }
    layer.group_discard(&group, &gone).await.unwrap();
    layer.group_discard(&group, &gone).await.unwrap();
    send(&layer, "full", 7..8).await;
    layer
        .group_send(&group, &Event::parse(r#"{"n":1}"#).unwrap())
        .await
        .unwrap();
    assert_eq!(redis.cli(&["ttl", "asgi:group:ops"]), "86400");
    assert_eq!(redis.cli(&["zcard", "asgi:group:ops"]), "3");
    // As in the dump: a list, also on a general channel.
    let stored = zset(&redis.url(), "asgigeneral").await;
    assert_eq!(
        &stored[0].0[12..],
        b"\x82\xa1n\x01\xb0__asgi_channel__\x91\xa7general"
    );
    for (to, expect) in [(&local, 1), (&general, 1), (&full, 7)] {
        let receiver = layer.receiver(to, &id("r")).await.unwrap();
        let delivery = next(&receiver).await;
        assert_eq!(number(&layer, &delivery), expect);
        let message = layer.decode(delivery.payload.as_ref().unwrap()).unwrap();
        assert!(message.field("__asgi_channel__").is_none());
        receiver.close().await.unwrap();
    }
    assert_eq!(layer.depth(&gone).await.unwrap(), Some(0));
}

async fn over_several_hosts_everything_arrives(redis: Server) {
    for hosts in [1, 3, 10] {
        let servers: Vec<Server> = (0..hosts).map(|_| redis.another()).collect();
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let layer = layer_with(&urls, |_| {});
        send(&layer, "general", 0..95).await;
        assert_eq!(layer.depth(&channel("general")).await.unwrap(), Some(95));
        let spread: Vec<usize> = servers
            .iter()
            .map(|redis| redis.cli(&["zcard", "asgigeneral"]).parse().unwrap())
            .collect();
        assert!(
            spread.iter().max().unwrap() - spread.iter().min().unwrap() <= 1,
            "{spread:?}"
        );
        let receiver = layer.receiver(&channel("general"), &id("r")).await.unwrap();
        let mut numbers = drain(&layer, &receiver, 95).await;
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..95));
        let local = local_channel();
        let members = numbered(&layer, &local, 0..3);
        assert_eq!(layer.send(&local, &members).await.unwrap().accepted, 3);
        let receiver = layer.receiver(&local, &id("r")).await.unwrap();
        assert_eq!(drain(&layer, &receiver, 3).await, [0, 1, 2]);
        let group = GroupName::new("g").unwrap();
        for member in [&local, &channel("a"), &channel("b")] {
            layer.group_add(&group, member).await.unwrap();
        }
        layer
            .group_send(&group, &Event::parse(r#"{"n":4}"#).unwrap())
            .await
            .unwrap();
        assert_eq!(drain(&layer, &receiver, 1).await, [4]);
        assert_eq!(
            (
                layer.depth(&channel("a")).await.unwrap(),
                layer.depth(&channel("b")).await.unwrap()
            ),
            (Some(1), Some(1))
        );
    }
}

#[tokio::test]
async fn a_host_that_is_down_or_full_is_passed_over_and_its_return_noticed() {
    let mut servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let urls: Vec<String> = servers.iter().map(Redis::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let layer = layer_with(&urls, |config| {
        config.capacities = djangobot_channels::capacity::Capacities::new(10)
    });
    servers[1].stop();
    send(&layer, "c", 0..20).await;
    let to = channel("c");
    let overflow = numbered(&layer, &to, 20..25);
    assert_eq!(
        layer.send(&to, &overflow).await.unwrap().accepted,
        0,
        "two hosts of 10 are full"
    );
    servers[1].restart();
    djangobot_tests::eventually("the third host is used again", async || {
        (layer.send(&to, &overflow).await.unwrap().accepted == 5).then_some(())
    })
    .await;
    let receiver = layer.receiver(&to, &id("r")).await.unwrap();
    let mut numbers = drain(&layer, &receiver, 25).await;
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..25));
}

#[tokio::test]
async fn a_host_that_hangs_is_asked_once_and_passed_over() {
    let servers = [Redis::start(), Redis::start()];
    let urls = servers.each_ref().map(Redis::url);
    let layer = layer_with(&[&urls[0], &urls[1]], |config| {
        for host in &mut config.hosts {
            host.response_timeout = std::time::Duration::from_millis(300);
        }
    });
    send(&layer, "c", 0..2).await;
    let connections = || -> usize {
        let stats = servers[0].cli(&["info", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.trim().strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    servers[0].cli(&["client", "pause", "60000", "write"]);
    let before = connections();
    send(&layer, "c", 2..6).await;
    assert_eq!(connections(), before + 1, "only the question itself is new");
    assert_eq!(servers[1].cli(&["zcard", "asgic"]), "5");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_one_that_refuses_says_why() {
    let mut redis = Redis::start();
    let layer = layer(&redis.url());
    layer.ping().await.unwrap();
    redis.stop();
    let error = layer.ping().await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
    redis.restart();
    layer.ping().await.unwrap();
    redis.cli(&["set", "asgiwrong", "x"]);
    let to = channel("wrong");
    let error = layer
        .send(&to, &numbered(&layer, &to, 0..1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LayerError::Refused { reason, .. } if reason.contains("WRONGTYPE")),
        "{error}"
    );
    layer.close().await;
    assert!(matches!(layer.ping().await, Err(LayerError::Closed)));
}

async fn a_script_that_the_server_has_forgotten_is_sent_again(redis: Server) {
    let layer = layer(&redis.url());
    send(&layer, "c", 0..1).await;
    redis.cli(&["script", "flush"]);
    send(&layer, "c", 1..2).await;
    assert_eq!(layer.depth(&channel("c")).await.unwrap(), Some(2));
}
