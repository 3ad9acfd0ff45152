//! The layer of Channels 1, with asgi_redis itself at the other end.

use std::sync::Arc;

use djangobot_channels::{ChannelLayer, LayerConfig, open};
use serde_json::{Value, json};

use crate::pair::{Ground, Reader, Servers, name, send};
use crate::peer::Peer;

const ASGI_REDIS: &str = "asgi_redis.RedisChannelLayer";

tests! {
    each ground:;
    servers: each_side_receives_the_messages_of_the_other, both_see_the_same_channel_as_full
}

async fn start(servers: &Servers, options: Value) -> (Arc<dyn ChannelLayer>, Peer) {
    let mut config = options;
    config["hosts"] = servers.urls().into();
    let rust = open(LayerConfig::from_settings(ASGI_REDIS, &config).unwrap()).unwrap();
    (rust, Peer::channels1(&config).await)
}

async fn each_side_receives_the_messages_of_the_other(ground: Ground) {
    for options in [
        json!({}),
        json!({"symmetric_encryption_keys": ["a key"]}),
        json!({"prefix": "mine:"}),
    ] {
        let servers = Servers::start(ground, 1).await;
        let (rust, mut python) = start(&servers, options.clone()).await;
        let reader = Reader::open(&rust, "slack.send", "tests").await;
        for n in 0..5 {
            let message =
                json!({"text": "h\u{e9}", "n": n, "nested": [null, true, 0.5, {"k": -1}]});
            assert_eq!(
                send(&*rust, "slack.message", std::slice::from_ref(&message)).await,
                1
            );
            assert_eq!(
                python.call("receive", [json!("slack.message")]).await,
                message,
                "{options}"
            );
            python
                .call("send", [json!("slack.send"), message.clone()])
                .await;
            assert_eq!(reader.next().await, message, "{options}");
        }
    }
}

async fn both_see_the_same_channel_as_full(ground: Ground) {
    let servers = Servers::start(ground, 1).await;
    let (rust, mut python) = start(&servers, json!({"capacity": 2})).await;
    let message = json!({"n": 1});
    assert_eq!(
        send(
            &*rust,
            "a",
            &[message.clone(), message.clone(), message.clone()]
        )
        .await,
        2
    );
    assert!(
        python
            .raises("send", [json!("a"), message.clone()])
            .await
            .contains("Full")
    );
    python.call("receive", [json!("a")]).await;
    python.call("send", [json!("a"), message.clone()]).await;
    assert_eq!(rust.depth(&name("a")).await.unwrap(), Some(2));
    assert_eq!(send(&*rust, "a", &[message]).await, 0);
}
