//! The functions that answer a plugin's calls: the component's imports, or on other targets than WebAssembly those of
//! [`crate::testing`].

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::djangobot::plugin::{
    clock, emitter, event, host, http, log, random, roster, secrets, slack, store,
};
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::calls::{
    clock, emitter, event, host, http, log, random, roster, secrets, slack, store,
};
