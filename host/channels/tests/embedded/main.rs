//! The embedded channel layer: against a real Redis, with real Python, and where connections break.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail the test")]

mod client;
mod differential;
mod layer;
mod waiting;
