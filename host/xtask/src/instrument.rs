//! xtask in the place of rustc, for the crates of this workspace alone: it adds what coverage-guided fuzzing needs.
//!
//! Cargo keeps what comes of it apart from other builds and takes the external dependencies as they are, so that a fuzz
//! build costs our own crates and nothing else. `RUSTFLAGS` would build all of them anew.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

/// Set where we are called in the place of rustc.
const ASKED: &str = "XTASK_INSTRUMENTS";

/// What LLVM is told: a counter for each edge, and calls that tell libFuzzer what was compared.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Some speed, with all that a debug build checks.
    "-Copt-level=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// Has `cargo` build with this.
pub(crate) fn instrumented(cargo: &mut Command) -> std::io::Result<&mut Command> {
    let wrapper = env::current_exe()?;
    Ok(cargo
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env(ASKED, "1"))
}

/// Whether this process stands in the place of rustc.
pub(crate) fn is_asked() -> bool {
    env::var_os(ASKED).is_some()
}

/// Runs rustc with the arguments of this process.
pub(crate) fn rustc() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((rustc, arguments)) = arguments.split_first() else {
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(rustc);
    command.args(arguments).env_remove(ASKED);
    if links_with_the_engine(arguments) {
        command.args(FLAGS);
    }
    match command.status() {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code as u8)),
        Err(error) => {
            eprintln!("error: {} can't be started: {error}", rustc.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether the crate becomes part of the fuzz program: what runs while cargo builds has nobody who counts.
fn links_with_the_engine(arguments: &[OsString]) -> bool {
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1).map(OsString::as_os_str)
    };
    // Cargo's own questions have no crate of ours, and the targets themselves are no parsers.
    let is_ours = value("--crate-name").is_some_and(|name| {
        ![OsStr::new("___"), OsStr::new("build_script_build")].contains(&name)
            && !name.to_string_lossy().starts_with("djangobot_fuzz")
    });
    is_ours && value("--crate-type") != Some(OsStr::new("proc-macro"))
}
