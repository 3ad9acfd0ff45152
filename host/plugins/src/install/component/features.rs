//! The features of WebAssembly that guests may use: those of the engine (`runtime/engine.rs`), but for several memories in
//! one module, which only the engine's own adapters have.

use wasmparser::{Validator, WasmFeatures};

use crate::install::component::error::ArtifactError;

/// Checks that a component is valid, and needs no feature that this host does not have. The engine would refuse it too,
/// but only when it is loaded, and in words that help nobody.
pub(super) fn check(component: &[u8]) -> Result<(), ArtifactError> {
    let validated = Validator::new_with_features(features()).validate_all(component);
    let Err(error) = validated else { return Ok(()) };
    let message = error.message();
    Err(match message {
        _ if message.contains("model async") => ArtifactError::AsyncAbi,
        _ => ArtifactError::Invalid {
            offset: error.offset(),
            message: message.into(),
        },
    })
}

fn features() -> WasmFeatures {
    let refused = WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::THREADS;
    WasmFeatures::WASM3
        .union(WasmFeatures::COMPONENT_MODEL)
        .difference(refused)
}
