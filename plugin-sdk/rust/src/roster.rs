//! The team's users, channels and so on, from the host's memory. The host looks up an unknown id or name in the
//! background, so that a later call may find it.

use crate::host;

pub use crate::bindings::djangobot::plugin::roster::{
    Bot, Conversation, Identity, User, Usergroup,
};

/// The host's own identity; `None` before the first connection to Slack.
pub fn me() -> Option<Identity> {
    host::roster::me()
}

/// The user with an id, `U...` or `W...`.
pub fn user(id: &str) -> Option<User> {
    host::roster::get_user(id)
}

/// Many users in one call: one for each id, in the same order.
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

/// Finds a user by handle, display name or real name, with or without the `@`, in upper or lower case. Active users go
/// before deactivated ones, then a handle before a display name, and that before a real name. `None` if several users
/// fit equally well.
pub fn find_user(name: &str) -> Option<User> {
    host::roster::find_user(name)
}

/// Finds a channel by its name, with or without the `#`, in upper or lower case.
pub fn find_conversation(name: &str) -> Option<Conversation> {
    host::roster::find_conversation(name)
}
