//! RTM to Redis compared with redis-benchmark, which makes the same calls with nothing before them: the limit.

use std::process::Command;

use djangobot_tests::Redis;
use djangobot_tests::environment::find;

use crate::contestant::{Contestant, Layer};
use crate::queue::Queue;
use crate::statistics::{Rounds, median};
use crate::table::{Table, short, whole};

/// The script that the layer sends with.
const APPEND: &str = include_str!("../../../host/channels/src/redis/dialect/core/append.lua");
const EVENTS: u64 = 100_000;
const ROUNDS: usize = 7;
/// Calls in flight, and events in a call.
const SHAPES: [(u64, usize); 4] = [(1, 1), (16, 1), (64, 1), (1, 64)];

pub(crate) async fn measure() -> String {
    let redis = Redis::start();
    let hash = redis.cli(&["SCRIPT", "LOAD", APPEND]);
    let mut queue = Queue::channels_redis(redis.port()).await;
    let bridge = Contestant::ours(redis.port(), Layer::ChannelsRedis).await;
    bridge.burst(&mut queue, 1_000).await;
    // Of several messages the queue takes those that come before the last one; a single one stays.
    bridge.burst(&mut queue, 1).await;
    let length = queue.member().await.len();

    let mut ours = Rounds::default();
    let mut limits = SHAPES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        ours.push(bridge.burst(&mut queue, EVENTS).await);
        for ((pipeline, batch), speeds) in SHAPES.iter().zip(&mut limits) {
            queue.clear().await;
            speeds.push(limit(&redis, &hash, *pipeline, *batch, length));
        }
    }
    bridge.stop().await;

    let mut table = Table::new(["", "events/s, median", "djangobot reaches of it"]);
    let speed = ours.per_second();
    let (slowest, fastest) = ours.spread();
    table.row([
        "djangobot, RTM to Redis",
        &format!("{} ({} - {})", whole(speed), whole(slowest), whole(fastest)),
        "",
    ]);
    for ((pipeline, batch), speeds) in SHAPES.iter().zip(limits) {
        let limit = median(speeds);
        let name = format!(
            "redis-benchmark -c 1 -P {pipeline}, {batch} event{} in a call",
            if *batch == 1 { "" } else { "s" }
        );
        table.row([
            name,
            whole(limit),
            format!("{} %", short(speed / limit * 100.0)),
        ]);
    }
    format!(
        "{}\nMembers of {length} bytes, as djangobot wrote them.\n",
        table.finish()
    )
}

/// Events a second that redis-benchmark reaches with calls of `batch` events, `pipeline` of them in flight.
fn limit(redis: &Redis, hash: &str, pipeline: u64, batch: usize, length: usize) -> f64 {
    // Twelve random digits make each member another.
    let (score, member) = (
        "__rand_int__",
        format!("__rand_int__{}", "x".repeat(length.saturating_sub(12))),
    );
    let calls = EVENTS / batch as u64;
    let output =
        Command::new(find("redis-benchmark").expect("redis-benchmark comes with redis-tools"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &redis.port().to_string(),
                "-c",
                "1",
                "--csv",
                "-r",
                "100000000000",
            ])
            .args(["-n", &calls.to_string(), "-P", &pipeline.to_string()])
            // The key, the oldest score that is kept, the capacity, the expiry.
            .args([
                "EVALSHA",
                hash,
                "1",
                "asgislack.message",
                "0",
                "10000000",
                "600",
            ])
            .args((0..batch).flat_map(|_| [score, &member]))
            .output()
            .expect("redis-benchmark runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let speed = printed
        .lines()
        .last()
        .and_then(|line| line.split("\",\"").nth(1)?.parse::<f64>().ok());
    speed.unwrap_or_else(|| panic!("redis-benchmark gave no figure: {printed:.300}")) * batch as f64
}
