//! What tests of whole programs need: a real Redis, real virtualenvs, real npm packages, and programs to watch.
//!
//! All of it is put in place by `cargo xtask setup`, under `target/test-env`.
//! What is missing is a panic that says so in one sentence: a test that can't run has failed.
//!
//! What waits is `async`, and polls nothing that the test's own runtime would have to answer while blocked;
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
