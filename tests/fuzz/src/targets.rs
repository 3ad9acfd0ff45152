//! The targets, one file for each.

pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod config_file;
pub(crate) mod edits;
pub(crate) mod envelopes;
pub(crate) mod event;
pub(crate) mod frames;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod lock;
pub(crate) mod logs;
pub(crate) mod manifest;
pub(crate) mod mrkdwn;
pub(crate) mod msgpack;
pub(crate) mod names;
pub(crate) mod places;
pub(crate) mod requests;
pub(crate) mod resp;
pub(crate) mod roster;
pub(crate) mod schema;
pub(crate) mod servers;
pub(crate) mod settings;
pub(crate) mod urls;
