//! Readers lose nothing and give each message out once, however they end and whatever becomes of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails panics"
)]

#[macro_use]
mod support;

use std::time::Duration;

use djangobot_channels::LayerError;
use djangobot_tests::{Redis, eventually};
use support::*;

on_each_server! {
    messages_come_in_order_and_nothing_is_left_behind,
    a_waiting_reader_is_woken_by_the_server_and_not_by_the_clock,
    a_cancelled_next_loses_nothing,
    messages_of_a_killed_reader_come_again_to_its_id_at_once,
    messages_of_a_killed_reader_go_to_another_when_its_lease_runs_out,
    a_slow_reader_keeps_its_lease,
    a_reader_that_was_suspended_goes_on_in_order_where_nobody_took_over,
    a_reader_that_was_suspended_does_not_deliver_messages_that_another_finished,
    a_message_that_is_finished_while_the_reader_closes_does_not_come_again,
    closing_gives_unfinished_messages_back_in_their_order,
    a_message_that_is_given_back_after_its_expiry_is_not_dropped_by_the_next_send,
    two_readers_share_a_queue_and_no_message_goes_to_both,
    messages_that_python_has_in_flight_are_left_alone,
}

const SHORT_LEASE: Duration = Duration::from_millis(600);

async fn messages_come_in_order_and_nothing_is_left_behind(redis: Server) {
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    for hundred in 0..5 {
        send(&layer, "c", hundred * 100..(hundred + 1) * 100).await;
        assert!(
            drain(&layer, &receiver, 100)
                .await
                .into_iter()
                .eq(hundred * 100..(hundred + 1) * 100)
        );
    }
    receiver.close().await.unwrap();
    assert!(matches!(receiver.next().await, Err(LayerError::Closed)));
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

async fn a_waiting_reader_is_woken_by_the_server_and_not_by_the_clock(redis: Server) {
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    // Looking once a second, 30 messages one after the other would take half a minute at best.
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

async fn a_cancelled_next_loses_nothing(redis: Server) {
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let sender = layer.clone();
    let sending = tokio::spawn(async move {
        for n in 0..50 {
            send(&sender, "c", n..n + 1).await;
        }
    });
    let mut numbers = Vec::new();
    while numbers.len() < 50 {
        // Most of these give up before a message comes.
        if let Ok(delivery) =
            tokio::time::timeout(Duration::from_micros(200), receiver.next()).await
        {
            let delivery = delivery.unwrap();
            numbers.push(number(&layer, &delivery));
            receiver.done(&delivery).await.unwrap();
        }
    }
    sending.await.unwrap();
    assert!(numbers.into_iter().eq(0..50));
}

async fn messages_of_a_killed_reader_come_again_to_its_id_at_once(redis: Server) {
    let first = layer(&redis.url());
    send(&first, "c", 0..40).await;
    let receiver = first.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(drain(&first, &receiver, 3).await, [0, 1, 2]);
    let unfinished = next(&receiver).await;
    assert_eq!(
        (number(&first, &unfinished), unfinished.redelivered),
        (3, false)
    );
    // The server hears nothing of the end, as after a SIGKILL.
    drop((receiver, first));
    let second = layer(&redis.url());
    let receiver = second.receiver(&channel("c"), &id("r")).await.unwrap();
    let again = next(&receiver).await;
    assert_eq!((number(&second, &again), again.redelivered), (3, true));
    receiver.done(&again).await.unwrap();
    assert!(drain(&second, &receiver, 36).await.into_iter().eq(4..40));
    assert!(is_empty(&second, &receiver, "c").await);
}

async fn messages_of_a_killed_reader_go_to_another_when_its_lease_runs_out(redis: Server) {
    let killed = layer_with(&[&redis.url()], |config| config.lease = SHORT_LEASE);
    send(&killed, "c", 0..5).await;
    let receiver = killed.receiver(&channel("c"), &id("killed")).await.unwrap();
    assert_eq!(number(&killed, &next(&receiver).await), 0);
    drop((receiver, killed));
    let heir = layer_with(&[&redis.url()], |config| config.lease = SHORT_LEASE);
    let receiver = heir.receiver(&channel("c"), &id("heir")).await.unwrap();
    let first = next(&receiver).await;
    assert_eq!((number(&heir, &first), first.redelivered), (0, true));
    receiver.done(&first).await.unwrap();
    assert_eq!(drain(&heir, &receiver, 4).await, [1, 2, 3, 4]);
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

async fn a_slow_reader_keeps_its_lease(redis: Server) {
    let layer = layer_with(&[&redis.url()], |config| config.lease = SHORT_LEASE);
    let slow = layer.receiver(&channel("c"), &id("slow")).await.unwrap();
    send(&layer, "c", 0..1).await;
    let held = next(&slow).await;
    let other = layer.receiver(&channel("c"), &id("other")).await.unwrap();
    assert!(
        tokio::time::timeout(SHORT_LEASE * 3, other.next())
            .await
            .is_err(),
        "it belongs to the slow one"
    );
    slow.done(&held).await.unwrap();
}

async fn a_reader_that_was_suspended_goes_on_in_order_where_nobody_took_over(redis: Server) {
    let layer = layer_with(&[&redis.url()], |config| config.lease = SHORT_LEASE);
    send(&layer, "c", 0..40).await;
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    for (from, to) in [(0, 1), (1, 2), (2, 20), (20, 21)] {
        let numbers = drain(&layer, &receiver, to - from).await;
        assert!(numbers.into_iter().eq(from..to));
        // This thread runs all of the reader.
        std::thread::sleep(SHORT_LEASE * 2);
    }
    assert!(drain(&layer, &receiver, 19).await.into_iter().eq(21..40));
    assert!(is_empty(&layer, &receiver, "c").await);
}

async fn a_reader_that_was_suspended_does_not_deliver_messages_that_another_finished(
    redis: Server,
) {
    let lease = |config: &mut djangobot_channels::config::RedisConfig| config.lease = SHORT_LEASE;
    let layer = layer_with(&[&redis.url()], lease);
    send(&layer, "c", 0..5).await;
    let suspended = layer.receiver(&channel("c"), &id("a")).await.unwrap();
    let held = next(&suspended).await;
    assert_eq!(number(&layer, &held), 0);
    let url = redis.url();
    // This thread runs all of the first reader, and waits here: to the others it is gone.
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let layer = layer_with(&[&url], lease);
            let heir = layer.receiver(&channel("c"), &id("b")).await.unwrap();
            let numbers = drain(&layer, &heir, 5).await;
            heir.close().await.unwrap();
            numbers
        })
    });
    assert_eq!(other.join().unwrap(), [0, 1, 2, 3, 4]);
    suspended.done(&held).await.unwrap();
    assert!(is_empty(&layer, &suspended, "c").await);
    // Messages that it takes from now on are its own again.
    send(&layer, "c", 5..45).await;
    assert!(drain(&layer, &suspended, 40).await.into_iter().eq(5..45));
}

async fn a_message_that_is_finished_while_the_reader_closes_does_not_come_again(redis: Server) {
    let layer = layer(&redis.url());
    send(&layer, "c", 0..2).await;
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let held = next(&receiver).await;
    let (closed, done) = tokio::join!(biased; receiver.close(), receiver.done(&held));
    closed.unwrap();
    assert!(matches!(done, Err(LayerError::Closed)), "{done:?}");
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(drain(&layer, &receiver, 1).await, [1]);
}

async fn closing_gives_unfinished_messages_back_in_their_order(redis: Server) {
    let layer = layer(&redis.url());
    send(&layer, "c", 0..30).await;
    let receiver = layer.receiver(&channel("c"), &id("a")).await.unwrap();
    let (zero, one) = (next(&receiver).await, next(&receiver).await);
    receiver.done(&one).await.unwrap();
    receiver.close().await.unwrap();
    assert_eq!(layer.depth(&channel("c")).await.unwrap(), Some(29));
    let receiver = layer.receiver(&channel("c"), &id("b")).await.unwrap();
    let first = next(&receiver).await;
    assert_eq!((&first.member, first.redelivered), (&zero.member, true));
    receiver.done(&first).await.unwrap();
    let second = next(&receiver).await;
    assert_eq!((number(&layer, &second), second.redelivered), (2, false));
    receiver.done(&second).await.unwrap();
    assert!(drain(&layer, &receiver, 27).await.into_iter().eq(3..30));
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

async fn a_message_that_is_given_back_after_its_expiry_is_not_dropped_by_the_next_send(
    redis: Server,
) {
    let layer = layer(&redis.url());
    let old = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
        - 300;
    redis.cli(&["zadd", "asgic", &old.to_string(), "123456789012\u{1}"]);
    let receiver = layer.receiver(&channel("c"), &id("a")).await.unwrap();
    let taken = next(&receiver).await;
    receiver.close().await.unwrap();
    send(&layer, "c", 0..1).await;
    let receiver = layer.receiver(&channel("c"), &id("b")).await.unwrap();
    let again = next(&receiver).await;
    assert_eq!((&again.member, again.redelivered), (&taken.member, true));
}

async fn two_readers_share_a_queue_and_no_message_goes_to_both(redis: Server) {
    let layer = layer_with(&[&redis.url()], |config| {
        config.capacities = djangobot_channels::capacity::Capacities::new(10_000)
    });
    send(&layer, "c", 0..2000).await;
    let one = layer.receiver(&channel("c"), &id("one")).await.unwrap();
    let two = layer.receiver(&channel("c"), &id("two")).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 2000 {
        let (receiver, delivery) = tokio::select! {
            delivery = one.next() => (&one, delivery.unwrap()),
            delivery = two.next() => (&two, delivery.unwrap()),
        };
        numbers.push(number(&layer, &delivery));
        receiver.done(&delivery).await.unwrap();
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2000));
}

async fn messages_that_python_has_in_flight_are_left_alone(redis: Server) {
    let layer = layer(&redis.url());
    redis.cli(&["zadd", "asgic$inflight", "5", "123456789012x"]);
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert!(is_empty(&layer, &receiver, "c").await);
    assert_eq!(redis.cli(&["zcard", "asgic$inflight"]), "1");
}

#[tokio::test]
async fn a_server_restarted_in_mid_stream_is_read_on() {
    let mut redis = Redis::with_args(&["--appendonly", "yes", "--appendfsync", "always"]);
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    send(&layer, "c", 0..40).await;
    let mut numbers = drain(&layer, &receiver, 10).await;
    let held = next(&receiver).await;
    redis.stop();
    // The server can't be told now. It is told when it is back.
    assert!(receiver.done(&held).await.is_err());
    redis.restart();
    numbers.push(number(&layer, &held));
    for _ in 0..29 {
        let delivery = next(&receiver).await;
        numbers.push(number(&layer, &delivery));
        drop(receiver.done(&delivery).await);
    }
    assert!(numbers.into_iter().eq(0..40));
    assert!(is_empty(&layer, &receiver, "c").await);
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_may_start_before_its_server() {
    let mut redis = Redis::start();
    redis.stop();
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert!(receiver.next().await.unwrap_err().is_temporary());
    redis.restart();
    send(&layer, "c", 0..1).await;
    assert_eq!(drain(&layer, &receiver, 1).await, [0]);
}

#[tokio::test]
async fn readers_and_senders_survive_killed_connections() {
    let redis = Redis::start();
    let layer = layer(&redis.url());
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    let mut numbers = Vec::new();
    for round in 0..5 {
        let to = channel("c");
        let members = numbered(&layer, &to, round * 20..(round + 1) * 20);
        redis.cli(&["client", "kill", "type", "normal"]);
        eventually("the members are sent", async || {
            layer.send(&to, &members).await.ok()
        })
        .await;
        for _ in 0..20 {
            let delivery = next(&receiver).await;
            numbers.push(number(&layer, &delivery));
            drop(receiver.done(&delivery).await);
        }
    }
    assert!(numbers.into_iter().eq(0..100));
    assert!(is_empty(&layer, &receiver, "c").await);
    receiver.close().await.unwrap();
    assert_eq!(keys(redis.port()), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_without_tracking_or_resp3_is_looked_at_often() {
    for without in ["-client|tracking", "-hello"] {
        let redis = Redis::start();
        redis.cli(&["acl", "setuser", "default", without]);
        let layer = layer(&redis.url());
        let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
        for n in 0..5 {
            send(&layer, "c", n..n + 1).await;
            assert_eq!(drain(&layer, &receiver, 1).await, [n]);
        }
    }
}

#[tokio::test]
async fn reading_goes_on_when_the_servers_memory_is_full() {
    for scheme in ["redis", "asgi-redis"] {
        let redis = Redis::start();
        let url = redis.url().replace("redis", scheme);
        let sender = layer(&url);
        send(&sender, "c", 0..4).await;
        redis.cli(&["config", "set", "maxmemory", "1"]);
        let receiver = sender.receiver(&channel("c"), &id("r")).await.unwrap();
        assert_eq!(drain(&sender, &receiver, 2).await, [0, 1]);
        assert_eq!(number(&sender, &next(&receiver).await), 2);
        receiver.close().await.unwrap();
        assert_eq!(sender.depth(&channel("c")).await.unwrap(), Some(2));
        let receiver = sender.receiver(&channel("c"), &id("r")).await.unwrap();
        assert_eq!(drain(&sender, &receiver, 2).await, [2, 3], "{scheme}");
    }
}
