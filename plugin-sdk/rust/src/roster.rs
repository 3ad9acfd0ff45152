//! The team's users, channels and so on, from the host's memory. The host looks up an unknown id or name in the
//! background, so that a later call may find it.

use crate::{Value, imports};

pub use crate::bindings::djangobot::plugin::roster::{
    Bot, Conversation, Identity, Table, User, Usergroup,
};

/// The host's own identity; `None` before the first connection to Slack.
pub fn me() -> Option<Identity> {
    imports::roster::me()
}

/// The user with an id, `U...` or `W...`.
pub fn user(id: &str) -> Option<User> {
    imports::roster::get_user(id)
}

/// Many users in one call: one for each id, in the same order.
pub fn users(ids: &[String]) -> Vec<Option<User>> {
    imports::roster::get_users(ids)
}

/// The channel or direct message with an id, `C...`, `G...` or `D...`.
pub fn conversation(id: &str) -> Option<Conversation> {
    imports::roster::get_conversation(id)
}

/// The group of users with an id, `S...`.
pub fn usergroup(id: &str) -> Option<Usergroup> {
    imports::roster::get_usergroup(id)
}

/// The bot with an id, `B...`.
pub fn bot(id: &str) -> Option<Bot> {
    imports::roster::get_bot(id)
}

/// The one user whom a name means: a handle, a display name or a real name, with or without the `@`, in upper or lower
/// case. Active users go before deactivated ones, then a handle before a display name, and that before a real name.
/// `None` if several users fit equally well.
pub fn find_user(name: &str) -> Option<User> {
    let wanted = name.trim().trim_start_matches('@').to_lowercase();
    let rank = |user: &User| {
        let names = [&user.name, &user.display_name, &user.real_name];
        let which = names.iter().position(|it| it.to_lowercase() == wanted);
        (user.deleted, which)
    };
    let mut found = find_users(name).into_iter();
    let first = found.next()?;
    found
        .next()
        .is_none_or(|next| rank(&next) != rank(&first))
        .then_some(first)
}

/// All users with a name, those whom it means best first.
pub fn find_users(name: &str) -> Vec<User> {
    imports::roster::find_users(name)
}

/// The channel that a name means best, with or without the `#`, in upper or lower case.
pub fn find_conversation(name: &str) -> Option<Conversation> {
    find_conversations(name).into_iter().next()
}

/// All channels with a name, those that it means best first.
pub fn find_conversations(name: &str) -> Vec<Conversation> {
    imports::roster::find_conversations(name)
}

/// The groups of users with a handle.
pub fn find_usergroups(handle: &str) -> Vec<Usergroup> {
    imports::roster::find_usergroups(handle)
}

/// Fields of an entry beyond those of its record, by pointers into the object that Slack's Web API gives for it; `None` if
/// the entry is not known. `wit/plugin.wit` lists the fields that the host keeps.
///
/// ```
/// # use djangobot_plugin::roster::{self, Table};
/// # fn f() -> Option<()> {
/// let [email, zone] = roster::select(Table::Users, "U1", ["/profile/email", "/tz"])?;
/// # Some(())
/// # }
/// ```
pub fn select<const N: usize>(
    table: Table,
    id: &str,
    pointers: [&str; N],
) -> Option<[Option<Value>; N]> {
    let pointers = pointers.map(str::to_owned);
    let mut values = imports::roster::select(table, id, &pointers)?.into_iter();
    Some(std::array::from_fn(|_| values.next().flatten()))
}

/// The email address of a user, if Slack gives it: the app needs the scope `users:read.email`.
pub fn email(user_id: &str) -> Option<String> {
    let [email] = select(Table::Users, user_id, ["/profile/email"])?;
    email?.into_text()
}
