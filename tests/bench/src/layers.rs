//! The channel layers compared with channels_redis: sending and receiving, in events a second and CPU time.

use std::process::Command;

use djangobot_tests::{Program, Redis, free_port};

use crate::peers::{measured, program, python_peer, rust_peer};
use crate::queue::Queue;
use crate::statistics::Rounds;
use crate::table::{Table, short, whole};

const ROUNDS: usize = 5;
/// Messages in a round: Python is slower, and both run for about as long.
const PYTHON: &str = "5000";
const RUST: &str = "50000";

/// A measurement: the contestant, and the way of sending.
struct Lane {
    name: &'static str,
    /// Which lane's speed this one's is compared with.
    beside: usize,
    command: Box<dyn Fn() -> Command>,
    /// Whether the queue is filled first.
    receives: bool,
    rounds: Rounds,
}

pub(crate) async fn measure() -> String {
    let redis = Redis::start();
    let embedded = EmbeddedServer::start().await;
    let (url, embedded_url) = (redis.url(), format!("redis://127.0.0.1:{}", embedded.port));
    let mut lanes = Vec::new();
    let mut lane =
        |name, beside, rust: bool, url: &str, operation: &'static str, width: &'static str| {
            let url = url.to_owned();
            let command = move || match rust {
                true => rust_peer(&[&url, operation, RUST, width]),
                false => python_peer(&[&url, operation, PYTHON, width]),
            };
            lanes.push(Lane {
                name,
                beside,
                command: Box::new(command),
                receives: operation == "receive",
                rounds: Rounds::default(),
            });
        };
    lane(
        "channels_redis: send, one after the other",
        0,
        false,
        &url,
        "send",
        "1",
    );
    lane("ours: the same", 0, true, &url, "send", "1");
    lane(
        "channels_redis: send, 50 at once",
        2,
        false,
        &url,
        "send",
        "50",
    );
    lane("ours: the same", 2, true, &url, "send", "50");
    lane(
        "ours: 64 in a call, as the bridge sends what has queued",
        2,
        true,
        &url,
        "batch",
        "64",
    );
    lane(
        "channels_redis: receive, the queue full",
        5,
        false,
        &url,
        "receive",
        "1",
    );
    lane(
        "ours: the same, each acknowledged",
        5,
        true,
        &url,
        "receive",
        "1",
    );
    lane(
        "channels_redis on the embedded layer's server: send, one after the other",
        0,
        false,
        &embedded_url,
        "send",
        "1",
    );
    lane(
        "channels_redis on the embedded layer's server: receive, the queue full",
        5,
        false,
        &embedded_url,
        "receive",
        "1",
    );
    lane(
        "the embedded layer from within: send, one after the other",
        0,
        true,
        "embedded://",
        "send",
        "1",
    );
    lane(
        "the embedded layer from within: receive, the queue full",
        5,
        true,
        "embedded://",
        "receive",
        "1",
    );

    let (mut on_redis, mut on_embedded) = (
        Queue::channels_redis(redis.port()).await,
        Queue::channels_redis(embedded.port).await,
    );
    for _ in 0..ROUNDS {
        for lane in &mut lanes {
            on_redis.clear().await;
            on_embedded.clear().await;
            if lane.receives {
                for url in [&url, &embedded_url] {
                    measured(rust_peer(&[url, "batch", RUST, "64"])).await;
                }
            }
            lane.rounds.push(measured((lane.command)()).await);
        }
    }
    embedded.stop().await;

    let mut table = Table::new([
        "",
        "messages/s, median (min - max)",
        "times channels_redis's",
        "CPU us/message",
        "part of channels_redis's",
    ]);
    for lane in &lanes {
        let peer = &lanes[lane.beside].rounds;
        let (speed, cpu, (slowest, fastest)) = (
            lane.rounds.per_second(),
            lane.rounds.cpu_micros(),
            lane.rounds.spread(),
        );
        table.row([
            lane.name,
            &format!("{} ({} - {})", whole(speed), whole(slowest), whole(fastest)),
            &format!("{} x", short(speed / peer.per_second())),
            &short(cpu),
            &format!("1/{}", short(peer.cpu_micros() / cpu)),
        ]);
    }
    table.finish()
}

/// `djangobot layer`, as a newcomer starts it.
struct EmbeddedServer {
    program: Program,
    port: u16,
}

impl EmbeddedServer {
    async fn start() -> Self {
        let port = free_port();
        let mut command = Command::new(program("djangobot"));
        command.args(["layer", "--listen", &format!("127.0.0.1:{port}")]);
        let mut program = Program::start(command);
        program.line(&port.to_string()).await;
        Self { program, port }
    }

    async fn stop(mut self) {
        self.program.terminate().await;
    }
}
