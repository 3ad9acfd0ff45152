//! Events of the workspace, and the connections that get them.

use serde_json::Value;

use crate::state::connection::ConnectionId;

/// An event for connections.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) audience: Audience,
    pub(crate) value: Value,
}

/// The connections that get an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All whose user is in this conversation.
    Members(usize),
    /// The same, without the connection that caused it.
    MembersBut(usize, ConnectionId),
    /// All of one user.
    User(usize),
    /// All that asked for the presence of this user.
    Watchers(usize),
}
