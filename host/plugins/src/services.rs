//! The host's services for plugins, behind the interfaces that plugins import: HTTP, store, secrets, roster and log.

pub mod http;
pub(crate) mod log;
pub(crate) mod meter;
pub mod roster;
pub mod secrets;
pub mod slack;
pub mod store;
