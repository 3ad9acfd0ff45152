//! The cost of the spool: how fast events go onto the disk and from there into Redis, whom that holds up, and what a
//! million of them take up.

mod probes;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use djangobot_tests::Redis;
use local_slack::{Report, Traffic};

use crate::queue::Queue;
use crate::socket_mode::{SocketMode, Taker};
use crate::statistics::{median, quantile};
use crate::table::{Table, short, whole};
use crate::tried;
use probes::Probes;

/// Events that wait on the disk in a round.
const EVENTS: u64 = 100_000;
const ROUNDS: usize = 3;
/// Events that wait on the disk in the end.
const MANY: u64 = 1_000_000;
/// How long the probes run on a bridge that has nothing else to do.
const IDLE: Duration = Duration::from_secs(3);
/// Starts with the spool empty, and with all that is in it.
const STARTS: usize = 5;
/// Slack waits 3 seconds; here it waits for each, so that nothing is given twice on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> String {
    let mut redis = Redis::start();
    let bridge = SocketMode::start(Taker::Djangobot, redis.port(), PATIENCE).await;
    // Costs of a process's first events are not of interest here.
    traffic(&bridge, tried(1_000)).await;
    let rounds = rounds(&bridge, &mut redis).await;
    bridge.stop().await;
    redis.stop();
    let sizes = sizes(redis.port()).await;
    format!("{rounds}\n{sizes}")
}

/// The spool idle, filled, and emptied.
async fn rounds(bridge: &SocketMode, redis: &mut Redis) -> String {
    let events = tried(EVENTS);
    let [mut idle, mut filling, mut emptying] = [const { Vec::new() }; 3];
    let [mut alone, mut beside] = [const { Vec::new() }; 2];
    let mut probes = Probes::new(bridge);
    for _ in 0..ROUNDS {
        let mut queue = Queue::channels_redis(redis.port()).await;
        queue.clear().await;
        let began = Instant::now();
        let (_, arrival) = tokio::join!(traffic(bridge, events), queue.wait_for(events));
        arrival.of_all(events);
        idle.push(events as f64 / began.elapsed().as_secs_f64());
        let ((), times) = probes.beside(redis.port(), tokio::time::sleep(IDLE)).await;
        alone.extend(times);

        redis.stop();
        let report = traffic(bridge, events).await;
        filling.push(events as f64 / report.seconds);

        redis.restart();
        let mut queue = Queue::channels_redis(redis.port()).await;
        queue.wait_for(1).await.of_all(1);
        let drain = drain(&mut queue, events);
        let (speed, times) = probes.beside(redis.port(), drain).await;
        emptying.push(speed);
        beside.extend(times);
    }
    let reference = median(idle.clone());
    let mut table = Table::new([
        "",
        "events/s, median (min - max)",
        "part of that with the spool idle",
    ]);
    for (name, speeds) in [
        ("from Slack into Redis, the spool idle", idle),
        (
            "from Slack onto the disk and acknowledged, Redis away",
            filling,
        ),
        ("from the disk into Redis, when it is back", emptying),
    ] {
        let at = |part| quantile(speeds.clone(), part);
        table.row([
            name,
            &format!(
                "{} ({} - {})",
                whole(at(0.5)),
                whole(at(0.0)),
                whole(at(1.0))
            ),
            &format!("{} %", short(at(0.5) / reference * 100.0)),
        ]);
    }
    let mut latency = Table::new([
        "an event of another type, from Slack to whoever reads its channel",
        "events",
        "p50, ms",
        "p99, ms",
        "longest, ms",
    ]);
    for (name, times) in [
        ("the spool idle", alone),
        ("while the spool empties", beside),
    ] {
        let at = |part| short(quantile(times.clone(), part));
        latency.row([
            name,
            &whole(times.len() as f64),
            &at(0.5),
            &at(0.99),
            &at(1.0),
        ]);
    }
    format!("{}\n{}", table.finish(), latency.finish())
}

/// Lets Slack send events until all are acknowledged.
async fn traffic(bridge: &SocketMode, events: u64) -> Report {
    let traffic = Traffic {
        events,
        ..Traffic::default()
    };
    let report = bridge.slack.control().traffic(traffic).await;
    assert_eq!(
        report.acknowledged, events,
        "Slack was not told of all: {report:?}"
    );
    report
}

/// Waits until what is in the spool is in Redis, where some of it is already; events a second of the rest.
async fn drain(queue: &mut Queue, events: u64) -> f64 {
    let (before, began) = (queue.length().await, Instant::now());
    let done = queue.wait_for(events).await.of_all(events);
    (events - before) as f64 / (done - began).as_secs_f64()
}

/// The room that a great many events take up in the spool, while no Redis listens.
async fn sizes(redis: u16) -> String {
    let mut bridge = SocketMode::start(Taker::Djangobot, redis, PATIENCE).await;
    let events = tried(MANY);
    let mut table = Table::new([
        "",
        "RSS, MB",
        "the state's files, MB",
        "start to connected, ms, median (min - max)",
        "RSS then, MB",
    ]);
    for waiting in [0, events] {
        traffic(&bridge, waiting).await;
        let rss = bridge.program().resident_memory();
        let disk = size(&bridge.folder().join(".djangobot"));
        let [mut millis, mut then] = [const { Vec::new() }; 2];
        for _ in 0..STARTS {
            bridge.kill().await;
            millis.push(bridge.start_again().await.as_secs_f64() * 1e3);
            then.push(bridge.program().resident_memory() as f64 / 1e6);
        }
        if waiting > 0 {
            // Not one of them has gone.
            bridge.said(&format!("\"waiting\":{waiting}")).await;
        }
        let at = |part| short(quantile(millis.clone(), part));
        table.row([
            &format!("{} events in the spool", whole(waiting as f64)),
            &short(rss as f64 / 1e6),
            &short(disk as f64 / 1e6),
            &format!("{} ({} - {})", at(0.5), at(0.0), at(1.0)),
            &short(median(then)),
        ]);
    }
    bridge.stop().await;
    table.finish()
}

/// Bytes of the files in `folder` and below.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the state is there");
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => size(&entry.path()),
            Ok(about) => about.len(),
            // A file that has gone since takes up nothing.
            Err(_) => 0,
        })
        .sum()
}
