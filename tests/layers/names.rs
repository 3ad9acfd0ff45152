//! Tests of channels that only one process reads, and of valid and invalid names.

use djangobot_channels::ChannelName;
use serde_json::json;

use crate::pair::{Ground, Pair, own_name};

tests! {
    each ground:
        python_answers_on_rusts_own_channel,
        rust_answers_on_pythons_own_channel_on_whichever_shard_it_is;
    servers:
        python_answers_on_rusts_own_channel_over_shards
}

async fn python_answers_on_rusts_own_channel(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({})).await;
    let (mine, other) = (own_name(), own_name());
    assert!(mine.is_process_local());
    let (reader, others) = (
        pair.reader(mine.as_str()).await,
        pair.reader(other.as_str()).await,
    );
    for n in 0..3 {
        pair.python_sends(mine.as_str(), &[json!({"type": "slack.sent", "n": n})])
            .await;
        pair.python_sends(other.as_str(), &[json!({"type": "slack.failed", "n": n})])
            .await;
    }
    for n in 0..3 {
        // The key that the layer adds for its own use (__asgi_channel__) has been removed.
        assert_eq!(
            reader.next().await,
            json!({"type": "slack.sent", "n": n}),
            "{ground:?}"
        );
        assert_eq!(
            others.next().await,
            json!({"type": "slack.failed", "n": n}),
            "{ground:?}"
        );
    }
}

async fn rust_answers_on_pythons_own_channel_on_whichever_shard_it_is(ground: Ground) {
    for hosts in [1, 3, 10] {
        if hosts > 1 && ground == Ground::Embedded || hosts > 3 && ground == Ground::Redis {
            continue;
        }
        let mut pair = Pair::new(ground, hosts, json!({})).await;
        for n in 0..10 {
            let channel = pair.python.call("new_channel", []).await;
            let channel = channel.as_str().unwrap();
            assert_eq!(
                pair.send(channel, &[json!({"type": "slack.sent", "n": n})])
                    .await,
                1
            );
            assert_eq!(
                pair.python_receives(channel).await,
                json!({"type": "slack.sent", "n": n}),
                "{ground:?}, {hosts} hosts"
            );
        }
    }
}

async fn python_answers_on_rusts_own_channel_over_shards(ground: Ground) {
    let mut pair = Pair::new(ground, 3, json!({})).await;
    for n in 0..10 {
        // channels_redis chooses the shard by the whole name here, but its readers use the part up to "!".
        let channel = own_name();
        let reader = pair.reader(channel.as_str()).await;
        pair.python_sends(channel.as_str(), &[json!({"n": n})])
            .await;
        assert_eq!(reader.next().await, json!({"n": n}), "{ground:?}");
        reader.close().await;
    }
}

// The one difference is a line end after a name, which Python's `$` accepts.
#[tokio::test]
async fn both_take_and_refuse_the_same_names() {
    let mut pair = Pair::new(Ground::Embedded, 1, json!({})).await;
    let long = |length: usize| "x".repeat(length);
    let names = [
        "slack.message",
        "a",
        "A-b_c.9",
        "specific.a!b",
        "x!",
        "x!y.z-_",
        "",
        "!x",
        "a b",
        "a/b",
        "a:b",
        "a!b!c",
        "a,b",
        "#general",
        "@user",
        "a%b",
        "\u{e9}",
        &long(99),
        &long(100),
        &long(300),
    ];
    let python = pair.python.call("valid_names", [json!(names)]).await;
    let rust: Vec<_> = names
        .into_iter()
        .filter(|name| name.parse::<ChannelName>().is_ok())
        .collect();
    assert_eq!(json!(rust), python);
}
