//! Whole programs: a real `djangobot`, a local Slack, a real Redis, and Django apps in Python.
//!
//! The program is the one that lies in `target`: `cargo xtask test` builds it first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that can't have what it needs fails with a sentence; one that is passed over says so"
)]

mod absent_worker;
mod answers;
mod app;
mod arguments;
mod bad_events;
mod bridge;
mod browsers;
mod catch_up;
mod check;
mod command_line;
mod compilation;
mod crowds;
mod deployment;
mod embedded;
mod events;
mod faults;
mod files;
mod forwarding;
mod gaps;
mod guards;
#[path = "../plugins/guest.rs"]
#[allow(dead_code, reason = "the tests of plugins use all of it")]
mod guest;
mod hosts;
mod http;
mod lanes;
mod local;
mod logs;
#[path = "../docs/markdown.rs"]
#[allow(dead_code, reason = "the tests of the documents use all of it")]
mod markdown;
mod names;
mod outbox;
mod plugin_cli;
mod plugin_deployment;
mod plugin_slack;
mod plugins;
mod projects;
mod refusals;
mod release;
mod retries;
mod scripts;
mod sending;
mod sessions;
mod state;
mod stops;
mod tokens;
mod transports;
mod updates;
mod walk;
mod web_api;
mod worker;
