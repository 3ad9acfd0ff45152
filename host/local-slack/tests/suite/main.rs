//! The local Slack as plain clients meet it: Web API, RTM, control and terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that does not get what it expects has failed"
)]

mod chat;
mod client;
mod control;
mod rtm;
mod socket_mode;
mod terminal;
mod web_api;
