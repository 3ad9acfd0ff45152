//! The running plugins: compiling components, instances and their limits, calls, and the way of an event through them.

pub(crate) mod abi;
pub(crate) mod breaker;
pub(crate) mod cache;
pub mod compile;
pub(crate) mod engine;
pub(crate) mod guest;
pub(crate) mod instance;
pub(crate) mod load;
pub(crate) mod owner;
pub(crate) mod pipeline;
pub(crate) mod plugin;
pub(crate) mod rehearsal;
pub(crate) mod stats;
pub(crate) mod vacancy;
pub(crate) mod wasi;
pub(crate) mod wasi_state;
