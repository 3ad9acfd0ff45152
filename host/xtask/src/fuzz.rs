//! Fuzzing: builds the targets with coverage counters, and runs libFuzzer on each of them for a while.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use djangobot_tests::environment::directory;

use crate::instrument::instrumented;
use crate::setup::install_compiler;
use crate::step::{StepError, cargo, output, shown};

/// How long one target is fuzzed by default, in seconds. It is short, because CI fuzzes with each change.
pub(crate) const SECONDS: u32 = 5;
/// The time that one input may take, in seconds. A parser that takes longer counts as hanging.
const PATIENCE: u32 = 10;
/// The memory that the process may use, in mebibytes. The targets themselves allow parsers far less.
const MEMORY: u32 = 1024;

/// A fuzz target, as the program lists it.
#[derive(Clone)]
struct Target {
    name: String,
    /// The longest input, in bytes.
    longest: String,
}

/// Fuzzes the targets with these names, or all, each for some seconds.
pub(crate) fn fuzz(names: &[String], seconds: u32) -> Result<(), StepError> {
    let program = build()?;
    let targets = chosen(&program, names)?;
    println!("==> fuzz {} targets, {seconds} s each", targets.len());
    let started = Instant::now();
    let failures = Mutex::new(Vec::new());
    let waiting = Mutex::new(targets.into_iter());
    std::thread::scope(|scope| {
        let side_by_side = std::thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..side_by_side {
            scope.spawn(|| {
                loop {
                    let Some(target) = lock(&waiting).next() else {
                        break;
                    };
                    match run(&program, &target, seconds) {
                        Ok(line) => println!("{line}"),
                        Err(error) => {
                            println!("{:<12} failed", target.name);
                            lock(&failures).push(error);
                        }
                    }
                }
            });
        }
    });
    println!("==> fuzz: {:.1} s", started.elapsed().as_secs_f64());
    let mut failures = failures.into_inner().unwrap_or_default();
    let last = failures.pop();
    for failure in failures {
        eprintln!("error: {failure}");
    }
    last.map_or(Ok(()), Err)
}

/// Gives one input to one target, and shows the whole output.
pub(crate) fn replay(names: &[String], input: &Path) -> Result<(), StepError> {
    let input = std::path::absolute(input).map_err(|reason| StepError::Read {
        path: input.display().to_string(),
        reason,
    })?;
    let program = build()?;
    let targets = chosen(&program, names)?;
    let [target] = targets.as_slice() else {
        return Err(StepError::Missing(
            "an input is for one target: cargo xtask fuzz --input FILE TARGET".into(),
        ));
    };
    let mut command = Command::new(program);
    command.env("FUZZ_TARGET", &target.name).arg(input);
    shown(&target.name, command.env("RUST_BACKTRACE", "1"))
}

/// Builds the program, with our own crates instrumented and all others as the tests use them.
fn build() -> Result<PathBuf, StepError> {
    install_compiler()?;
    println!("==> build the fuzz targets");
    let started = Instant::now();
    // The whole workspace is built, as for the tests: for one package alone cargo may choose other features.
    let mut build = cargo(&[
        "test",
        "--quiet",
        "--workspace",
        "--test",
        "engine",
        "--features",
        "djangobot-fuzz/engine",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    instrumented(&mut build).map_err(|reason| StepError::Start {
        command: "xtask in the place of rustc".into(),
        reason,
    })?;
    let built = build
        .stderr(Stdio::inherit())
        .output()
        .map_err(|reason| StepError::Start {
            command: "cargo".into(),
            reason,
        })?;
    if !built.status.success() {
        return Err(StepError::Fuzz("the fuzz targets can't be built".into()));
    }
    let said = String::from_utf8_lossy(&built.stdout);
    println!(
        "==> build the fuzz targets: {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let program = said
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next())
        .next_back();
    program.map(PathBuf::from).ok_or_else(|| {
        StepError::Missing("cargo has built the fuzz targets, but names no program".into())
    })
}

/// The targets with these names, or all.
fn chosen(program: &Path, names: &[String]) -> Result<Vec<Target>, StepError> {
    let all: Vec<Target> = output(Command::new(program).env_remove("FUZZ_TARGET"))?
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, longest)| Target {
            name: name.to_owned(),
            longest: longest.to_owned(),
        })
        .collect();
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        all.iter()
            .find(|target| target.name == *name)
            .cloned()
            .ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
                StepError::Missing(format!(
                    "there is no fuzz target {name:?}: there are {}",
                    known.join(", ")
                ))
            })
    };
    names.iter().map(find).collect()
}

/// Fuzzes one target, and returns a line about the run.
fn run(program: &Path, target: &Target, seconds: u32) -> Result<String, StepError> {
    let folder = directory()
        .parent()
        .map(|target| target.join("fuzz"))
        .unwrap_or_default()
        .join(&target.name);
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus).map_err(|reason| StepError::Write {
        path: corpus.display().to_string(),
        reason,
    })?;
    let mut command = Command::new(program);
    command
        .env("FUZZ_TARGET", &target.name)
        .env("FUZZ_FOLDER", &folder)
        // A backtrace is shown when the input is replayed; here it would hide the message.
        .env("RUST_BACKTRACE", "0")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-max_len={}", target.longest))
        .arg(format!("-dict={}", folder.join("words").display()))
        .arg(format!("-artifact_prefix={}/", folder.display()))
        .args([&corpus, &folder.join("seeds")])
        .stdin(Stdio::null());
    let ended = command.output().map_err(|reason| StepError::Start {
        command: program.display().to_string(),
        reason,
    })?;
    let said = String::from_utf8_lossy(&ended.stderr);
    match said.lines().find(|line| line.contains("DONE")) {
        Some(done) if ended.status.success() => Ok(summary(&target.name, done)),
        _ => Err(StepError::Fuzz(failure(&target.name, &said))),
    }
}

/// Rewrites libFuzzer's last line in words: `#184196 DONE cov: 1027 ft: 4571 corp: 612/51Kb lim: 1024 exec/s: 26313
/// rss: 83Mb`.
fn summary(name: &str, done: &str) -> String {
    let value = |key: &str| {
        let mut words = done.split_whitespace();
        words.find(|word| *word == key)?;
        words.next()
    };
    let runs = done.split_whitespace().next().unwrap_or_default();
    format!(
        "{name:<12} {:>9} runs, {:>5} edges covered, {:>5} inputs kept",
        runs.trim_start_matches('#'),
        value("cov:").unwrap_or("?"),
        value("corp:")
            .and_then(|corpus| corpus.split('/').next())
            .unwrap_or("?"),
    )
}

/// Describes a failure: the panic, the input, and the command that shows it again.
fn failure(name: &str, said: &str) -> String {
    let written = said
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| path);
    let panic = said
        .lines()
        .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"))
        .take_while(|line| !line.starts_with("note: ") && !line.starts_with("NOTE: "))
        .collect::<Vec<_>>()
        .join("\n");
    match written {
        Some(path) => format!(
            "the target {name} failed:\n{panic}\nits input is {path}; cargo xtask fuzz --input {path} {name} shows it again"
        ),
        None => format!("the target {name} could not be run:\n{said}"),
    }
}

/// Locks a mutex even if another thread panicked while it held the lock. This crate uses none of the host's crates, so
/// that it is built quickly, and therefore has a function of its own.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_in_a_line() {
        let done =
            "#184196\tDONE   cov: 1027 ft: 4571 corp: 612/51Kb lim: 1024 exec/s: 26313 rss: 83Mb";
        assert_eq!(
            summary("event", done),
            "event           184196 runs,  1027 edges covered,   612 inputs kept"
        );
    }

    #[test]
    fn a_failure_shows_the_panic_and_the_command_that_shows_it_again() {
        let said = "INFO: Seed: 1\nthread '<unnamed>' (7) panicked at src/x.rs:6:5:\nbyte 9 of 8\n\
                    note: run with ...\nartifact_prefix='/t/'; Test unit written to /t/crash-1\n";
        assert_eq!(
            failure("event", said),
            "the target event failed:\nthread '<unnamed>' (7) panicked at src/x.rs:6:5:\nbyte 9 of 8\n\
             its input is /t/crash-1; cargo xtask fuzz --input /t/crash-1 event shows it again"
        );
    }
}
