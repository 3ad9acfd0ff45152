//! The lists of a roster are read from Slack page by page, at Slack's pace, and swapped in when complete.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::{ApiError, Class, WebApi};
use crate::pacing::Pacer;
use crate::reading;
use crate::roster::Roster;
use crate::roster::directory::{Directory, Entry};
use crate::roster::entry::{Conversation, ConversationKind, User, Usergroup};
use crate::roster::list::List;
use crate::roster::wire::{ConversationFields, UserFields, UsergroupFields};

/// `conversations.list` takes less than 1000, and big pages are what makes 50,000 users bearable at 20 calls a minute.
const PAGE: u32 = 999;

/// A kind of conversations and its names.
#[derive(Clone, Copy)]
struct KindNames {
    kind: ConversationKind,
    /// As `conversations.list` names it.
    slack: &'static str,
    /// In words for people.
    people: &'static str,
}

const KINDS: [KindNames; 4] = [
    KindNames {
        kind: ConversationKind::Channel,
        slack: "public_channel",
        people: "public channels",
    },
    KindNames {
        kind: ConversationKind::Private,
        slack: "private_channel",
        people: "private channels",
    },
    KindNames {
        kind: ConversationKind::Im,
        slack: "im",
        people: "direct messages",
    },
    KindNames {
        kind: ConversationKind::Mpim,
        slack: "mpim",
        people: "group messages",
    },
];

/// The progress of a load. Slack does not say how many entries there are in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries read.
    pub read: usize,
    /// The wait before the next page; zero when it is under way.
    pub waiting: Duration,
}

/// The result of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// How many entries were read.
    pub read: usize,
    /// The parts that the token may not read, and that are missing therefore.
    pub warnings: Vec<Warning>,
}

/// A part of a list that the token may not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't be listed, so they are known by their ids only: {error}")]
pub struct Warning {
    /// `users`, `private channels`, ...
    pub what: &'static str,
    /// Slack's error.
    pub error: ApiError,
}

impl Roster {
    /// Reads one list again, and calls `progress` after each page.
    ///
    /// The list is swapped in when it is complete; entries that events brought meanwhile stay. 429 is obeyed, and
    /// errors that may pass are retried. A part that the token lacks the scope for becomes a [`Warning`], and its known
    /// entries stay. An entry that can't be read is left out.
    ///
    /// # Errors
    /// The [`ApiError`] of a call that can't be retried; the list is as it was.
    pub async fn load(
        &self,
        list: List,
        api: &WebApi,
        pacer: &Pacer,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<LoadReport, ApiError> {
        let _one_at_a_time = self.shared.loading.lock().await;
        self.write().touched = Some(Default::default());
        let _until_the_end = ChangeNotes(self);
        let mut load = ListLoad {
            api,
            pacer,
            progress,
            loaded: LoadReport::default(),
        };
        match list {
            List::Conversations => load.conversations(self).await?,
            List::Users => load.users(self).await?,
            List::Usergroups => load.usergroups(self).await?,
        }
        Ok(load.loaded)
    }
}

/// Ends the list of ids that change during a load, also where the load is given up.
struct ChangeNotes<'a>(&'a Roster);

impl Drop for ChangeNotes<'_> {
    fn drop(&mut self) {
        self.0.write().touched = None;
    }
}

struct ListLoad<'a> {
    api: &'a WebApi,
    pacer: &'a Pacer,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    loaded: LoadReport,
}

impl ListLoad<'_> {
    async fn users(&mut self, roster: &Roster) -> Result<(), ApiError> {
        let mut users = Directory::<User>::default();
        let args = Map::from_iter([("limit".to_owned(), PAGE.into())]);
        let listed = self.list("users.list", args, |user: UserFields| {
            if !user.id.is_empty() {
                users.insert(user.over(None));
            }
        });
        let listed = listed.await;
        if self.or_warn("users", listed)? {
            let tables = &mut *roster.write();
            tables
                .users
                .swap(users, tables.touched.iter().flatten(), |_| false);
        }
        Ok(())
    }

    /// All kinds at once, or, where a scope is missing, each kind for itself.
    async fn conversations(&mut self, roster: &Roster) -> Result<(), ApiError> {
        let mut conversations = Directory::default();
        let mut missing = Vec::new();
        let together = KINDS.map(|names| names.slack).join(",");
        if let Err(error) = self.list_conversations(&together, &mut conversations).await {
            if !is_about_scope(&error) {
                return Err(error);
            }
            for names in KINDS {
                let listed = self
                    .list_conversations(names.slack, &mut conversations)
                    .await;
                if !self.or_warn(names.people, listed)? {
                    missing.push(names.kind);
                }
            }
        }
        let tables = &mut *roster.write();
        let touched = tables.touched.iter().flatten();
        tables
            .conversations
            .swap(conversations, touched, |old: &Conversation| {
                missing.contains(&old.kind())
            });
        Ok(())
    }

    async fn list_conversations(
        &mut self,
        types: &str,
        into: &mut Directory<Conversation>,
    ) -> Result<(), ApiError> {
        let args = Map::from_iter([
            ("limit".to_owned(), PAGE.into()),
            ("types".to_owned(), types.into()),
        ]);
        self.list("conversations.list", args, |it: ConversationFields| {
            if !it.id.is_empty() {
                into.insert(it.over(None));
            }
        })
        .await
    }

    /// User groups are for paid workspaces; their absence is not an error.
    async fn usergroups(&mut self, roster: &Roster) -> Result<(), ApiError> {
        let mut usergroups = Directory::<Usergroup>::default();
        let with_members = Map::from_iter([("include_users".to_owned(), true.into())]);
        let listed = self.list("usergroups.list", with_members, |group: UsergroupFields| {
            if !group.id.is_empty()
                && let Some(group) = group.over(None)
            {
                usergroups.insert(group);
            }
        });
        match listed.await {
            Err(error) if error.class() == Class::Permanent && !is_about_scope(&error) => {
                tracing::debug!(%error, "there are no user groups");
            }
            listed => {
                if self.or_warn("user groups", listed)? {
                    let tables = &mut *roster.write();
                    tables
                        .usergroups
                        .swap(usergroups, tables.touched.iter().flatten(), |_| false);
                }
            }
        }
        Ok(())
    }

    /// True when it was read; false, with a warning kept, when the token may not read it.
    fn or_warn(
        &mut self,
        what: &'static str,
        listed: Result<(), ApiError>,
    ) -> Result<bool, ApiError> {
        match listed {
            Ok(()) => Ok(true),
            Err(error) if is_about_scope(&error) => {
                self.loaded.warnings.push(Warning { what, error });
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn list<T: DeserializeOwned>(
        &mut self,
        method: &str,
        args: Map<String, Value>,
        mut each: impl FnMut(T),
    ) -> Result<(), ApiError> {
        let read = AtomicUsize::new(self.loaded.read);
        let progress = |waiting| {
            let read = read.load(Ordering::Relaxed);
            (self.progress)(Progress { read, waiting });
        };
        let page = |entries: Vec<T>| {
            read.fetch_add(entries.len(), Ordering::Relaxed);
            entries.into_iter().for_each(&mut each);
            progress(Duration::ZERO);
        };
        let listed = reading::list(self.api, self.pacer, method, args, page, progress).await;
        self.loaded.read = read.load(Ordering::Relaxed);
        listed
    }
}

impl<T: Entry> Directory<T> {
    /// Takes another directory's entries, but keeps its own for the ids in `newer`, and for old entries that `keeps`.
    fn swap<'a>(
        &mut self,
        mut with: Directory<T>,
        newer: impl IntoIterator<Item = &'a String>,
        keeps: impl Fn(&T) -> bool,
    ) {
        for id in newer {
            match self.get(id) {
                Some(entry) => with.insert(entry.clone()),
                None => drop(with.remove(id)),
            }
        }
        for entry in self.iter().filter(|entry| keeps(entry)) {
            with.insert(entry.clone());
        }
        *self = with;
    }

    /// Takes another directory's entries, but keeps its own where both have an id.
    pub(super) fn replace(&mut self, mut with: Directory<T>) {
        for entry in self.iter() {
            with.insert(entry.clone());
        }
        *self = with;
    }
}

fn is_about_scope(error: &ApiError) -> bool {
    matches!(
        error.code(),
        "missing_scope" | "not_allowed_token_type" | "no_permission"
    )
}

#[cfg(test)]
mod tests;
