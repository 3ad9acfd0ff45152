//! The local Slack as plain clients and apps meet it: Web API, RTM, Socket Mode, HTTP, control and terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that does not get what it expects has failed"
)]

mod app;
mod chat;
mod client;
mod control;
mod faults;
mod http_events;
mod messages;
mod oauth;
mod rtm;
mod socket_mode;
mod terminal;
mod traffic;
mod unseen;
mod web_api;
