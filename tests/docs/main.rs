//! The documents are held against the code: what they name is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says that it was passed over"
)]

mod blocks;
mod code;
mod commands;
mod deployment;
mod errors;
mod imports;
mod interface;
mod links;
mod markdown;
mod metrics;
mod names;
mod settings;
mod with_programs;
