//! The targets, one file for each.

pub(crate) mod edits;
pub(crate) mod event;
pub(crate) mod frames;
pub(crate) mod msgpack;
