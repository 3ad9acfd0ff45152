//! Tests of the pub/sub layer: a message reaches only those who listen at that moment.

use djangobot_channels::{LayerConfig, open};
use djangobot_tests::eventually;
use serde_json::{Value, json};

use crate::pair::{Ground, Reader, Servers, event, group, name, own_name};
use crate::peer::Peer;

const PUBSUB: &str = "channels_redis.pubsub.RedisPubSubChannelLayer";

tests! {
    each ground:;
    servers: both_reach_each_other_and_each_others_groups
}

async fn check(ground: Ground, hosts: usize, options: Value) {
    let servers = Servers::start(ground, hosts).await;
    let config = servers.config(&options);
    let rust = open(LayerConfig::from_settings(PUBSUB, &config).unwrap()).unwrap();
    let mut python = Peer::start(PUBSUB, &config).await;
    let message = json!({"type": "slack.message", "text": "h\u{e9}", "n": [1, null, 0.5]});

    let channel = python.call("new_channel", []).await;
    let to_python = name(channel.as_str().unwrap());
    // The subscription is still on its way. A message that is published before it arrives is lost, and the report says
    // that nobody received it.
    eventually("Python listens", async || {
        let member = rust.encode(&to_python, &event(&message));
        let sent = rust.send(&to_python, &[member]).await.unwrap();
        (sent.receivers == Some(1)).then_some(())
    })
    .await;
    assert_eq!(
        python.call("receive", [channel.clone()]).await,
        message,
        "{ground:?}, {options}"
    );

    let to_rust = own_name();
    let reader = Reader::open(&rust, to_rust.as_str(), "tests").await;
    python
        .call("send", [json!(to_rust.as_str()), message.clone()])
        .await;
    assert_eq!(reader.next().await, message, "{ground:?}, {options}");

    python
        .call("group_add", [json!("ops"), channel.clone()])
        .await;
    let told = json!({"type": "told"});
    rust.group_send(&group("ops"), &event(&told)).await.unwrap();
    assert_eq!(
        python.call("receive", [channel]).await,
        told,
        "{ground:?}, {options}"
    );

    let nobody = name("nobody.listens");
    let sent = rust
        .send(&nobody, &[rust.encode(&nobody, &event(&told))])
        .await
        .unwrap();
    assert_eq!(sent.receivers, Some(0), "{ground:?}, {options}");
    reader.close().await;
}

async fn both_reach_each_other_and_each_others_groups(ground: Ground) {
    check(ground, 1, json!({})).await;
    check(ground, 1, json!({"symmetric_encryption_keys": ["a key"]})).await;
    check(
        ground,
        1,
        json!({"serializer_format": "json", "prefix": "mine"}),
    )
    .await;
    check(ground, 3, json!({})).await;
}
