//! The behaviour that channels_redis's own tests require of a core layer, with Rust at one end and Python at the other.

use std::time::Duration;

use djangobot_tests::eventually;
use serde_json::{Value, json};

use crate::pair::{Ground, Pair, Reader, name};

tests! {
    each ground:
        messages_that_rust_sends_in_one_call_arrive_in_order,
        messages_that_python_sends_arrive_in_order,
        a_receiver_that_waits_is_woken,
        a_channel_takes_no_more_than_its_capacity_from_either,
        the_first_matching_pattern_gives_a_channels_capacity,
        a_cancelled_receive_of_python_loses_nothing,
        a_cancelled_receive_of_rust_loses_nothing,
        two_rust_readers_get_each_message_of_python_once,
        unread_messages_expire,
        a_send_drops_expired_messages_and_keeps_the_rest,
        each_send_renews_the_expiry_of_a_queue,
        rust_leaves_a_python_readers_unfinished_message_alone;
    servers:
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| json!({"type": "slack.message", "n": n}))
        .collect()
}

async fn messages_that_rust_sends_in_one_call_arrive_in_order(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    assert_eq!(pair.send("slack.message", &numbered(50)).await, 50);
    assert_eq!(pair.send("slack.message", &numbered(50)).await, 50);
    let received = pair
        .python
        .call("receive_many", [json!("slack.message"), json!(100)])
        .await;
    assert_eq!(
        received,
        Value::from([numbered(50), numbered(50)].concat()),
        "{ground:?}"
    );
}

async fn messages_that_python_sends_arrive_in_order(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    pair.python_sends("slack.send", &numbered(100)).await;
    let reader = pair.reader("slack.send").await;
    for message in numbered(100) {
        assert_eq!(reader.next().await, message, "{ground:?}");
    }
}

async fn a_receiver_that_waits_is_woken(ground: Ground) {
    for hosts in [1, 3] {
        if ground == Ground::Embedded && hosts > 1 {
            continue;
        }
        let mut pair = Pair::new(ground, hosts, json!({})).await;
        pair.python.ask("receive", [json!("to.python")]).await;
        pair.send("to.python", &[json!({"n": 1})]).await;
        assert_eq!(pair.python.answer().await, json!({"n": 1}), "{ground:?}");
        let reader = pair.reader("to.rust").await;
        let message = [json!({"n": 2})];
        let (received, ()) = tokio::join!(reader.next(), pair.python_sends("to.rust", &message));
        assert_eq!(received, json!({"n": 2}), "{ground:?}");
    }
}

async fn a_channel_takes_no_more_than_its_capacity_from_either(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"capacity": 3})).await;
    assert_eq!(pair.send("a", &numbered(2)).await, 2);
    assert_eq!(
        pair.send("a", &numbered(5)).await,
        1,
        "{ground:?}: room for one more"
    );
    assert!(
        pair.python
            .raises("send", [json!("a"), json!({})])
            .await
            .starts_with("ChannelFull")
    );
    pair.python_sends("b", &numbered(3)).await;
    assert_eq!(pair.send("b", &numbered(1)).await, 0, "{ground:?}");
    assert_eq!(pair.rust.depth(&name("b")).await.unwrap(), Some(3));
    pair.python_receives("b").await;
    assert_eq!(
        pair.send("b", &numbered(1)).await,
        1,
        "{ground:?}: there is room again"
    );
}

async fn the_first_matching_pattern_gives_a_channels_capacity(ground: Ground) {
    // The keys are in the order of their bytes, because JSON may sort them on the way.
    let capacities = json!({"[s]lack.m*": 2, "one": 1, "slack.*": 3});
    let mut pair = Pair::new(
        ground,
        1,
        json!({"channel_capacity": capacities, "capacity": 4}),
    )
    .await;
    for (channel, capacity) in [
        ("one", 1),
        ("slack.message", 2),
        ("slack.hello", 3),
        ("other", 4),
    ] {
        assert_eq!(
            pair.send(channel, &numbered(9)).await,
            capacity,
            "{ground:?}, {channel}"
        );
        assert!(
            pair.python
                .raises("send", [json!(channel), json!({})])
                .await
                .starts_with("ChannelFull")
        );
    }
}

async fn a_cancelled_receive_of_python_loses_nothing(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    for n in 0..5 {
        assert_eq!(
            pair.python
                .call("give_up_receiving", [json!("to.python"), json!(0.02)])
                .await,
            Value::Null
        );
        if ground == Ground::Redis {
            // A busy Redis may not have noticed yet that the connection is gone, and give it the next message. That
            // message is lost: channels_redis reads with BZPOPMIN, which keeps no copy.
            pair.python.call("forget_connections", []).await;
        }
        pair.send("to.python", &[json!({"n": n})]).await;
        assert_eq!(
            pair.python_receives("to.python").await,
            json!({"n": n}),
            "{ground:?}"
        );
    }
}

async fn a_cancelled_receive_of_rust_loses_nothing(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    let reader = pair.reader("to.rust").await;
    for message in numbered(20) {
        pair.python
            .ask("send", [json!("to.rust"), message.clone()])
            .await;
        // The wait is dropped many times, each time at another point of its work.
        let received = eventually("the message comes", async || {
            reader.next_within(Duration::from_micros(300)).await
        });
        assert_eq!(received.await, message, "{ground:?}");
        pair.python.answer().await;
    }
}

async fn two_rust_readers_get_each_message_of_python_once(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"capacity": 1000})).await;
    let one = Reader::open(&pair.rust, "slack.send", "one").await;
    let two = Reader::open(&pair.rust, "slack.send", "two").await;
    let receive = async {
        let mut seen = Vec::new();
        while seen.len() < 400 {
            let received = tokio::select! {
                received = one.delivery() => (&one, received),
                received = two.delivery() => (&two, received),
            };
            seen.push(received.0.finish(received.1).await["n"].as_u64().unwrap());
        }
        seen
    };
    let messages = numbered(400);
    let (mut seen, ()) = tokio::join!(receive, pair.python_sends("slack.send", &messages));
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>(), "{ground:?}");
    assert_eq!(pair.rust.depth(&name("slack.send")).await.unwrap(), Some(0));
}

async fn unread_messages_expire(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"expiry": 1})).await;
    pair.send("slack.message", &numbered(3)).await;
    eventually("the messages expire", async || {
        (pair.rust.depth(&name("slack.message")).await.unwrap() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(
        pair.redis(&["EXISTS", "asgislack.message"]).await,
        json!(0),
        "{ground:?}"
    );
    pair.send("slack.message", &[json!({"n": "new"})]).await;
    assert_eq!(
        pair.python_receives("slack.message").await,
        json!({"n": "new"}),
        "{ground:?}"
    );
}

async fn a_send_drops_expired_messages_and_keeps_the_rest(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"expiry": 60, "capacity": 2})).await;
    pair.python_sends("a", &[json!({"n": "young"})]).await;
    // A member whose score says that it expired long ago. Nobody may get it.
    pair.redis(&["ZADD", "asgia", "1000", "an old message"])
        .await;
    assert_eq!(
        pair.send("a", &numbered(1)).await,
        1,
        "{ground:?}: the old one takes no room"
    );
    assert_eq!(
        pair.python_receives("a").await,
        json!({"n": "young"}),
        "{ground:?}"
    );
    assert_eq!(
        pair.python_receives("a").await,
        numbered(1)[0],
        "{ground:?}"
    );
}

async fn each_send_renews_the_expiry_of_a_queue(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"expiry": 100})).await;
    pair.send("a", &numbered(1)).await;
    pair.redis(&["EXPIRE", "asgia", "5"]).await;
    pair.send("a", &numbered(1)).await;
    let left = pair.redis(&["TTL", "asgia"]).await.as_i64().unwrap();
    assert!((90..=100).contains(&left), "{ground:?}: {left} s");
}

async fn rust_leaves_a_python_readers_unfinished_message_alone(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    pair.send("a", &numbered(1)).await;
    // This is what a Python reader leaves behind if it dies between taking a message and finishing with it.
    pair.redis(&["ZADD", "asgia$inflight", "1000", "left behind"])
        .await;
    assert_eq!(
        pair.reader("a").await.next().await,
        numbered(1)[0],
        "{ground:?}"
    );
    assert_eq!(
        pair.redis(&["ZCARD", "asgia$inflight"]).await,
        json!(1),
        "{ground:?}"
    );
}

#[tokio::test]
async fn a_redis_that_is_restarted_is_found_again_by_both() {
    let mut pair = Pair::new(Ground::Redis, 1, json!({})).await;
    let reader = pair.reader("to.rust").await;
    pair.send("to.python", &numbered(1)).await;
    pair.python_receives("to.python").await;
    if let crate::pair::Servers::Redis(servers) = &mut pair.servers {
        servers[0].restart();
    }
    let channel = name("to.python");
    let member = pair
        .rust
        .encode(&channel, &crate::pair::event(&json!({"n": "after"})));
    eventually("Rust sends again", async || {
        let sent = tokio::time::timeout(
            Duration::from_secs(5),
            pair.rust.send(&channel, std::slice::from_ref(&member)),
        )
        .await;
        sent.ok()?.ok().filter(|sent| sent.accepted == 1)
    })
    .await;
    // Python's connections are from before the restart, and each raises an error once.
    let received = eventually("Python receives again", async || {
        pair.python.try_call("receive", [json!("to.python")]).await
    });
    assert_eq!(received.await, json!({"n": "after"}));
    eventually("Python sends again", async || {
        let message = json!({"n": "again"});
        pair.python
            .try_call("send", [json!("to.rust"), message])
            .await
    })
    .await;
    let received = eventually("Rust receives again", async || reader.try_next().await).await;
    assert_eq!(received, json!({"n": "again"}));
}
