//! The state of the local Slack: what is in the workspace, who may do what, and what clients did.

pub(crate) mod access;
pub(crate) mod files;
pub(crate) mod journal;
pub(crate) mod roster;
pub(crate) mod workspace;
