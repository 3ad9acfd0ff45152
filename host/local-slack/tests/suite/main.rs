//! The local Slack as plain clients meet it: Web API, RTM, control and terminal.

mod client;
mod control;
mod rtm;
mod terminal;
mod web_api;
