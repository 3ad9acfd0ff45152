//! Reading a whole roster from Slack: page after page, at Slack's pace, and swapped in part by part when complete.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Roster,
    directory::{Directory, Entry},
    entry::{Conversation, ConversationKind, User, Usergroup},
    wire::{ConversationFields, UserFields, UsergroupFields},
};
use crate::{
    api::{ApiError, Class, WebApi},
    pacing::Pacer,
    reading,
};

/// `conversations.list` takes less than 1000, and big pages are what makes 50,000 users bearable at 20 calls a minute.
const PAGE: u32 = 999;

/// The kinds of conversations, as `conversations.list` names them.
const KINDS: [(ConversationKind, &str); 4] = [
    (ConversationKind::Channel, "public_channel"),
    (ConversationKind::Private, "private_channel"),
    (ConversationKind::Im, "im"),
    (ConversationKind::Mpim, "mpim"),
];

/// How far a load is. How much there is in all, Slack does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Users read.
    pub users: usize,
    /// Conversations read.
    pub conversations: usize,
    /// User groups read.
    pub usergroups: usize,
    /// What has to be waited for the next page; zero when it is under way.
    pub waiting: Duration,
}

/// A load that came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// How much was read.
    pub progress: Progress,
    /// What could not be read, and is not known therefore.
    pub warnings: Vec<Warning>,
}

/// A part of the roster that the token may not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't be listed, and go by their ids: {error}")]
pub struct Warning {
    /// `users`, `private channels`, ...
    pub what: &'static str,
    /// What Slack said.
    pub error: ApiError,
}

/// What all lists end with.
#[derive(Default, Deserialize)]
struct Metadata {
    next_cursor: Option<String>,
}

trait Page: DeserializeOwned {
    type Item;
    fn split(self) -> (Vec<Self::Item>, Option<Metadata>);
}

#[derive(Deserialize)]
struct Users {
    members: Vec<UserFields>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Conversations {
    channels: Vec<ConversationFields>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Usergroups {
    usergroups: Vec<UsergroupFields>,
}

impl Page for Users {
    type Item = UserFields;

    fn split(self) -> (Vec<UserFields>, Option<Metadata>) {
        (self.members, self.response_metadata)
    }
}

impl Page for Conversations {
    type Item = ConversationFields;

    fn split(self) -> (Vec<ConversationFields>, Option<Metadata>) {
        (self.channels, self.response_metadata)
    }
}

impl Page for Usergroups {
    type Item = UsergroupFields;

    fn split(self) -> (Vec<UsergroupFields>, Option<Metadata>) {
        (self.usergroups, None)
    }
}

impl Roster {
    /// Reads users, conversations and user groups anew, and tells `progress` after each page.
    ///
    /// Each part is swapped in when it is complete; what events brought meanwhile stays. 429 is obeyed, and what may be
    /// retried is. What the token lacks the scope for becomes a [`Warning`], and what was known of it stays.
    pub async fn load(
        &self,
        api: &WebApi,
        pacer: &Pacer,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Loaded, ApiError> {
        let _one_at_a_time = self.shared.loading.lock().await;
        self.write().touched = Some(Default::default());
        let mut load = Load {
            api,
            pacer,
            progress,
            loaded: Loaded::default(),
        };
        let done = load.all(self).await;
        self.write().touched = None;
        done.map(|()| load.loaded)
    }
}

struct Load<'a> {
    api: &'a WebApi,
    pacer: &'a Pacer,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    loaded: Loaded,
}

impl Load<'_> {
    async fn all(&mut self, roster: &Roster) -> Result<(), ApiError> {
        self.conversations(roster).await?;
        self.users(roster).await?;
        self.usergroups(roster).await
    }

    async fn users(&mut self, roster: &Roster) -> Result<(), ApiError> {
        let mut users = Directory::<User>::default();
        let args = Map::from_iter([("limit".to_owned(), PAGE.into())]);
        let listed = self.pages::<Users>("users.list", args, |user, progress| {
            users.insert(user.over(None));
            progress.users = users.len();
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
        let together = KINDS.map(|(_, name)| name).join(",");
        if let Err(error) = self.list_conversations(&together, &mut conversations).await {
            if !is_about_scope(&error) {
                return Err(error);
            }
            for (kind, name) in KINDS {
                let what = match kind {
                    ConversationKind::Channel => "public channels",
                    ConversationKind::Private => "private channels",
                    ConversationKind::Im => "direct messages",
                    ConversationKind::Mpim => "group messages",
                };
                let listed = self.list_conversations(name, &mut conversations).await;
                if !self.or_warn(what, listed)? {
                    missing.push(kind);
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
        self.pages::<Conversations>("conversations.list", args, |it, progress| {
            into.insert(it.over(None));
            progress.conversations = into.len();
        })
        .await
    }

    /// User groups are for paid workspaces; that there are none is nothing to end a load for.
    async fn usergroups(&mut self, roster: &Roster) -> Result<(), ApiError> {
        let mut usergroups = Directory::<Usergroup>::default();
        let listed = self.pages::<Usergroups>("usergroups.list", Map::new(), |group, progress| {
            if let Some(group) = group.over(None) {
                usergroups.insert(group);
                progress.usergroups = usergroups.len();
            }
        });
        let listed = listed.await;
        match listed {
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

    /// Reads a list from its first page to its last. A page may be short, or empty: only an empty cursor ends it.
    async fn pages<P: Page>(
        &mut self,
        method: &str,
        mut args: Map<String, Value>,
        mut each: impl FnMut(P::Item, &mut Progress),
    ) -> Result<(), ApiError> {
        loop {
            let (items, metadata) = self.page::<P>(method, &args).await?.split();
            for item in items {
                each(item, &mut self.loaded.progress);
            }
            (self.progress)(self.loaded.progress);
            let cursor = metadata.and_then(|metadata| metadata.next_cursor);
            if !reading::turn_page(method, &mut args, cursor)? {
                return Ok(());
            }
        }
    }

    async fn page<P: Page>(
        &mut self,
        method: &str,
        args: &Map<String, Value>,
    ) -> Result<P, ApiError> {
        let progress = self.loaded.progress;
        let report = |waiting| {
            (self.progress)(Progress {
                waiting,
                ..progress
            });
        };
        reading::read(self.api, self.pacer, method, args, report).await
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
