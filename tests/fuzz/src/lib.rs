//! Every parser of what comes from outside, as a fuzz target: a function that takes any bytes, and panics where the
//! parser breaks a promise.
//!
//! That a parser does not panic is the least of it. A target also compares it with an independent one, reads again what
//! was written, wants an error's place to be inside the input, and holds the memory to a bound.
//!
//! `cargo xtask fuzz` lets libFuzzer search, led by the coverage of our own crates; `tests/damage.rs` runs the same
//! targets on their seeds, damaged by chance, with every `cargo test`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a target fails by a panic"
)]

mod json;
mod pieces;
mod proportion;
pub mod samples;
mod targets;

/// One parser, and what is known of its inputs.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Gives the parser an input, and panics where a promise is broken.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that are put into inputs as a whole, because chance would hardly find them.
    pub words: &'static [&'static str],
    /// The longest input, in bytes: most of what breaks a parser is short, and short inputs are fast.
    pub longest: usize,
}

/// All targets, in the order in which they are run.
pub const TARGETS: &[Target] = &[
    targets::frames::TARGET,
    targets::envelopes::TARGET,
    targets::http::TARGET,
    targets::event::TARGET,
    targets::edits::TARGET,
    targets::msgpack::TARGET,
    targets::roster::TARGET,
    targets::history::TARGET,
    targets::mrkdwn::TARGET,
    targets::resp::TARGET,
    targets::servers::TARGET,
    targets::settings::TARGET,
    targets::urls::TARGET,
    targets::names::TARGET,
    targets::requests::TARGET,
    targets::manifest::TARGET,
    targets::schema::TARGET,
    targets::config::TARGET,
    targets::config_file::TARGET,
    targets::lock::TARGET,
    targets::component::TARGET,
    targets::places::TARGET,
    targets::logs::TARGET,
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
