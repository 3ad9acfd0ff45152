//! How long an event is under way: from Slack to a consumer in Python, and the bridge's own part of that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_tests::{Program, Redis};
use serde_json::json;

use crate::contestant::{Contestant, Layer};
use crate::peers::{python_peer, rust_peer};
use crate::queue::Queue;
use crate::statistics::quantile;
use crate::table::{Table, short};
use crate::tap::Tap;

/// Events a second, and how many in a round.
const RATES: [(u32, usize); 2] = [(100, 400), (500, 1500)];
const ROUNDS: usize = 3;
/// Events one by one, for the bridge's own part.
const SINGLE: usize = 3000;

pub(crate) async fn measure() -> String {
    let redis = Redis::start();
    let mut queue = Queue::channels_redis(redis.port()).await;
    let bridge = Contestant::ours(redis.port(), Layer::ChannelsRedis).await;
    let mut table = Table::new([
        "to a consumer in Python (`channel_layer.receive`)",
        "rate",
        "p50 ms",
        "p90 ms",
        "p99 ms",
    ]);
    for (rate, count) in RATES {
        let (mut python, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            python.extend(from_python(&redis, &mut queue, rate, count).await);
            ours.extend(from_slack(&bridge, &redis, &mut queue, rate, count).await);
        }
        for (name, values) in [
            ("from a Python sender, channels_redis", python),
            ("from Slack's frame, through djangobot", ours),
        ] {
            let at = |part| short(quantile(values.clone(), part));
            table.row([name, &format!("{rate}/s"), &at(0.5), &at(0.9), &at(0.99)]);
        }
    }
    bridge.stop().await;

    let mut own = Table::new(["one event at a time", "p50 us", "p90 us", "p99 us"]);
    for (name, micros) in alone(&redis).await {
        let at = |part| short(quantile(micros.clone(), part));
        own.row([name, &at(0.5), &at(0.9), &at(0.99)]);
    }
    format!("{}\n{}", table.finish(), own.finish())
}

/// A consumer that is waiting; it gives the milliseconds that each message took.
async fn consumer(redis: &Redis, queue: &mut Queue, count: usize) -> Program {
    queue.clear().await;
    let mut consumer = Program::start(python_peer(&[
        &redis.url(),
        "latencies",
        &count.to_string(),
        "1",
    ]));
    consumer.line("ready").await;
    consumer
}

async fn latencies(mut consumer: Program) -> Vec<f64> {
    let line = consumer.line("[").await;
    consumer.exit().await;
    serde_json::from_str(&line).expect("a consumer answers with a list")
}

async fn from_python(redis: &Redis, queue: &mut Queue, rate: u32, count: usize) -> Vec<f64> {
    let consumer = consumer(redis, queue, count).await;
    let mut sender = Program::start(python_peer(&[
        &redis.url(),
        "paced",
        &count.to_string(),
        &rate.to_string(),
    ]));
    sender.exit().await;
    latencies(consumer).await
}

async fn from_slack(
    bridge: &Contestant,
    redis: &Redis,
    queue: &mut Queue,
    rate: u32,
    count: usize,
) -> Vec<f64> {
    let consumer = consumer(redis, queue, count).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    for number in 0..count {
        ticks.tick().await;
        emit(bridge, number);
    }
    latencies(consumer).await
}

fn emit(bridge: &Contestant, number: usize) {
    let sent = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let event = json!({"type": "message", "channel": "C024BE91L", "user": "U023BECGF", "ts": format!("1355517523.{number:06}"),
        "text": format!("event-{number:06} {}", "of about five hundred bytes ".repeat(12)), "team": "T024BE7LD", "sent": sent});
    bridge.slack.control().emit(None, &event);
}

/// Microseconds from the moment a frame is handed to Slack's socket to the moment its command is read at Redis's side,
/// and the same for a relay that does nothing but pass bytes on: the two hops over loopback are in both.
async fn alone(redis: &Redis) -> [(&'static str, Vec<f64>); 2] {
    let mut tap = Tap::before(redis.port()).await;
    let bridge = Contestant::ours(tap.port(), Layer::ChannelsRedis).await;
    let mut relay = Relay::start(tap.port()).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for number in 0..SINGLE + 100 {
        let took = tap.time(number, || emit(&bridge, number)).await;
        ours.push(took.as_secs_f64() * 1e6);
        let took = relay.pass(&mut tap, number).await;
        bare.push(took.as_secs_f64() * 1e6);
    }
    bridge.stop().await;
    relay.stop().await;
    // The first ones warm up.
    [
        (
            "from Slack's frame to the command at Redis, through djangobot",
            ours.split_off(100),
        ),
        (
            "the same two hops through a bare relay",
            bare.split_off(100),
        ),
    ]
}

/// A process that passes on what it reads.
struct Relay {
    program: Program,
    stream: tokio::net::TcpStream,
}

impl Relay {
    async fn start(to: u16) -> Self {
        let url = format!("redis://127.0.0.1:{to}");
        let mut program = Program::start(rust_peer(&[&url, "relay", "0", "0"]));
        let port = program
            .line("port ")
            .await
            .trim_start_matches("port ")
            .parse()
            .expect("the relay says its port");
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("the relay listens");
        stream.set_nodelay(true).expect("a socket can be set");
        Self { program, stream }
    }

    /// Sends a command as long as an event; Redis answers it with the text.
    async fn pass(&mut self, tap: &mut Tap, number: usize) -> Duration {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let text = format!("event-{number:06} {}", "x".repeat(600));
        let command = format!("*2\r\n$4\r\nECHO\r\n${}\r\n{text}\r\n", text.len());
        let stream = &mut self.stream;
        let write = async {
            stream
                .write_all(command.as_bytes())
                .await
                .expect("the relay reads");
        };
        let took = tap.time_async(number, write).await;
        let mut answer = vec![0; text.len() + 8];
        stream.read_exact(&mut answer).await.expect("Redis answers");
        took
    }

    async fn stop(mut self) {
        self.program.terminate().await;
    }
}
