//! From a source to a component that the lock pins.

pub mod builds;
pub mod component;
pub mod components;
pub mod config_file;
pub mod lock;
pub mod recipe;
pub mod shipped;
pub mod source;
