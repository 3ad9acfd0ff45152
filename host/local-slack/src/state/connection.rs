//! A connection's identity: its number, and the protocol that is spoken on it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// The number of a socket; it is never used again in the life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The protocol on a socket.
#[derive(Debug)]
pub(crate) enum Protocol {
    Rtm {
        /// Whether the presence of several users comes in one event.
        batch_presence: bool,
        /// Users whose presence the client wants to hear of.
        watched: Mutex<BTreeSet<usize>>,
    },
    SocketMode,
}

impl Protocol {
    /// As [`crate::Connection`] names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Protocol::Rtm { .. } => "rtm",
            Protocol::SocketMode => "socket-mode",
        }
    }

    /// A client that sends more bytes in one message is cut off, as by Slack in RTM. In Socket Mode Slack ignores
    /// messages that are too long, so that this limit only bounds our memory.
    pub(crate) fn longest_message(&self) -> usize {
        match self {
            Protocol::Rtm { .. } => 16 * 1024,
            Protocol::SocketMode => 4 * 1024 * 1024,
        }
    }
}
