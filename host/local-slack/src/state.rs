//! The state of the local Slack: what is in the workspace, who may do what, and what clients did.

pub(crate) mod access;
pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod feed;
pub(crate) mod files;
pub(crate) mod journal;
pub(crate) mod response_urls;
pub(crate) mod roster;
pub(crate) mod tickets;
pub(crate) mod triggers;
pub(crate) mod ts;
pub(crate) mod views;
pub(crate) mod workspace;
