//! The handle by which a test or a person controls the workspace.

use std::sync::Arc;

use crate::core::Core;
use crate::state::workspace::Workspace;

/// A handle on the workspace, from behind the scenes. Waiting functions have no time limit of their own: put
/// `tokio::time::timeout` around them.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) core: Arc<Core>,
}

/// Why an operation could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such user.
    #[error("the workspace has no user {0:?}: give an id or a login name, such as alice")]
    User(String),
    /// There is no such conversation.
    #[error("the workspace has no conversation {0:?}: give an id or a name, such as general")]
    Conversation(String),
    /// Requests go to no network.
    #[error(
        "the local Slack cannot post to {0:?}: give an http:// URL on this machine, such as http://127.0.0.1:8000/slack/events"
    )]
    EventsUrl(String),
    /// An interaction's payload that is not an object.
    #[error("an interaction's payload must be a JSON object")]
    Payload,
    /// A thread's timestamp that is not one.
    #[error("{0:?} is not a ts: give one like 1355517523.000005")]
    Ts(String),
}

impl Control {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

pub(crate) fn find_user(workspace: &Workspace, user: &str) -> Result<usize, ControlError> {
    let name = user.strip_prefix('@').unwrap_or(user);
    let found = workspace.user(user).or_else(|| workspace.user_named(name));
    found.ok_or_else(|| ControlError::User(user.to_owned()))
}

pub(crate) fn find_conversation(
    workspace: &mut Workspace,
    user: usize,
    channel: &str,
) -> Result<usize, ControlError> {
    let name = channel.strip_prefix('#').unwrap_or(channel);
    let found = workspace
        .conversation(channel)
        .or_else(|| workspace.conversation_named(name));
    if let Some(found) = found {
        return Ok(found);
    }
    let Ok(other) = find_user(workspace, channel) else {
        return Err(ControlError::Conversation(channel.to_owned()));
    };
    // `say(alice, djangobot)` and `say(alice, alice)` both mean what alice says to the bot.
    let other = if other == user { workspace.bot } else { other };
    Ok(workspace.open_im(user, other).0)
}
