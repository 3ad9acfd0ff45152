//! The roster of the workspace: users, conversations, user groups and bots, by id and by name, from memory.
//!
//! A lookup never touches the network. [`Roster::load`] reads its lists in the background, [`Roster::apply`] keeps it
//! current from events, [`Roster::want`] asks for an entry that turns out to be missing, and [`Roster::lacks`] for a
//! list. [`Roster::snapshot`] makes it available to the next start at once.

mod changes;
mod details;
mod directory;
mod entry;
mod fetch;
mod list;
mod load;
mod missing;
mod snapshot;
mod wire;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use djangobot_event::lock;
use tokio::sync::watch;
use tokio::time::Instant;

pub use entry::{Bot, Conversation, ConversationKind, User, Usergroup};
pub use list::List;
pub use load::{LoadReport, Progress, Warning};
pub use snapshot::SnapshotError;

use directory::{Directory, Entry};
use missing::Missing;

/// A list is noted as incomplete at most this often.
const LACKS_EVERY: Duration = Duration::from_millis(100);

/// The roster of one workspace. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tables: RwLock<Tables>,
    missing: Missing,
    /// When each list, in the order of [`List::ALL`], last lacked an entry that somebody looked for.
    lacking: watch::Sender<[Option<Instant>; 3]>,
    /// Held while a load runs: two loads at once would double the calls and gain nothing.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Tables {
    users: Directory<User>,
    conversations: Directory<Conversation>,
    usergroups: Directory<Usergroup>,
    bots: Directory<Bot>,
    /// Our own user's id, to tell our joins from those of others.
    me: String,
    /// While a load runs: the ids that changed since it began. The tables have newer entries for them than the load
    /// brings.
    touched: Option<HashSet<String>>,
}

/// How many entries a roster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users, those switched off too.
    pub users: usize,
    /// Conversations, archived ones too.
    pub conversations: usize,
    /// User groups that are in use.
    pub usergroups: usize,
    /// Bots that occurred in events or were asked for.
    pub bots: usize,
}

impl Roster {
    /// A roster that knows nothing yet.
    pub fn new() -> Self {
        Roster::default()
    }

    /// The user with an id.
    pub fn user(&self, id: &str) -> Option<User> {
        self.read().users.get(id).cloned()
    }

    /// The conversation with an id.
    pub fn conversation(&self, id: &str) -> Option<Conversation> {
        self.read().conversations.get(id).cloned()
    }

    /// The user group with an id.
    pub fn usergroup(&self, id: &str) -> Option<Usergroup> {
        self.read().usergroups.get(id).cloned()
    }

    /// The bot with an id (`B...`), if an event or [`Roster::want`] brought it.
    pub fn bot(&self, id: &str) -> Option<Bot> {
        self.read().bots.get(id).cloned()
    }

    /// The one user with a name, with or without `@`, in upper or lower case; `None` where no user or several have it.
    pub fn find_user(&self, name: &str) -> Option<User> {
        only(self.users_named(name))
    }

    /// The users whom a name may mean: more than one where they rank equally.
    ///
    /// An active account goes before one that is switched off; then a handle before a display name, and that before a
    /// real name.
    pub fn users_named(&self, name: &str) -> Vec<User> {
        let name = name.trim();
        let name = name.strip_prefix('@').unwrap_or(name);
        let tables = self.read();
        let found = tables.users.find(name);
        let ranked = found.map(|(which, user)| ((user.deleted(), which), user));
        best(ranked)
    }

    /// All users with a name, in the order in which [`Roster::users_named`] ranks them.
    pub fn all_users_named(&self, name: &str) -> Vec<User> {
        let name = name.trim();
        let name = name.strip_prefix('@').unwrap_or(name);
        let tables = self.read();
        let found = tables.users.find(name);
        in_order(found.map(|(which, user)| ((user.deleted(), which), user)))
    }

    /// All conversations with a name, in the order in which [`Roster::conversations_named`] ranks them.
    pub fn all_conversations_named(&self, name: &str) -> Vec<Conversation> {
        let name = name.trim();
        let name = name.strip_prefix('#').unwrap_or(name);
        let tables = self.read();
        let found = tables.conversations.find(name);
        let named = found.filter(|(which, _)| *which == 0);
        in_order(named.map(|(_, it)| ((it.is_archived(), !it.is_member()), it)))
    }

    /// The one conversation with a name, with or without `#`, in upper or lower case; `None` where none or several have
    /// it.
    pub fn find_conversation(&self, name: &str) -> Option<Conversation> {
        only(self.conversations_named(name))
    }

    /// The conversations that a name may mean: more than one where they rank equally, as in two workspaces of an
    /// organisation. Open conversations go before archived ones, and those that we are in before others.
    pub fn conversations_named(&self, name: &str) -> Vec<Conversation> {
        let name = name.trim();
        let name = name.strip_prefix('#').unwrap_or(name);
        let tables = self.read();
        let found = tables.conversations.find(name);
        let named = found.filter(|(which, _)| *which == 0);
        best(named.map(|(_, it)| ((it.is_archived(), !it.is_member()), it)))
    }

    /// The user group with a handle, with or without `@`.
    pub fn find_usergroup(&self, handle: &str) -> Option<Usergroup> {
        let handle = handle.trim();
        let handle = handle.strip_prefix('@').unwrap_or(handle);
        self.read()
            .usergroups
            .find(handle)
            .map(|(_, it)| it)
            .next()
            .cloned()
    }

    /// The direct message with a user, if one was opened.
    pub fn im_of(&self, user_id: &str) -> Option<Conversation> {
        let tables = self.read();
        let found = tables.conversations.find(user_id);
        found
            .filter(|(which, it)| *which == 1 && it.user() == Some(user_id))
            .map(|(_, it)| it)
            .next()
            .cloned()
    }

    /// Notes that a list lacks an entry that somebody looked for. It returns at once; the task that loads lists learns
    /// of it through [`Roster::lacking`].
    pub fn lacks(&self, list: List) {
        let now = Instant::now();
        self.shared.lacking.send_if_modified(|lacking| {
            let last = &mut lacking[list as usize];
            // A lookup with every event must not wake the loading task every time.
            let is_new = last.is_none_or(|last| now >= last + LACKS_EVERY);
            if is_new {
                *last = Some(now);
            }
            is_new
        });
    }

    /// When each list, in the order of [`List::ALL`], last lacked an entry that somebody looked for.
    pub fn lacking(&self) -> watch::Receiver<[Option<Instant>; 3]> {
        self.shared.lacking.subscribe()
    }

    /// The number of entries.
    pub fn len(&self) -> Counts {
        let tables = self.read();
        Counts {
            users: tables.users.len(),
            conversations: tables.conversations.len(),
            usergroups: tables.usergroups.len(),
            bots: tables.bots.len(),
        }
    }

    /// Whether the roster has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == Counts::default()
    }

    /// Sets our own user, so that our own joins and leaves are recognised as such.
    pub fn set_self(&self, user_id: &str) {
        user_id.clone_into(&mut self.write().me);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        lock::read(&self.shared.tables)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        lock::write(&self.shared.tables)
    }
}

/// The entries of the lowest rank.
fn best<'a, R: Ord, T: Clone + 'a>(ranked: impl Iterator<Item = (R, &'a T)>) -> Vec<T> {
    let mut lowest: Option<R> = None;
    let mut found = Vec::new();
    for (rank, entry) in ranked {
        match lowest.as_ref().map(|lowest| rank.cmp(lowest)) {
            Some(Ordering::Greater) => {}
            Some(Ordering::Equal) => found.push(entry.clone()),
            Some(Ordering::Less) | None => {
                found = vec![entry.clone()];
                lowest = Some(rank);
            }
        }
    }
    found
}

/// All entries, those of the lowest rank first. An entry that is found by several of its names comes once, at its best
/// rank.
fn in_order<'a, R: Ord, T: Entry + Clone + 'a>(ranked: impl Iterator<Item = (R, &'a T)>) -> Vec<T> {
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by(|(a, one), (b, two)| a.cmp(b).then_with(|| one.id().cmp(two.id())));
    let mut seen = HashSet::new();
    ranked.retain(|(_, entry)| seen.insert(entry.id().to_owned()));
    ranked.into_iter().map(|(_, entry)| entry.clone()).collect()
}

fn only<T>(found: Vec<T>) -> Option<T> {
    let mut found = found.into_iter();
    found.next().filter(|_| found.len() == 0)
}

#[cfg(test)]
mod tests;
