//! Benchmarks: the released program and named peers, by turns in one run. `cargo xtask bench` builds and starts this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that can't have what it needs ends with a sentence, and its figures go to stdout"
)]

mod ack;
mod contestant;
mod document;
mod event;
mod latency;
mod layers;
mod limit;
mod listener;
mod original;
mod peers;
mod plugins;
mod queue;
mod recovery;
mod socket_mode;
mod spool;
mod start;
mod statistics;
mod table;
mod tap;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures djangobot and its peers, and prints Markdown tables.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Measure these sections; without a name, all of them.
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Write the tables into this document, each between its marks.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// The measurements; each is a section of BENCHMARKS.md.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// RTM to Redis, compared with djangobot 0.1.
    Original,
    /// RTM to Redis, compared with redis-benchmark running the same script.
    Limit,
    /// The channel layers, compared with channels_redis.
    Layers,
    /// From a frame to a consumer, compared with a Python sender; and the bridge's own part.
    Latency,
    /// Start and memory, compared with djangobot 0.1.
    Start,
    /// Reading and writing an event, compared with serde_json and rmp-serde.
    Event,
    /// Plugins, compared with bare wasmtime and with JSON in and out.
    Plugins,
    /// Socket Mode to Redis and back to Slack, compared with slack_bolt.
    Ack,
    /// Events that wait on the disk: how fast they go there and away, whom they hold up, what they take up.
    Spool,
    /// From a fault's end to the first event delivered again, compared with slack_bolt.
    Recovery,
    /// Signed requests over HTTP, alone and among 10,000 connections of strangers.
    Listener,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let names = if arguments.names.is_empty() {
        Name::value_variants()
    } else {
        &arguments.names
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads can be started");
    let mut complete = true;
    for &name in names {
        let title = name
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        eprintln!("==> {title}");
        // Its load average is that of the section's start.
        let machine = document::machine(&title);
        // A section that fails has said why on stderr, and must not cost the figures of those after it.
        let Ok(figures) = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(measure(name))))
        else {
            eprintln!("==> {title} failed; its figures are left out");
            complete = false;
            continue;
        };
        let section = format!("{machine}\n{figures}");
        println!("{section}");
        if let Some(document) = &arguments.write {
            document::replace(document, &title, &section);
        }
    }
    if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measure(name: Name) -> String {
    match name {
        Name::Original => original::measure().await,
        Name::Limit => limit::measure().await,
        Name::Layers => layers::measure().await,
        Name::Latency => latency::measure().await,
        Name::Start => start::measure().await,
        Name::Event => event::measure(),
        Name::Plugins => plugins::measure().await,
        Name::Ack => ack::measure().await,
        Name::Spool => spool::measure().await,
        Name::Recovery => recovery::measure().await,
        Name::Listener => listener::measure().await,
    }
}

/// So many events; a few of them in a debug build, which is there to try a measurement out.
fn tried(events: u64) -> u64 {
    if cfg!(debug_assertions) {
        (events / 50).max(100)
    } else {
        events
    }
}
