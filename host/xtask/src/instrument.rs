//! Runs rustc for the crates of this workspace with the flags that coverage-guided fuzzing needs.
//!
//! Cargo calls this program in place of rustc, for our own crates alone. It keeps the results apart from other builds
//! and uses the external dependencies as they are, so that a fuzz build compiles only our own crates. With `RUSTFLAGS`
//! it would compile all of them again.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

/// The environment variable that is set when cargo calls this program in place of rustc.
const VARIABLE: &str = "XTASK_INSTRUMENTS";

/// The flags for LLVM: a counter for each edge, and calls that give libFuzzer the values of comparisons.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // The code is fast enough with this, and has all checks of a debug build.
    "-Copt-level=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// Makes `cargo` call this program in place of rustc.
pub(crate) fn instrumented(cargo: &mut Command) -> std::io::Result<&mut Command> {
    let wrapper = env::current_exe()?;
    Ok(cargo
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env(VARIABLE, "1"))
}

/// Whether cargo called this process in place of rustc.
pub(crate) fn is_rustc() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Runs rustc with the arguments of this process.
pub(crate) fn rustc() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((rustc, arguments)) = arguments.split_first() else {
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(rustc);
    command.args(arguments).env_remove(VARIABLE);
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

/// Whether the crate becomes part of the fuzz program. Macros and build scripts run while cargo builds, without
/// libFuzzer, so that calls of libFuzzer in them could not be linked.
fn links_with_the_engine(arguments: &[OsString]) -> bool {
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1).map(OsString::as_os_str)
    };
    // Cargo also calls rustc with the crate name `___`, to ask for its properties. The targets themselves are not
    // parsers, so their coverage says nothing.
    let is_ours = value("--crate-name").is_some_and(|name| {
        ![OsStr::new("___"), OsStr::new("build_script_build")].contains(&name)
            && !name.to_string_lossy().starts_with("djangobot_fuzz")
    });
    is_ours && value("--crate-type") != Some(OsStr::new("proc-macro"))
}
