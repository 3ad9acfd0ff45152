//! The programs that are measured or measure from outside, and the one line of JSON that each answers with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use djangobot_tests::{Program, python};
use serde::Deserialize;

use crate::statistics::Round;

/// How long one run of a peer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program of this workspace, built as this one is.
pub(crate) fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe()
        .expect("a program has a path")
        .with_file_name(name);
    assert!(
        here.exists(),
        "{} has not been built: `cargo xtask bench` does it",
        here.display()
    );
    here
}

/// The peer in Python: stock channels_redis.
pub(crate) fn python_peer(arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/layer.py"))
        .args(arguments);
    command
}

/// The peer in Rust: our layers.
pub(crate) fn rust_peer(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("djangobot-bench-peer"));
    command.args(arguments);
    command
}

#[derive(Deserialize)]
struct Measured {
    messages: u64,
    seconds: f64,
    cpu_seconds: f64,
}

/// Runs a peer to its end and reads what it measured of itself.
pub(crate) async fn measured(command: Command) -> Round {
    let mut program = Program::start(command);
    let line = program.line_within("\"seconds\"", PATIENCE).await;
    let Measured {
        messages,
        seconds,
        cpu_seconds,
    } = serde_json::from_str(&line).expect("a peer answers with its figures");
    assert!(
        program.exit().await.success(),
        "a peer failed: {}",
        program.output()
    );
    Round {
        messages,
        // A peer of the layers sends no more than it can count.
        lost: 0,
        wall: Duration::from_secs_f64(seconds),
        cpu: Duration::from_secs_f64(cpu_seconds),
    }
}
