//! What the host tells plugins of the team, as far as this crate knows of it: plain values, asked of whoever keeps them.

/// Which way an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From Slack to the app.
    Inbound,
    /// From the app to Slack.
    Outbound,
}

impl Direction {
    /// `inbound` or `outbound`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// A member of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `U...` or `W...`.
    pub id: String,
    /// The handle.
    pub name: String,
    /// May be empty.
    pub display_name: String,
    /// May be empty.
    pub real_name: String,
    /// Whether it is a bot's user.
    pub is_bot: bool,
    /// Whether the account is switched off.
    pub deleted: bool,
}

/// A channel or direct message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// `C...`, `G...` or `D...`.
    pub id: String,
    /// Without `#`; empty for a direct message with one user.
    pub name: String,
    /// Whether it is no public channel.
    pub is_private: bool,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usergroup {
    /// `S...`.
    pub id: String,
    /// Without `@`.
    pub handle: String,
    /// For people.
    pub name: String,
}

/// An integration that posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    /// `B...`.
    pub id: String,
    /// For people.
    pub name: String,
}

/// Whom the host speaks as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `T...`.
    pub team_id: String,
    /// `U...`.
    pub user_id: String,
    /// `B...`, where it is known.
    pub bot_id: Option<String>,
    /// The handle.
    pub name: String,
}

/// Answers from memory. An id that is not known is asked for in the background.
pub trait Roster: Send + Sync {
    /// Whom the host speaks as, once it is connected.
    fn me(&self) -> Option<Identity>;
    /// The user with an id.
    fn user(&self, id: &str) -> Option<User>;
    /// The conversation with an id.
    fn conversation(&self, id: &str) -> Option<Conversation>;
    /// The user group with an id.
    fn usergroup(&self, id: &str) -> Option<Usergroup>;
    /// The bot with an id.
    fn bot(&self, id: &str) -> Option<Bot>;
    /// The one user whom a name means: a handle, a display name or a real name.
    fn find_user(&self, name: &str) -> Option<User>;
    /// The channel with a name.
    fn find_conversation(&self, name: &str) -> Option<Conversation>;
}

/// A team of which nothing is known.
impl Roster for () {
    fn me(&self) -> Option<Identity> {
        None
    }

    fn user(&self, _id: &str) -> Option<User> {
        None
    }

    fn conversation(&self, _id: &str) -> Option<Conversation> {
        None
    }

    fn usergroup(&self, _id: &str) -> Option<Usergroup> {
        None
    }

    fn bot(&self, _id: &str) -> Option<Bot> {
        None
    }

    fn find_user(&self, _name: &str) -> Option<User> {
        None
    }

    fn find_conversation(&self, _name: &str) -> Option<Conversation> {
        None
    }
}
