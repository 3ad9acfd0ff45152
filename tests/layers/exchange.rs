//! The cross product: Rust sends and Python receives, and the reverse, over serializers, keys, hosts and versions.

use std::path::PathBuf;

use djangobot_tests::{python, python_redis7};
use serde_json::{Value, json};

use crate::pair::{CORE, Ground, Pair, Reader, Servers, send};
use crate::peer::Peer;

/// Messages with every kind of value that both serializers support.
fn messages() -> Vec<Value> {
    let deep = (0..30).fold(json!("bottom"), |inner, _| json!({"in": [inner]}));
    let many: serde_json::Map<_, _> = (0..20).map(|n| (format!("key {n}"), json!(n))).collect();
    vec![
        json!({"type": "slack.message", "none": null, "yes": true, "no": false}),
        json!({"ints": [0, -1, 127, 128, -32, -33, -128, 255, 256, 65_535, 65_536, 4_294_967_296_u64, i64::MIN, i64::MAX, u64::MAX]}),
        json!({"floats": [0.0, 0.5, -1.25, 0.1, 1.0, 1e300, 5e-324, 1_355_517_523.000_005]}),
        json!({"empty": [{}, [], "", {"": ""}], "deep": deep}),
        json!({"text": "h\u{e9} \u{65e5}\u{672c}\u{8a9e} \u{1f600} \u{0} \u{7f} \u{2028} \" \\ / \n\r\t </script>", "\u{e9}\"\n": 1}),
        json!({"text": "x".repeat(100_000), "list": vec![1; 66_000], "many": many}),
    ]
}

/// A way to write payloads: its name, the sender's options, the receiver's.
fn ways() -> [(&'static str, Value, Value); 6] {
    let both = |name, options: Value| (name, options.clone(), options);
    [
        both("plain", json!({})),
        both("json", json!({"serializer_format": "json"})),
        both("encrypted", json!({"symmetric_encryption_keys": ["a key"]})),
        both(
            "encrypted json",
            json!({"symmetric_encryption_keys": ["a key"], "serializer_format": "json"}),
        ),
        (
            "receiver has rotated",
            json!({"symmetric_encryption_keys": ["old"]}),
            json!({"symmetric_encryption_keys": ["new", "old"]}),
        ),
        (
            "sender has rotated",
            json!({"symmetric_encryption_keys": ["new", "old"]}),
            json!({"symmetric_encryption_keys": ["old", "new"]}),
        ),
    ]
}

async fn check(ground: Ground, interpreter: PathBuf, hosts: usize) {
    let servers = Servers::start(ground, hosts).await;
    let mut python = Peer::on(interpreter, CORE, &servers.config(&json!({}))).await;
    for (way, sender, receiver) in ways() {
        // Each way has a prefix of its own, so that none reads messages that another left.
        let config = |options: &Value| {
            let mut config = servers.config(options);
            config["prefix"] = json!(way.replace(' ', "-"));
            config
        };
        let rust = servers.layer(ground, &config(&sender));
        python.open(CORE, &config(&receiver)).await;
        for message in messages() {
            assert_eq!(
                send(&*rust, "to.python", std::slice::from_ref(&message)).await,
                1
            );
            let received = python.call("receive", [json!("to.python")]).await;
            assert!(
                received == message,
                "{ground:?}, {way}, {hosts} hosts, to Python: {message}"
            );
        }
        let rust = servers.layer(ground, &config(&receiver));
        python.open(CORE, &config(&sender)).await;
        let reader = Reader::open(&rust, "to.rust", "tests").await;
        for message in messages() {
            python
                .call("send", [json!("to.rust"), message.clone()])
                .await;
            let received = reader.next().await;
            assert!(
                received == message,
                "{ground:?}, {way}, {hosts} hosts, to Rust: {message}"
            );
        }
        reader.close().await;
    }
}

#[tokio::test]
async fn on_one_redis() {
    check(Ground::Redis, python(), 1).await;
}

#[tokio::test]
async fn on_one_redis_with_redis_py_7() {
    check(Ground::Redis, python_redis7(), 1).await;
}

#[tokio::test]
async fn on_three_redis_shards() {
    check(Ground::Redis, python(), 3).await;
}

#[tokio::test]
async fn on_three_redis_shards_with_redis_py_7() {
    check(Ground::Redis, python_redis7(), 3).await;
}

#[tokio::test]
async fn on_one_embedded_server() {
    check(Ground::EmbeddedServer, python(), 1).await;
}

#[tokio::test]
async fn on_three_embedded_servers_with_redis_py_7() {
    check(Ground::EmbeddedServer, python_redis7(), 3).await;
}

#[tokio::test]
async fn on_the_embedded_layer() {
    check(Ground::Embedded, python(), 1).await;
}

#[tokio::test]
async fn on_the_embedded_layer_with_redis_py_7() {
    check(Ground::Embedded, python_redis7(), 1).await;
}

tests! {
    each ground:
        random_prefixes_of_all_lengths_agree,
        a_message_under_another_key_is_reported_and_the_next_one_is_served;
    servers:
}

async fn random_prefixes_of_all_lengths_agree(ground: Ground) {
    for length in [8, 12, 0, -1] {
        let mut pair = Pair::new(ground, 1, json!({"random_prefix_length": length})).await;
        let message = json!({"type": "slack.message", "prefix": length});
        pair.send("to.python", std::slice::from_ref(&message)).await;
        assert_eq!(pair.python_receives("to.python").await, message);
        pair.python_sends("to.rust", std::slice::from_ref(&message))
            .await;
        assert_eq!(pair.reader("to.rust").await.next().await, message);
    }
}

async fn a_message_under_another_key_is_reported_and_the_next_one_is_served(ground: Ground) {
    let mut pair = Pair::new(ground, 1, json!({"symmetric_encryption_keys": ["ours"]})).await;
    let reader = pair.reader("slack.send").await;
    let config = |key: &str| {
        pair.servers
            .config(&json!({"symmetric_encryption_keys": [key]}))
    };
    let (theirs, ours) = (config("theirs"), config("ours"));
    pair.python.open(CORE, &theirs).await;
    pair.python_sends("slack.send", &[json!({"text": "hidden"})])
        .await;
    let delivery = reader.delivery().await;
    assert!(
        delivery
            .payload
            .unwrap_err()
            .to_string()
            .contains("symmetric_encryption_keys")
    );
    pair.python.open(CORE, &ours).await;
    pair.python_sends("slack.send", &[json!({"text": "readable"})])
        .await;
    assert_eq!(reader.next().await, json!({"text": "readable"}));
}
