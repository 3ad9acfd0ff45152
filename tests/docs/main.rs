//! The documents are held against the code: what they name is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod blocks;
mod code;
mod imports;
mod links;
mod markdown;
mod names;
