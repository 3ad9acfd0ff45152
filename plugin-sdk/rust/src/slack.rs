//! Messages to Slack, as an app would put them on `slack.send`, and calls of its Web API. [`send`] needs the grant
//! `slack`, and [`call`] the grant `slack:METHOD`.
//!
//! ```
//! use djangobot_plugin::slack;
//! use serde_json::json;
//!
//! slack::send(&json!({"channel": "general", "text": "Standup in five minutes"}))?;
//! # Ok::<(), slack::SendError>(())
//! ```

use serde::Serialize;
use serde_json::Value;

use crate::imports;

pub use crate::bindings::djangobot::plugin::slack::{CallError, Refusal, SendError};

/// Calls a method of Slack's Web API, and returns Slack's answer: `call("users.lookupByEmail", &json!({"email": email}))`.
///
/// # Errors
/// The call did not succeed; [`CallError`] says why.
pub fn call(method: &str, arguments: &impl Serialize) -> Result<Value, CallError> {
    let arguments =
        serde_json::to_string(arguments).map_err(|error| CallError::Invalid(error.to_string()))?;
    let answer = imports::slack::call(method, &arguments)?;
    serde_json::from_str(&answer).map_err(|error| CallError::Other(error.to_string()))
}

/// Sends a message, after the current call has ended well. Returns the message's id: a plugin whose manifest subscribes
/// to `djangobot.sent` or `djangobot.failed` gets the outcome as an event of that kind, whose `/id` is this id.
///
/// # Errors
/// The host refuses the message; [`SendError`] says why.
pub fn send(message: &impl Serialize) -> Result<String, SendError> {
    let message =
        serde_json::to_string(message).map_err(|error| SendError::Invalid(error.to_string()))?;
    imports::slack::send(&message)
}
