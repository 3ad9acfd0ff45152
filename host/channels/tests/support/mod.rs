//! Shared parts of this crate's tests: layers on servers of their own, and short helpers.

#![allow(dead_code, unused_macros, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::config::RedisConfig;
use djangobot_channels::{
    ChannelLayer, ChannelName, Delivery, EmbeddedServer, LayerConfig, Member, Receiver, ReceiverId,
    open,
};
use djangobot_event::Event;
use djangobot_tests::{Redis, eventually, redis_cli};
use tokio::sync::oneshot;

/// Makes tests of functions that take a [`Server`]: on Redis and on the embedded server.
macro_rules! on_each_server {
    ($($name:ident),* $(,)?) => {
        mod on_redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Server::redis()).await;
            })*
        }
        mod on_the_embedded_server {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Server::embedded()).await;
            })*
        }
    };
}

/// A server that layers reach by a URL.
pub(crate) enum Server {
    Redis(Redis),
    Embedded(Embedded),
}

/// An embedded server on a thread of its own, so that the test may block.
pub(crate) struct Embedded {
    port: u16,
    end: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Server {
    pub(crate) fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    pub(crate) fn embedded() -> Self {
        let (tell, port) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let server = EmbeddedServer::bind(([127, 0, 0, 1], 0).into())
                    .await
                    .unwrap();
                tell.send(server.addr().port()).unwrap();
                // Dropping the other end ends it as well.
                drop(ended.await);
                server.shutdown().await;
            });
        });
        Self::Embedded(Embedded {
            port: port.recv().unwrap(),
            end: Some((end, thread)),
        })
    }

    /// One more of the same kind.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Redis(_) => Self::redis(),
            Self::Embedded(_) => Self::embedded(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Redis(redis) => redis.port(),
            Self::Embedded(embedded) => embedded.port,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The output of `redis-cli`.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        redis_cli(self.port(), arguments)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.end.take() {
            drop(end);
            thread.join().unwrap();
        }
    }
}

/// A master and its replica, watched by a Sentinel under the name `main`.
pub(crate) struct Replicated {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: Redis,
    _folder: tempfile::TempDir,
}

impl Replicated {
    pub(crate) async fn start() -> Self {
        let master = Redis::start();
        let replica = Redis::with_args(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        eventually("the replica is in step", async || {
            replica
                .cli(&["info", "replication"])
                .contains("master_link_status:up")
                .then_some(())
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            master.port()
        );
        std::fs::write(&config, text).unwrap();
        let sentinel = Redis::with_args(&[config.to_str().unwrap(), "--sentinel"]);
        eventually("the Sentinel knows the replica", async || {
            sentinel
                .cli(&["sentinel", "replicas", "main"])
                .contains(&replica.port().to_string())
                .then_some(())
        })
        .await;
        Self {
            master,
            replica,
            sentinel,
            _folder: folder,
        }
    }

    /// A layer whose first Sentinel is away.
    pub(crate) fn layer(&self, backend: &str) -> Layer {
        let hosts = serde_json::json!([{"sentinels": [["127.0.0.1", 1], ["127.0.0.1", self.sentinel.port()]], "master_name": "main"}]);
        layer_of(backend, serde_json::json!({ "hosts": hosts }))
    }
}

pub(crate) type Layer = Arc<dyn ChannelLayer>;

/// The layer of a URL.
pub(crate) fn layer(url: &str) -> Layer {
    layer_with(&[url], |_| {})
}

/// The layer of some URLs, its settings changed.
pub(crate) fn layer_with(urls: &[&str], change: impl FnOnce(&mut RedisConfig)) -> Layer {
    let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
    let mut config = LayerConfig::from_urls(&urls).unwrap();
    match &mut config {
        LayerConfig::Redis(config)
        | LayerConfig::PubSub(config)
        | LayerConfig::AsgiRedis(config) => change(config),
        LayerConfig::Embedded(_) => panic!("these tests are about Redis"),
    }
    open(config).unwrap()
}

/// The layer that Django's settings describe.
pub(crate) fn layer_of(backend: &str, config: serde_json::Value) -> Layer {
    open(LayerConfig::from_settings(backend, &config).unwrap()).unwrap()
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// A name that only one process reads, as Channels makes them.
pub(crate) fn local_channel() -> ChannelName {
    let hex = || uuid::Uuid::new_v4().simple();
    channel(&format!("specific.{}!{}", hex(), hex()))
}

pub(crate) fn id(name: &str) -> ReceiverId {
    ReceiverId(name.into())
}

/// `{"n": n}` for a channel, sealed.
pub(crate) fn numbered(
    layer: &Layer,
    to: &ChannelName,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Member> {
    numbers
        .into_iter()
        .map(|n| layer.encode(to, &Event::parse(format!(r#"{{"n":{n}}}"#)).unwrap()))
        .collect()
}

/// Sends numbered messages, all of which must be accepted.
pub(crate) async fn send(layer: &Layer, to: &str, numbers: std::ops::Range<usize>) {
    let to = channel(to);
    let count = numbers.len();
    let members = numbered(layer, &to, numbers);
    assert_eq!(layer.send(&to, &members).await.unwrap().accepted, count);
}

/// The number in a delivery.
pub(crate) fn number(layer: &Layer, delivery: &Delivery) -> usize {
    let message = layer.decode(delivery.payload.as_ref().unwrap()).unwrap();
    usize::try_from(message.get("/n").unwrap().as_i64().unwrap()).unwrap()
}

/// The next message, or a panic when none comes. Failures on the way are waited out.
pub(crate) async fn next(receiver: &Arc<dyn Receiver>) -> Delivery {
    let wait = async {
        loop {
            match receiver.next().await {
                Ok(delivery) => return delivery,
                Err(error) if error.is_temporary() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("a message comes")
}

/// Takes and finishes `count` messages; gives their numbers.
pub(crate) async fn drain(layer: &Layer, receiver: &Arc<dyn Receiver>, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let delivery = next(receiver).await;
        numbers.push(number(layer, &delivery));
        receiver.done(&delivery).await.unwrap();
    }
    numbers
}

/// Whether nothing more comes: a last message sent behind all else is the next to arrive.
pub(crate) async fn is_empty(layer: &Layer, receiver: &Arc<dyn Receiver>, on: &str) -> bool {
    send(layer, on, 999_999..1_000_000).await;
    drain(layer, receiver, 1).await == [999_999]
}

/// The keys of the server on `port`, sorted.
pub(crate) fn keys(port: u16) -> Vec<String> {
    let mut keys: Vec<String> = redis_cli(port, &["keys", "*"])
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys
}
