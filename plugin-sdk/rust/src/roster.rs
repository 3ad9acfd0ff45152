//! The team, from the host's memory. An id or a name that the host does not know is asked for in the background, so
//! that a later call may find it.

use crate::host;

pub use crate::bindings::djangobot::plugin::roster::{
    Bot, Conversation, Identity, User, Usergroup,
};

/// Whom the host speaks as; nothing before the first connection to Slack.
pub fn me() -> Option<Identity> {
    host::roster::me()
}

/// The user with an id, `U...` or `W...`.
pub fn user(id: &str) -> Option<User> {
    host::roster::get_user(id)
}

/// Many users in one call: as many as ids, in their order.
pub fn users(ids: &[String]) -> Vec<Option<User>> {
    host::roster::get_users(ids)
}

/// The channel or direct message with an id, `C...`, `G...` or `D...`.
pub fn conversation(id: &str) -> Option<Conversation> {
    host::roster::get_conversation(id)
}

/// The group of users with an id, `S...`.
pub fn usergroup(id: &str) -> Option<Usergroup> {
    host::roster::get_usergroup(id)
}

/// The bot with an id, `B...`.
pub fn bot(id: &str) -> Option<Bot> {
    host::roster::get_bot(id)
}

/// By handle, display name or real name, with or without the `@`, in any case: active users go before those that were
/// deactivated, then a handle before a display name, and that before a real name. `None` where a name means several users.
pub fn find_user(name: &str) -> Option<User> {
    host::roster::find_user(name)
}

/// By name, with or without the `#`, in any case.
pub fn find_conversation(name: &str) -> Option<Conversation> {
    host::roster::find_conversation(name)
}
