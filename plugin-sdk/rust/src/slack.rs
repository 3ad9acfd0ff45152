//! Messages to Slack, as an app would put them on `slack.send`. This needs the grant `slack`.
//!
//! ```
//! use djangobot_plugin::slack;
//! use serde_json::json;
//!
//! slack::send(&json!({"channel": "general", "text": "Standup in five minutes"}))?;
//! # Ok::<(), slack::SendError>(())
//! ```

use serde::Serialize;

use crate::host;

pub use crate::bindings::djangobot::plugin::slack::SendError;

/// Sends a message, after the current call has ended well.
///
/// # Errors
/// The host refuses the message; [`SendError`] says why.
pub fn send(message: &impl Serialize) -> Result<(), SendError> {
    let message =
        serde_json::to_string(message).map_err(|error| SendError::Invalid(error.to_string()))?;
    host::slack::send(&message)
}
