//! A message, the request to post one, and the errors of changing one.

use serde_json::{Map, Value};

use crate::state::ts::Ts;

/// A message as `conversations.history` gives it.
pub(crate) type Message = Map<String, Value>;

/// A message to be posted; everything in it was checked before.
#[derive(Debug, Default)]
pub(crate) struct Post {
    pub(crate) user: usize,
    pub(crate) conversation: usize,
    pub(crate) text: String,
    pub(crate) thread: Option<Ts>,
    /// A reply that the whole conversation sees.
    pub(crate) broadcast: bool,
    /// A name of its own, for this one message.
    pub(crate) username: Option<String>,
    /// `blocks`, `attachments`, `metadata`, `icons` and the like, taken over as they are.
    pub(crate) extra: Map<String, Value>,
}

/// Why a message could not be changed or reacted to, by Slack's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("message_not_found")]
    NotFound,
    #[error("cant_update_message")]
    NotTheirs,
    #[error("already_reacted")]
    AlreadyReacted,
    #[error("no_reaction")]
    NoReaction,
}
