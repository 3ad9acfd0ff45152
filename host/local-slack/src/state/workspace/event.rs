//! What happens in the workspace, and who is told of it.

use serde_json::Value;

use crate::state::connection::ConnectionId;

/// Something that connections are told.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) audience: Audience,
    pub(crate) value: Value,
}

/// Which connections are told.
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
