//! The embedded channel layer: against a real Redis, with real Python, and where connections break.

mod client;
mod differential;
mod layer;
mod waiting;
