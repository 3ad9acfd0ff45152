//! Hostile and broken plugins against the real plugin host: real components, written as core modules and made
//! components by the host's own means. After each, events still flow, through the plugins beside it too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't have what it needs fails with a sentence"
)]

mod abi;
mod answers;
mod budget;
mod effects;
mod guards;
mod guest;
mod hostile;
mod policy;
mod reload;
mod stage;
mod wasi;
mod words;
