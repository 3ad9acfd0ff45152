//! Messages by which Slack ends a Socket Mode connection, and a frame that is broken on purpose.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fault::Reason;
use crate::socket::frame::{self, Kind};
use crate::socket::open::Socket;

/// The `disconnect` message with this reason.
pub(crate) fn farewell(reason: Reason) -> Value {
    json!({"type": "disconnect", "reason": reason.name(), "debug_info": {"host": "local-slack"}})
}

/// Sends `disconnect` and closes the socket: at once, or `warning_time` after a warning.
pub(crate) fn disconnect(socket: &Socket, reason: Reason, warning_time: Duration) {
    socket.send_json(&farewell(reason));
    let now = Instant::now();
    socket.end_at(match reason {
        Reason::Warning => now + warning_time,
        Reason::RefreshRequested | Reason::TooManyWebsockets | Reason::LinkDisabled => now,
    });
}

/// A frame like this one whose JSON breaks off in the middle.
pub(crate) fn garbled(whole: &Bytes) -> Bytes {
    // The header of the frame is at most ten bytes, and an envelope is longer than twice that.
    frame::frame(Kind::Text, &whole[10..whole.len() / 2])
}
