//! The fault suite: a real host, a real Redis and an app's workers, while all that can fail does.
//!
//! A run has a seed, from which the faults and their times are drawn. It passes when every event that Slack had for the
//! app was handled at least once, in order, and every message that the app sent was posted once, in order, or reported.
//! `cargo test --test faults` makes one short run for each transport; `cargo xtask faults` makes as many as one likes.
//! A seed always draws the same plan; its course also depends on how the processes are scheduled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that can't have what it needs fails with a sentence; this one tells what it does"
)]

mod aof;
mod arguments;
mod dice;
mod draw;
mod evidence;
mod host;
mod plan;
mod report;
mod run;
mod stage;
mod strike;
mod traffic;
mod verdict;

use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::plan::Plan;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    aof::self_test();
    let runtime = tokio::runtime::Runtime::new().expect("the machine has threads");
    let outcomes = runtime.block_on(async {
        let mut outcomes = Vec::new();
        for (seed, transport) in arguments.runs() {
            let plan = Plan::draw(seed, transport, arguments.length);
            if arguments.shows_plans {
                println!("{plan}");
                continue;
            }
            let outcome = run::run(plan, arguments.keeps).await;
            println!("{}", report::line(&outcome));
            outcomes.push(outcome);
        }
        outcomes
    });
    if outcomes.len() > 1 {
        println!("\n{}", report::table(&outcomes));
    }
    match outcomes.iter().all(|it| it.verdict.broken.is_empty()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
