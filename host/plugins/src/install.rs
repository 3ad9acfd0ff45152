//! Installing plugins: reading, downloading or building a component, and pinning it in the lock.

pub mod builds;
pub mod component;
pub mod components;
pub mod config_file;
pub mod lock;
pub mod recipe;
pub mod script;
pub mod shipped;
pub mod source;
