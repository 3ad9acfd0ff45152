//! What the host does for plugins: the interfaces that they import.

pub mod http;
pub(crate) mod log;
pub(crate) mod meter;
pub mod roster;
pub mod secrets;
pub mod store;
