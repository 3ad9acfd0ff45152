//! A Rust layer and a Python layer on the same servers, with the same settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use djangobot_channels::{
    ChannelLayer, ChannelName, Delivery, EmbeddedServer, GroupName, LayerConfig, LayerOptions,
    Receiver, ReceiverId, open,
};
use djangobot_event::Event;
use djangobot_tests::{DEADLINE, Redis, python};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::peer::Peer;

pub(crate) const CORE: &str = "channels_redis.core.RedisChannelLayer";

/// The kind of servers on which Rust and Python meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Real Redis servers.
    Redis,
    /// Embedded servers, to which both Rust and Python connect over sockets.
    EmbeddedServer,
    /// An embedded server in Rust's own process, to which only Python connects over a socket. There is one host.
    Embedded,
}

/// The servers of a test, which end with it.
pub(crate) enum Servers {
    Redis(Vec<Redis>),
    Embedded(Vec<EmbeddedServer>),
}

impl Servers {
    pub(crate) async fn start(ground: Ground, count: usize) -> Self {
        if ground == Ground::Redis {
            return Self::Redis((0..count).map(|_| Redis::start()).collect());
        }
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(
                EmbeddedServer::bind(([127, 0, 0, 1], 0).into())
                    .await
                    .unwrap(),
            );
        }
        Self::Embedded(servers)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        match self {
            Self::Redis(servers) => servers.iter().map(Redis::url).collect(),
            Self::Embedded(servers) => servers
                .iter()
                .map(|server| format!("redis://{}", server.addr()))
                .collect(),
        }
    }

    /// Adds these hosts to `options`, as a Django project writes them.
    pub(crate) fn config(&self, options: &Value) -> Value {
        let host = |url: &String| json!({"address": url, "socket_timeout": null});
        let mut config = options.clone();
        config["hosts"] = self.urls().iter().map(host).collect();
        config
    }

    /// Rust's layer.
    pub(crate) fn layer(&self, ground: Ground, config: &Value) -> Arc<dyn ChannelLayer> {
        let config = LayerConfig::from_settings(CORE, config).unwrap();
        match (ground, self, &config) {
            (Ground::Embedded, Self::Embedded(servers), LayerConfig::Redis(config)) => {
                Arc::new(servers[0].layer_with(LayerOptions::from(config)))
            }
            _ => open(config).unwrap(),
        }
    }
}

/// The two layers.
pub(crate) struct Pair {
    pub(crate) rust: Arc<dyn ChannelLayer>,
    pub(crate) python: Peer,
    pub(crate) servers: Servers,
}

impl Pair {
    /// Makes both with the same settings, on current Python libraries.
    pub(crate) async fn new(ground: Ground, hosts: usize, options: Value) -> Self {
        Self::on(python(), ground, hosts, &options).await
    }

    pub(crate) async fn on(
        interpreter: PathBuf,
        ground: Ground,
        hosts: usize,
        options: &Value,
    ) -> Self {
        let servers = Servers::start(ground, hosts).await;
        let config = servers.config(options);
        let python = Peer::on(interpreter, CORE, &config).await;
        Self {
            rust: servers.layer(ground, &config),
            python,
            servers,
        }
    }

    /// Sends from Rust, and returns how many messages the layer accepted.
    pub(crate) async fn send(&self, channel: &str, messages: &[Value]) -> usize {
        send(&*self.rust, channel, messages).await
    }

    /// Sends from Python.
    pub(crate) async fn python_sends(&mut self, channel: &str, messages: &[Value]) {
        let arguments = std::iter::once(json!(channel)).chain(messages.iter().cloned());
        self.python.call("send", arguments).await;
    }

    /// The next message that Python receives.
    pub(crate) async fn python_receives(&mut self, channel: &str) -> Value {
        self.python.call("receive", [json!(channel)]).await
    }

    /// Rust's reader of `channel`.
    pub(crate) async fn reader(&self, channel: &str) -> Reader {
        Reader::open(&self.rust, channel, "tests").await
    }

    /// The answer of the first server to a Redis command.
    pub(crate) async fn redis(&mut self, command: &[&str]) -> Value {
        let url = self.servers.urls().swap_remove(0);
        let arguments = std::iter::once(url.as_str()).chain(command.iter().copied());
        self.python.call("redis", arguments.map(Value::from)).await
    }
}

/// Sends from Rust, and returns how many messages the layer accepted.
pub(crate) async fn send(layer: &dyn ChannelLayer, channel: &str, messages: &[Value]) -> usize {
    let channel = name(channel);
    let members: Vec<_> = messages
        .iter()
        .map(|message| layer.encode(&channel, &event(message)))
        .collect();
    layer.send(&channel, &members).await.unwrap().accepted
}

/// Rust's reader of one channel.
pub(crate) struct Reader {
    layer: Arc<dyn ChannelLayer>,
    receiver: Arc<dyn Receiver>,
}

impl Reader {
    pub(crate) async fn open(layer: &Arc<dyn ChannelLayer>, channel: &str, id: &str) -> Self {
        let receiver = layer
            .receiver(&name(channel), &ReceiverId(id.into()))
            .await
            .unwrap();
        Self {
            layer: Arc::clone(layer),
            receiver,
        }
    }

    /// Receives the next message, and finishes it.
    pub(crate) async fn next(&self) -> Value {
        self.finish(self.delivery().await).await
    }

    /// Receives the next message. An error does not fail the test, because the server may be away.
    pub(crate) async fn try_next(&self) -> Option<Value> {
        let delivery = timeout(DEADLINE, self.receiver.next())
            .await
            .expect("a message comes")
            .ok()?;
        Some(self.finish(delivery).await)
    }

    /// Receives the next message if it comes within this time; otherwise the wait for it is dropped.
    pub(crate) async fn next_within(&self, patience: Duration) -> Option<Value> {
        let delivery = timeout(patience, self.receiver.next()).await.ok()?.unwrap();
        Some(self.finish(delivery).await)
    }

    /// Finishes a message, and returns its content.
    pub(crate) async fn finish(&self, delivery: Delivery) -> Value {
        self.receiver.done(&delivery).await.unwrap();
        let payload = delivery
            .payload
            .unwrap_or_else(|error| panic!("a message can't be opened: {error}"));
        value(&self.layer.decode(&payload).unwrap())
    }

    /// Receives the next message, and does not finish it.
    pub(crate) async fn delivery(&self) -> Delivery {
        timeout(DEADLINE, self.receiver.next())
            .await
            .expect("a message comes")
            .unwrap()
    }

    pub(crate) async fn close(self) {
        self.receiver.close().await.unwrap();
    }
}

/// Makes a new name that only one process reads, in the form that Channels uses.
pub(crate) fn own_name() -> ChannelName {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    name(&format!("specific.{:032x}!{number:032x}", number + 1))
}

pub(crate) fn name(channel: &str) -> ChannelName {
    channel.parse().unwrap()
}

pub(crate) fn group(group: &str) -> GroupName {
    group.parse().unwrap()
}

pub(crate) fn event(message: &Value) -> Event {
    Event::from_value(message).unwrap()
}

fn value(event: &Event) -> Value {
    let mut text = Vec::new();
    event.write_json(&mut text);
    serde_json::from_slice(&text).unwrap()
}
