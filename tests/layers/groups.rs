//! Tests of groups: Rust and Python see the same groups, whichever of them made them.

use serde_json::json;

use crate::pair::{Ground, Pair, event, group, name, own_name};

tests! {
    each ground:
        rust_sends_to_pythons_group,
        python_sends_to_rusts_group,
        a_full_channel_of_a_group_is_passed_over,
        a_group_is_sealed_as_a_message_is;
    servers:
}

async fn rust_sends_to_pythons_group(ground: Ground) {
    for hosts in [1, 3] {
        if hosts > 1 && ground == Ground::Embedded {
            continue;
        }
        let mut pair = Pair::new(ground, hosts, json!({})).await;
        let mut channels = Vec::new();
        for _ in 0..3 {
            channels.push(pair.python.call("new_channel", []).await);
        }
        pair.python
            .call(
                "group_add",
                std::iter::once(json!("ops")).chain(channels.clone()),
            )
            .await;
        pair.rust
            .group_send(&group("ops"), &event(&json!({"type": "told", "n": 1})))
            .await
            .unwrap();
        for channel in &channels {
            let received = pair.python.call("receive", [channel.clone()]).await;
            assert_eq!(
                received,
                json!({"type": "told", "n": 1}),
                "{ground:?}, {hosts} hosts"
            );
        }
        // Rust removes one channel. The others still get messages, and the removed one gets none.
        let (left, rest) = channels.split_last().unwrap();
        pair.rust
            .group_discard(&group("ops"), &name(left.as_str().unwrap()))
            .await
            .unwrap();
        pair.rust
            .group_send(&group("ops"), &event(&json!({"type": "told", "n": 2})))
            .await
            .unwrap();
        for channel in rest {
            assert_eq!(
                pair.python.call("receive", [channel.clone()]).await["n"],
                json!(2),
                "{ground:?}, {hosts} hosts"
            );
        }
        pair.send(left.as_str().unwrap(), &[json!({"n": "sentinel"})])
            .await;
        assert_eq!(
            pair.python.call("receive", [left.clone()]).await,
            json!({"n": "sentinel"}),
            "{ground:?}, {hosts} hosts"
        );
    }
}

async fn python_sends_to_rusts_group(ground: Ground) {
    for hosts in [1, 3] {
        if hosts > 1 && ground == Ground::Embedded {
            continue;
        }
        let mut pair = Pair::new(ground, hosts, json!({})).await;
        let local = own_name();
        let general = name("slack.send");
        for channel in [&local, &general] {
            pair.rust.group_add(&group("ops"), channel).await.unwrap();
        }
        let (own, queue) = (
            pair.reader(local.as_str()).await,
            pair.reader("slack.send").await,
        );
        pair.python
            .call("group_send", [json!("ops"), json!({"type": "told"})])
            .await;
        assert_eq!(
            own.next().await,
            json!({"type": "told"}),
            "{ground:?}, {hosts} hosts"
        );
        assert_eq!(
            queue.next().await,
            json!({"type": "told"}),
            "{ground:?}, {hosts} hosts"
        );
        pair.python
            .call("group_discard", [json!("ops"), json!("slack.send")])
            .await;
        pair.python
            .call("group_send", [json!("ops"), json!({"type": "told again"})])
            .await;
        assert_eq!(
            own.next().await,
            json!({"type": "told again"}),
            "{ground:?}, {hosts} hosts"
        );
        assert_eq!(
            pair.rust.depth(&general).await.unwrap(),
            Some(0),
            "{ground:?}, {hosts} hosts"
        );
    }
}

async fn a_full_channel_of_a_group_is_passed_over(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"capacity": 2})).await;
    pair.python
        .call("group_add", [json!("ops"), json!("full"), json!("free")])
        .await;
    pair.python_sends("full", &[json!({"n": 1}), json!({"n": 2})])
        .await;
    pair.rust
        .group_send(&group("ops"), &event(&json!({"n": 3})))
        .await
        .unwrap();
    assert_eq!(
        pair.python_receives("free").await,
        json!({"n": 3}),
        "{ground:?}"
    );
    assert_eq!(
        pair.rust.depth(&name("full")).await.unwrap(),
        Some(2),
        "{ground:?}"
    );
    let received = pair
        .python
        .call("receive_many", [json!("full"), json!(2)])
        .await;
    assert_eq!(received, json!([{"n": 1}, {"n": 2}]), "{ground:?}");
}

async fn a_group_is_sealed_as_a_message_is(ground: Ground) {
    let options = json!({"symmetric_encryption_keys": ["a key"], "serializer_format": "json"});
    let mut pair = Pair::new(ground, 1, options).await;
    pair.rust
        .group_add(&group("ops"), &name("a"))
        .await
        .unwrap();
    pair.rust
        .group_send(&group("ops"), &event(&json!({"n": 1})))
        .await
        .unwrap();
    assert_eq!(
        pair.python_receives("a").await,
        json!({"n": 1}),
        "{ground:?}"
    );
    pair.python
        .call("group_send", [json!("ops"), json!({"n": 2})])
        .await;
    assert_eq!(
        pair.reader("a").await.next().await,
        json!({"n": 2}),
        "{ground:?}"
    );
}
