//! Tests of hostile and broken plugins in the real plugin host. The components are real: they are written as core
//! modules, which the host makes into components. After each, events still flow, also through the other plugins.
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
mod interface;
mod policy;
mod reload;
mod stage;
mod wasi;
mod words;
