//! The surroundings of whole programs under test: a real Redis, real virtualenvs, real npm packages.
//!
//! All of it is put in place by `cargo xtask setup`, under `target/test-env`.
//! If something is missing, the test panics with a sentence about it: a test that can't run has failed.
//!
//! Functions that wait are `async`, and block no thread that the test's own runtime needs;
//! so servers that run inside the test may be waited for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't have what it needs fails with a sentence"
)]

pub mod environment;
mod patience;
mod program;
mod redis;

pub use environment::{binary, node, node_modules, python, python_channels1, python_redis7};
pub use patience::{DEADLINE, eventually, free_port, seen};
pub use program::Program;
pub use redis::{Redis, redis_cli};

#[cfg(test)]
mod with_programs;
