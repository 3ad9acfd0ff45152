//! Emitting events of the plugin's own.

use serde::Serialize;

use crate::{Emission, EmitError, Error, imports};

impl Emission {
    /// A new event. The body is a JSON object: `json!({...})`, a map or a struct.
    ///
    /// # Errors
    /// The body can't be written as JSON.
    pub fn new(kind: impl Into<String>, body: &impl Serialize) -> Result<Self, Error> {
        Ok(Emission {
            kind: kind.into(),
            body: serde_json::to_string(body)?,
        })
    }
}

/// Emits an event in addition to the current one. It goes in the same direction, after the current one. Inbound,
/// `standup` goes to the channel `slack.standup`. The manifest must list the kind under `emits`.
///
/// # Errors
/// The host refuses the event; [`EmitError`] says why.
pub fn emit(kind: impl Into<String>, body: &impl Serialize) -> Result<(), EmitError> {
    let emission =
        Emission::new(kind, body).map_err(|error| EmitError::Invalid(error.to_string()))?;
    imports::emitter::emit(&emission)
}
