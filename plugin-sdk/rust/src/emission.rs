//! Events of the plugin's own.

use serde::Serialize;

use crate::{Emission, EmitError, Error, host};

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

/// Emits an event beside the one at hand, the same way as it goes and behind it. Inbound, `standup` goes to the channel
/// `slack.standup`. The kind must be among the manifest's `emits`.
///
/// # Errors
/// The host does not take it; [`EmitError`] says why.
pub fn emit(kind: impl Into<String>, body: &impl Serialize) -> Result<(), EmitError> {
    let emission =
        Emission::new(kind, body).map_err(|error| EmitError::Invalid(error.to_string()))?;
    host::emitter::emit(&emission)
}
