//! Plugins: the cost of a warm call, compared with bare wasmtime and with JSON; chains, failures, reloads, memory, start.

mod bare;
mod stage;

use std::hint::black_box;
use std::time::{Duration, Instant};

use djangobot_event::Event;
use djangobot_plugins::{Artifact, Direction, PluginEvent, PluginHost};

use crate::contestant::{Contestant, Layer};
use crate::statistics::{median, quantile};
use crate::table::{Table, short};
use bare::Bare;
use stage::{Mode, Stage, guest, shipped};

/// As `djangobot-event`'s own benchmark has them.
const EVENTS: [(&str, &str); 3] = [
    (
        "0.5 KB",
        include_str!("../../../host/event/benches/events/message.json"),
    ),
    (
        "2 KB",
        include_str!("../../../host/event/benches/events/blocks.json"),
    ),
    (
        "8 KB",
        include_str!("../../../host/event/benches/events/incident.json"),
    ),
];
/// Turns of each contestant, one after the other, so that a busy machine slows all alike.
const TURNS: usize = 40;
/// Calls in a turn.
const CALLS: usize = 500;

pub(crate) async fn measure() -> String {
    let guest = guest();
    let parts = [
        calls(&guest).await,
        chains(&guest).await,
        instances(&guest).await,
        reloads(&guest).await,
        memory(&guest).await,
        start(&guest).await,
    ];
    parts.join("\n")
}

/// A warm call: one field read, one set.
async fn calls(guest: &Artifact) -> String {
    let ours = Stage::with(guest, &[Mode::Edit]).await;
    let json = Stage::with(guest, &[Mode::Json]).await;
    let mut bare = Bare::new(&guest.component);
    let mut table = Table::new([
        "a warm call: one field read, one set",
        "djangobot, us",
        "bare wasmtime, us",
        "the host's overhead, us",
        "JSON in and out, us",
        "times as fast as that",
    ]);
    for (size, text) in EVENTS {
        let event = Event::parse(text).expect("the event is one");
        let [mut a, mut b, mut c] = [const { Vec::new() }; 3];
        for _ in 0..TURNS {
            a.push(passes(&ours.host, &event, CALLS).await);
            b.push(bare.calls(&event, CALLS));
            c.push(passes(&json.host, &event, CALLS / 10).await);
        }
        let (a, b, c) = (median(a), median(b), median(c));
        table.row([
            size,
            &short(a),
            &short(b),
            &short(a - b),
            &short(c),
            &format!("{} x", short(c / a)),
        ]);
    }
    table.finish()
}

/// Several plugins in a row.
async fn chains(guest: &Artifact) -> String {
    let event = Event::parse(EVENTS[1].1).expect("the event is one");
    let none = Stage::new();
    let mut stages = Vec::new();
    for count in [1, 5, 10] {
        stages.push((
            count,
            Stage::with(guest, &vec![Mode::Edit; count]).await,
            Vec::new(),
        ));
    }
    let mut without = Vec::new();
    for _ in 0..TURNS {
        without.push(passes(&none.host, &event, CALLS).await);
        for (_, stage, times) in &mut stages {
            times.push(passes(&stage.host, &event, CALLS).await);
        }
    }
    let mut table = Table::new(["plugins in a row, 2 KB", "us", "us for each"]);
    table.row(["0", &short(median(without)), ""]);
    for (count, _, times) in stages {
        let time = median(times);
        table.row([
            &count.to_string(),
            &short(time),
            &short(time / count as f64),
        ]);
    }
    table.finish()
}

/// Microseconds that an event takes on its way through the plugins, its clone included.
async fn passes(host: &PluginHost, event: &Event, calls: usize) -> f64 {
    let began = Instant::now();
    for _ in 0..calls {
        let passing = PluginEvent::new("T1.message.C1.1.2", "message", event.clone());
        black_box(host.pass(Direction::Inbound, passing, 7).await);
    }
    began.elapsed().as_secs_f64() * 1e6 / calls as f64
}

/// A fresh instance, and what a trap costs the next event.
async fn instances(guest: &Artifact) -> String {
    let mut bare = Bare::new(&guest.component);
    let fresh: Vec<f64> = (0..200).map(|_| bare.instantiate()).collect();
    let event = Event::parse(r#"{"type":"message","user":"U1"}"#).expect("the event is one");
    let bad =
        Event::parse(r#"{"type":"message","user":"U1","trap":true}"#).expect("the event is one");
    let stage = Stage::with(guest, &[Mode::Trap]).await;
    let (mut traps, mut nexts) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        traps.push(passes(&stage.host, &bad, 1).await);
        nexts.push(passes(&stage.host, &event, 1).await);
        // So many good ones that it is never quarantined.
        passes(&stage.host, &event, 20).await;
    }
    let mut table = Table::new(["", "p50, us", "p99, us"]);
    for (name, times) in [
        ("bare wasmtime: a fresh instance and its first call", fresh),
        ("an event that the plugin traps on", traps),
        ("the event after a trap, with a fresh instance", nexts),
    ] {
        table.row([
            name,
            &short(quantile(times.clone(), 0.5)),
            &short(quantile(times, 0.99)),
        ]);
    }
    table.finish()
}

/// Replacements under 1,000 events a second: what they cost the events.
async fn reloads(guest: &Artifact) -> String {
    const EVENTS_IN_ALL: usize = 5_000;
    let stage = Stage::with(guest, &[Mode::Edit]).await;
    let mut table = Table::new([
        "1,000 events/s",
        "longest event, ms",
        "events lost",
        "events doubled",
    ]);
    for (name, replacements) in [("untouched", 0), ("the plugin replaced 10 times", 10)] {
        let host = stage.host.clone();
        let events = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            let (mut longest, mut out) = (0.0_f64, 0);
            for n in 0..EVENTS_IN_ALL {
                tick.tick().await;
                let event = Event::parse(format!(r#"{{"type":"message","user":"U1","n":{n}}}"#))
                    .expect("the event is one");
                let began = Instant::now();
                let passed = host
                    .pass(
                        Direction::Inbound,
                        PluginEvent::new("id", "message", event),
                        7,
                    )
                    .await;
                longest = longest.max(began.elapsed().as_secs_f64() * 1e3);
                let seen = passed
                    .events
                    .iter()
                    .filter(|it| it.body.get("/user_name").is_some());
                out += seen.count();
            }
            (longest, out)
        });
        for n in 0..replacements {
            tokio::time::sleep(Duration::from_millis(400)).await;
            stage.replace(guest, &[Mode::Edit], n).await;
        }
        let (longest, out) = events.await.expect("the events end");
        let lost = EVENTS_IN_ALL.saturating_sub(out);
        let doubled = out.saturating_sub(EVENTS_IN_ALL);
        table.row([
            name,
            &short(longest),
            &lost.to_string(),
            &doubled.to_string(),
        ]);
    }
    table.finish()
}

/// The memory that plugins add to a process.
async fn memory(guest: &Artifact) -> String {
    let mut table = Table::new(["plugins", "RSS beyond that of none, MB"]);
    let own = std::process::id();
    let event = Event::parse(EVENTS[1].1).expect("the event is one");
    for count in [1, 10, 50] {
        let before = stage::resident(own);
        let stage = Stage::with(guest, &vec![Mode::Edit; count]).await;
        passes(&stage.host, &event, 100).await;
        let grown = stage::resident(own).saturating_sub(before);
        table.row([&count.to_string(), &short(grown as f64 / 1e6)]);
    }
    table.finish()
}

/// A start of the whole program with the five plugins that ship.
async fn start(guest: &Artifact) -> String {
    const ROUNDS: usize = 9;
    let redis = djangobot_tests::Redis::start();
    let plugins = shipped();
    let cold = {
        let began = Instant::now();
        let stage = Stage::new();
        stage.replace(guest, &[Mode::Edit], 0).await;
        began.elapsed().as_secs_f64() * 1e3
    };
    let (mut none, mut five, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for round in 0..=ROUNDS {
        // One after the other: a host stands by while another one serves its app.
        let plain = Contestant::ours(redis.port(), Layer::ChannelsRedis).await;
        let plain_started_in = plain.started_in;
        plain.stop().await;
        let with = Contestant::with_plugins(redis.port(), folder.path(), &plugins).await;
        // The first start compiles.
        if round > 0 {
            none.push(plain_started_in.as_secs_f64() * 1e3);
            five.push(with.started_in.as_secs_f64() * 1e3);
            rss.push(with.program.resident_memory() as f64 / 1e6);
        }
        with.stop().await;
    }
    let mut table = Table::new(["start", "ms", "RSS then, MB"]);
    table.row([
        "one plugin compiled in a child, cache cold",
        &short(cold),
        "",
    ]);
    table.row(["to connected, no plugins", &short(median(none)), ""]);
    table.row([
        "to connected, five plugins, cache warm",
        &short(median(five)),
        &short(median(rss)),
    ]);
    table.finish()
}
