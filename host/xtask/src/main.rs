//! The chores of this workspace: `cargo xtask setup`, `guests`, `test`, `lint`, `docs`, `faults`, `fuzz` and `bench`.
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
    /// Install what the tests need: Redis, virtualenvs, npm packages. It is quick if all is installed.
    Setup,
    /// Build the plugins that ship into components, in target/guests.
    Guests,
    /// Set up, build, and run all tests. A test that fails does not stop the others.
    Test {
        /// Run only unit tests and the tests of the documents, without a Redis and a Python: under two minutes if
        /// little has changed. The arguments are then those of the test programs, such as a part of a test's name.
        #[arg(long)]
        fast: bool,
        /// Hand these arguments on to `cargo test` [default: all tests of all crates].
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the fault suite: every part fails at random, and nothing may be lost. It has one run for each transport, or
    /// many.
    Faults {
        /// Build for release, so that more traffic goes through in the same time.
        #[arg(long)]
        release: bool,
        /// Choose the runs: --seeds N (from --seed S on, or 1), --seed S alone, --transport rtm|socket-mode|http,
        /// --seconds L of traffic in each run, --plan to print the faults only, --keep to keep the files of runs that
        /// passed.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz the parsers of texts from outside with libFuzzer. Inputs that fail are kept in target/fuzz.
    Fuzz {
        /// Fuzz the targets with these names [default: all].
        names: Vec<String>,
        /// Fuzz each target for this number of seconds.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
        /// Give the target only the input in this file, and show the result.
        #[arg(long)]
        input: Option<PathBuf>,
    },
    /// Check format, lints, documentation, and the sources and licences of dependencies.
    Lint,
    /// Build the book in docs, into target/docs. The first run builds mdBook from crates.io.
    Docs,
    /// Measure the release build and comparable programs, and print tables.
    Bench {
        /// Measure these sections: original, limit, layers, latency, start, event, plugins, ack, spool, recovery,
        /// listener [default: all].
        names: Vec<String>,
        /// Write the tables into BENCHMARKS.md.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    if instrument::is_rustc() {
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
