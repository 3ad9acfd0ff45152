//! The peer in Rust: our channel layers doing what `peers/layer.py` does with channels_redis, and a bare relay.
//!
//! `djangobot-bench-peer URL OPERATION COUNT WIDTH`; it answers with one line of JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that can't have what it needs ends with a sentence, and answers on stdout"
)]

use std::sync::Arc;
use std::time::Instant;

use djangobot_channels::capacity::Capacities;
use djangobot_channels::{
    ChannelLayer, ChannelName, EmbeddedServer, LayerConfig, LayerOptions, Member, ReceiverId, open,
};
use djangobot_event::Event;
use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// The message of about 500 bytes that both peers send.
const MESSAGE: &[u8] = include_bytes!("../peers/message.json");
const CAPACITY: usize = 10_000_000;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, operation, count, width] = arguments.as_slice() else {
        panic!("usage: djangobot-bench-peer URL OPERATION COUNT WIDTH")
    };
    let (count, width): (usize, usize) = (
        count.parse().expect("COUNT is a number"),
        width.parse().expect("WIDTH is a number"),
    );
    if operation == "relay" {
        return relay(url).await;
    }
    let mut server = None;
    let layer: Arc<dyn ChannelLayer> = if url.starts_with("embedded://") {
        let server = server.insert(
            EmbeddedServer::bind(([127, 0, 0, 1], 0).into())
                .await
                .expect("loopback has a free port"),
        );
        Arc::new(server.layer_with(LayerOptions {
            capacities: Capacities::new(CAPACITY),
            expiry: 600,
            ..LayerOptions::default()
        }))
    } else {
        let LayerConfig::Redis(mut config) =
            LayerConfig::from_urls(std::slice::from_ref(url)).expect("URL is a layer's")
        else {
            panic!("{url} is not of the core layer")
        };
        (config.capacities, config.expiry) = (Capacities::new(CAPACITY), 600);
        open(LayerConfig::Redis(config)).expect("a core layer opens")
    };
    let peer = Peer {
        layer,
        channel: ChannelName::new("slack.message").expect("that is a name"),
        message: Event::parse(MESSAGE).expect("that is an event"),
    };
    // The connection is made before the clock starts.
    peer.layer.ping().await.expect("the layer is there");
    if server.is_some() && operation == "receive" {
        peer.batches(count, 64).await;
    }
    let (cpu, began) = (cpu_seconds(), Instant::now());
    match operation.as_str() {
        "send" => peer.send(count, width).await,
        "batch" => peer.batches(count, width).await,
        "receive" => peer.receive(count).await,
        other => panic!("there is no operation {other}"),
    }
    let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{}",
        serde_json::json!({"messages": count, "seconds": seconds, "cpu_seconds": cpu_seconds})
    );
    peer.layer.close().await;
    if let Some(server) = server {
        server.shutdown().await;
    }
}

struct Peer {
    layer: Arc<dyn ChannelLayer>,
    channel: ChannelName,
    message: Event,
}

impl Peer {
    /// Writes and sends messages one by one, `width` of them at a time.
    async fn send(&self, count: usize, width: usize) {
        let one_by_one = |share: usize| async move {
            for _ in 0..share {
                self.put(&[self.member()]).await;
            }
        };
        join_all((0..width).map(|_| one_by_one(count / width))).await;
    }

    /// Writes messages and sends `width` of them in a call.
    async fn batches(&self, count: usize, width: usize) {
        let mut left = count;
        while left > 0 {
            let members: Vec<Member> = (0..width.min(left)).map(|_| self.member()).collect();
            left -= members.len();
            self.put(&members).await;
        }
    }

    /// Takes, decodes and acknowledges messages.
    async fn receive(&self, count: usize) {
        let receiver = self
            .layer
            .receiver(&self.channel, &ReceiverId("bench".into()))
            .await
            .expect("the channel can be read");
        for _ in 0..count {
            let delivery = receiver.next().await.expect("a message is there");
            self.layer
                .decode(delivery.payload.as_ref().expect("it opens"))
                .expect("it is a message");
            receiver
                .done(&delivery)
                .await
                .expect("it can be acknowledged");
        }
        receiver.close().await.expect("the reader closes");
    }

    fn member(&self) -> Member {
        self.layer.encode(&self.channel, &self.message)
    }

    async fn put(&self, members: &[Member]) {
        let sent = self
            .layer
            .send(&self.channel, members)
            .await
            .expect("the layer takes it");
        assert_eq!(sent.accepted, members.len(), "the channel is full");
    }
}

/// CPU time of this process, all threads.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Passes on what comes to the server in `url`, and its answers back.
async fn relay(url: &str) {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("loopback has a free port");
    println!(
        "port {}",
        listener
            .local_addr()
            .expect("a listener has an address")
            .port()
    );
    let (mut client, _) = listener.accept().await.expect("someone connects");
    let mut server = TcpStream::connect(url.trim_start_matches("redis://"))
        .await
        .expect("the server is there");
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket can be set");
    }
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .ok();
    server.shutdown().await.ok();
}
