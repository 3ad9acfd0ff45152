//! The Slack workspace that the bridge works for: its roster and the bot's identity, also as plugins see them.

use djangobot_event::Event;
use djangobot_plugins::services::roster::{Bot, Conversation, Identity, Table, User, Usergroup};
use djangobot_slack::roster::{ConversationKind, List};
use djangobot_slack::{Roster, Session};
use tokio::sync::watch;

/// The roster of one workspace, in the plugins' words. Clones share it.
#[derive(Clone)]
pub(crate) struct Team {
    roster: Roster,
    session: watch::Sender<Option<Session>>,
    /// The session of an earlier run, until there is a new one. Plugins that load before the connection need an
    /// identity.
    expected: watch::Sender<Option<Session>>,
}

impl Team {
    /// Makes a team of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self::of(Roster::new())
    }

    /// Makes a team with a roster.
    pub(crate) fn of(roster: Roster) -> Self {
        Self {
            roster,
            session: watch::Sender::new(None),
            expected: watch::Sender::new(None),
        }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Follows the session with Slack: the first, as soon as there is one, and each later one.
    pub(crate) fn session(&self) -> watch::Receiver<Option<Session>> {
        self.session.subscribe()
    }

    /// Sets the session of an earlier run, for the time until Slack can be asked.
    pub(crate) fn expect(&self, session: Session) {
        self.expected.send_replace(Some(session));
    }

    /// Sets the session that has begun.
    pub(crate) fn connected(&self, session: Session) {
        self.session.send_replace(Some(session));
    }
}

/// Plugins get an answer at once, from memory. An id that is missing is asked for in the background, so that it is
/// known the next time.
impl djangobot_plugins::Roster for Team {
    fn me(&self) -> Option<Identity> {
        let (session, expected) = (self.session.borrow(), self.expected.borrow());
        let session = session.as_ref().or(expected.as_ref())?;
        let user = self.roster.user(&session.self_id);
        Some(Identity {
            team_id: session.team_id.clone(),
            user_id: session.self_id.clone(),
            bot_id: user.and_then(|user| user.bot_id().map(str::to_owned)),
            name: session.self_name.clone(),
        })
    }

    fn user(&self, id: &str) -> Option<User> {
        let found = self.roster.user(id);
        if found.is_none() {
            self.roster.want(id);
        }
        found.as_ref().map(user)
    }

    fn conversation(&self, id: &str) -> Option<Conversation> {
        let found = self.roster.conversation(id);
        if found.is_none() {
            self.roster.want(id);
        }
        found.as_ref().map(conversation)
    }

    fn usergroup(&self, id: &str) -> Option<Usergroup> {
        let found = self.roster.usergroup(id);
        if found.is_none() {
            self.roster.lacks(List::Usergroups);
        }
        found.as_ref().map(usergroup)
    }

    fn bot(&self, id: &str) -> Option<Bot> {
        let found = self.roster.bot(id);
        if found.is_none() {
            self.roster.want(id);
        }
        found.map(|found| Bot {
            id: found.id().to_owned(),
            name: found.name().to_owned(),
        })
    }

    fn find_users(&self, name: &str) -> Vec<User> {
        let found = self.roster.all_users_named(name);
        if found.is_empty() {
            self.roster.lacks(List::Users);
        }
        found.iter().map(user).collect()
    }

    fn find_conversations(&self, name: &str) -> Vec<Conversation> {
        let found = self.roster.all_conversations_named(name);
        if found.is_empty() {
            self.roster.lacks(List::Conversations);
        }
        found.iter().map(conversation).collect()
    }

    fn find_usergroups(&self, handle: &str) -> Vec<Usergroup> {
        let found = self.roster.find_usergroup(handle);
        if found.is_none() {
            self.roster.lacks(List::Usergroups);
        }
        found.iter().map(usergroup).collect()
    }

    fn entry(&self, table: Table, id: &str) -> Option<Event> {
        let object = match table {
            Table::Users => self.roster.user(id).map(|found| found.object()),
            Table::Conversations => self.roster.conversation(id).map(|found| found.object()),
            Table::Usergroups => self.roster.usergroup(id).map(|found| found.object()),
            Table::Bots => self.roster.bot(id).map(|found| found.object()),
        };
        if object.is_none() {
            match table {
                Table::Usergroups => self.roster.lacks(List::Usergroups),
                Table::Users | Table::Conversations | Table::Bots => self.roster.want(id),
            }
        }
        Event::from_value(&object?).ok()
    }
}

fn usergroup(found: &djangobot_slack::roster::Usergroup) -> Usergroup {
    Usergroup {
        id: found.id().to_owned(),
        handle: found.handle().to_owned(),
        name: found.name().to_owned(),
    }
}

fn user(found: &djangobot_slack::roster::User) -> User {
    User {
        id: found.id().to_owned(),
        name: found.name().to_owned(),
        display_name: found.display_name().to_owned(),
        real_name: found.real_name().to_owned(),
        is_bot: found.is_bot(),
        deleted: found.deleted(),
    }
}

fn conversation(found: &djangobot_slack::roster::Conversation) -> Conversation {
    Conversation {
        id: found.id().to_owned(),
        name: found.name().to_owned(),
        is_private: found.kind() != ConversationKind::Channel,
    }
}
