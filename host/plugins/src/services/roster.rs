//! The roster as plugins see it: plain values about the team, and the trait by which the program provides them.

use djangobot_event::Event;

/// The tables of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Users, those who are deactivated too.
    Users,
    /// Channels and direct messages.
    Conversations,
    /// Groups of users.
    Usergroups,
    /// Bots.
    Bots,
}

/// The direction of an event.
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
    /// The id: `U...` or `W...`.
    pub id: String,
    /// The handle.
    pub name: String,
    /// The name that Slack shows; may be empty.
    pub display_name: String,
    /// The full name; may be empty.
    pub real_name: String,
    /// Whether it is the user of a bot.
    pub is_bot: bool,
    /// Whether the account is deactivated.
    pub deleted: bool,
}

/// A channel or direct message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The id: `C...`, `G...` or `D...`.
    pub id: String,
    /// The name without `#`; empty for a direct message with one user.
    pub name: String,
    /// Whether it is not a public channel.
    pub is_private: bool,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usergroup {
    /// The id: `S...`.
    pub id: String,
    /// The handle without `@`.
    pub handle: String,
    /// The name for people.
    pub name: String,
}

/// A bot: an integration that posts messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    /// The id: `B...`.
    pub id: String,
    /// The name for people.
    pub name: String,
}

/// The identity of the host in Slack: its team, user and bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id of the team: `T...`.
    pub team_id: String,
    /// The id of the user: `U...`.
    pub user_id: String,
    /// The id of the bot, `B...`, if it is known.
    pub bot_id: Option<String>,
    /// The handle.
    pub name: String,
}

/// Answers questions about the team from memory. An unknown id gets `None`, and is looked up in the background.
pub trait Roster: Send + Sync {
    /// The host's identity, once it is connected.
    fn me(&self) -> Option<Identity>;
    /// The user with an id.
    fn user(&self, id: &str) -> Option<User>;
    /// The conversation with an id.
    fn conversation(&self, id: &str) -> Option<Conversation>;
    /// The user group with an id.
    fn usergroup(&self, id: &str) -> Option<Usergroup>;
    /// The bot with an id.
    fn bot(&self, id: &str) -> Option<Bot>;
    /// The users with a name, which may be a handle, a display name or a real name; those that it means best go first.
    fn find_users(&self, name: &str) -> Vec<User>;
    /// The channels with a name; those that it means best go first.
    fn find_conversations(&self, name: &str) -> Vec<Conversation>;
    /// The user groups with a handle.
    fn find_usergroups(&self, handle: &str) -> Vec<Usergroup>;
    /// All that is known of an entry, as the object that Slack's Web API gives for it.
    fn entry(&self, table: Table, id: &str) -> Option<Event>;
}

/// An empty roster, for a host that has none.
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

    fn find_users(&self, _name: &str) -> Vec<User> {
        Vec::new()
    }

    fn find_conversations(&self, _name: &str) -> Vec<Conversation> {
        Vec::new()
    }

    fn find_usergroups(&self, _handle: &str) -> Vec<Usergroup> {
        Vec::new()
    }

    fn entry(&self, _table: Table, _id: &str) -> Option<Event> {
        None
    }
}
