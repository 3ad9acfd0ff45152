//! An event's life, compared with `serde_json::Value` and `rmp_serde`: `cargo bench -p djangobot-event`.
//!
//! Criterion gives the times; the ratios at the end are measured by turns, in slices of a few milliseconds, so that
//! a busy machine slows both sides alike. `DJANGOBOT_BENCH_RATIOS=1` prints the ratios alone.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use djangobot_event::Event;
use serde_json::{Value, json};

/// About 0.5, 2 and 8 KB, as Slack writes them: no spaces, `\/`, and `\u` for all that is not ASCII.
const EVENTS: [(&str, &[u8]); 3] = [
    ("0.5 KB", include_bytes!("events/message.json")),
    ("2 KB", include_bytes!("events/blocks.json")),
    ("8 KB", include_bytes!("events/incident.json")),
];

/// A measurement: one task, done our way and the other way.
struct Task {
    name: &'static str,
    ours: fn(&Bytes) -> usize,
    theirs: fn(&Bytes) -> usize,
}

const FROM_TEXT: [Task; 4] = [
    Task {
        name: "parse",
        ours: |text| event(text).raw().len(),
        theirs: |text| value(text).as_object().unwrap().len(),
    },
    Task {
        name: "parse, write msgpack",
        ours: |text| our_msgpack(&event(text)),
        theirs: |text| their_msgpack(&value(text)),
    },
    Task {
        name: "parse, set two fields, write msgpack",
        ours: |text| {
            let mut event = event(text);
            event.set("/type", "slack.message").unwrap();
            event
                .set("/djangobot", br#"{"id":"Ev0PV52K21","attempt":1}"#.to_vec())
                .unwrap();
            our_msgpack(&event)
        },
        theirs: |text| {
            let mut value = value(text);
            value["type"] = "slack.message".into();
            value["djangobot"] = json!({"id": "Ev0PV52K21", "attempt": 1});
            their_msgpack(&value)
        },
    },
    Task {
        name: "parse, set a field, write JSON",
        ours: |text| {
            let mut event = event(text);
            event.set("/user_name", "zoe").unwrap();
            let mut out = Vec::new();
            event.write_json(&mut out);
            out.len()
        },
        theirs: |text| {
            let mut value = value(text);
            value["user_name"] = "zoe".into();
            serde_json::to_vec(&value).unwrap().len()
        },
    },
];

fn event(text: &Bytes) -> Event {
    Event::parse(text.clone()).unwrap()
}

fn value(text: &Bytes) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn our_msgpack(event: &Event) -> usize {
    let mut out = Vec::new();
    event.write_msgpack(&mut out);
    out.len()
}

fn their_msgpack(value: &Value) -> usize {
    rmp_serde::to_vec(value).unwrap().len()
}

fn from_text(criterion: &mut Criterion) {
    for task in FROM_TEXT {
        let mut group = criterion.benchmark_group(task.name);
        for (size, text) in EVENTS {
            let text = Bytes::from_static(text);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_with_input(BenchmarkId::new("event", size), &text, |b, text| {
                b.iter(|| (task.ours)(text))
            });
            group.bench_with_input(BenchmarkId::new("serde", size), &text, |b, text| {
                b.iter(|| (task.theirs)(text))
            });
        }
    }
}

/// The cost of a plugin on an event that was read already.
fn on_an_event(criterion: &mut Criterion) {
    for (size, text) in EVENTS {
        let event = event(&Bytes::from_static(text));
        let mut group = criterion.benchmark_group("asked and edited");
        for pointer in [
            "/type",
            "/user",
            "/user_profile/fields/Xf01B/value",
            "/missing",
        ] {
            group.bench_function(BenchmarkId::new(format!("get {pointer}"), size), |b| {
                b.iter(|| black_box(event.get(black_box(pointer))).is_some());
            });
        }
        group.bench_function(BenchmarkId::new("get one, set one", size), |b| {
            b.iter_batched_ref(
                || event.clone(),
                |event| {
                    let user = event.text("/user").unwrap().into_owned();
                    event.set("/user_name", user).unwrap();
                },
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("write msgpack", size), |b| {
            b.iter(|| our_msgpack(&event))
        });
    }
}

/// How many times as fast as `serde_json::Value` and `rmp_serde` we are: the median over slices taken by turns.
fn ratio(task: &Task, text: &Bytes) -> (f64, f64, f64) {
    let slice = |run: fn(&Bytes) -> usize| {
        let rounds = 1 + 2_000_000 / (text.len() as u32 * 4);
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(run(black_box(text)));
        }
        start.elapsed() / rounds
    };
    let mut slices: Vec<(Duration, Duration)> = (0..101)
        .map(|_| (slice(task.ours), slice(task.theirs)))
        .collect();
    let of = |(ours, theirs): &(Duration, Duration)| theirs.as_secs_f64() / ours.as_secs_f64();
    slices.sort_by(|a, b| of(a).total_cmp(&of(b)));
    let median = &slices[slices.len() / 2];
    (
        median.0.as_secs_f64() * 1e6,
        median.1.as_secs_f64() * 1e6,
        of(median),
    )
}

fn main() {
    if std::env::var_os("DJANGOBOT_BENCH_RATIOS").is_none() {
        let mut criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        from_text(&mut criterion);
        on_an_event(&mut criterion);
        criterion.final_summary();
    }
    println!(
        "{:<38} {:>7} {:>10} {:>10} {:>7}",
        "", "", "event", "serde", "ratio"
    );
    for task in FROM_TEXT {
        for (size, text) in EVENTS {
            let (ours, theirs, ratio) = ratio(&task, &Bytes::from_static(text));
            println!(
                "{:<38} {size:>7} {ours:>7.2} us {theirs:>7.2} us {ratio:>6.1}x",
                task.name
            );
        }
    }
}
