//! Chores of this workspace: `cargo xtask setup`, `cargo xtask guests`, `cargo xtask test`, `cargo xtask lint`,
//! `cargo xtask docs`, `cargo xtask faults`, `cargo xtask fuzz`, `cargo xtask bench`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore tells the person who runs it what it does"
)]

mod bench;
mod checks;
mod docs;
mod fuzz;
mod guests;
mod instrument;
mod setup;
mod step;
mod supply;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::step::StepError;

/// Chores of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Put in place what the tests need: Redis, virtualenvs, npm packages. Quick when it is there.
    Setup,
    /// Build the plugins that ship to components, in target/guests.
    Guests,
    /// Set up, build, and run all tests, whichever of them fail.
    Test {
        /// Only unit tests and the tests of the documents, with no Redis and no Python: under two minutes where little has
        /// changed. Arguments are then those of the test programs, such as part of a test's name.
        #[arg(long)]
        fast: bool,
        /// What to hand on to `cargo test`; without it, all tests of all crates.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Let all fail that can, at random, and see whether anything is lost: one run for each transport, or many.
    Faults {
        /// Build for release: more traffic goes through in the same time.
        #[arg(long)]
        release: bool,
        /// What to run: --seeds N (from --seed S on, or 1), --seed S alone, --transport rtm|socket-mode|http, --seconds L
        /// of traffic in each run, --plan to see what would happen, --keep for the files of runs that passed.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz the parsers of what comes from outside, with libFuzzer; what it finds is kept in target/fuzz.
    Fuzz {
        /// The targets, by name; without one, all of them.
        names: Vec<String>,
        /// How long each is fuzzed.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
        /// Give the target this one input instead, and show what comes of it.
        #[arg(long)]
        input: Option<PathBuf>,
    },
    /// Look at what no test sees: format, lints, documentation, and where dependencies come from.
    Lint,
    /// Build the book in docs, into target/docs. The first time, mdBook is built from crates.io.
    Docs,
    /// Measure the released program beside its peers, and print tables; `--write` puts them into BENCHMARKS.md.
    Bench {
        /// What to measure (original, limit, layers, latency, start, event, plugins, ack, spool, recovery, listener); without a name, all of it.
        names: Vec<String>,
        /// Put the tables into BENCHMARKS.md.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    if instrument::is_asked() {
        return instrument::rustc();
    }
    match run(Chore::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<(), StepError> {
    match chore {
        Chore::Setup => setup::setup(),
        Chore::Guests => checks::guests(),
        Chore::Test {
            fast: true,
            arguments,
        } => checks::test_fast(&arguments),
        Chore::Test { arguments, .. } => checks::test(&arguments),
        Chore::Faults { release, arguments } => checks::faults(&arguments, release),
        Chore::Fuzz {
            names,
            input: Some(input),
            ..
        } => fuzz::replay(&names, &input),
        Chore::Fuzz { names, seconds, .. } => fuzz::fuzz(&names, seconds),
        Chore::Lint => checks::lint(),
        Chore::Docs => docs::docs(),
        Chore::Bench { names, write } => bench::bench(&names, write),
    }
}
