//! A roster as bytes, for the state that outlives the process: JSON, an array for each entry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::roster::Roster;
use crate::roster::details::Details;
use crate::roster::directory::Directory;
use crate::roster::entry::{Bot, Conversation, ConversationKind, User, Usergroup};

/// Changes whenever the arrays below do; a snapshot of another version is not read.
const VERSION: u32 = 2;

/// Why bytes are not a snapshot of ours. The cure is to load the roster again, which happens at each start anyway.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes were cut short, or are something else.
    #[error("the saved roster can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The snapshot is of another version of this program.
    #[error("the saved roster is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    version: u32,
    #[serde(borrow)]
    users: Vec<SavedUser<'a>>,
    #[serde(borrow)]
    conversations: Vec<SavedConversation<'a>>,
    #[serde(borrow)]
    usergroups: Vec<SavedUsergroup<'a>>,
    #[serde(borrow)]
    bots: Vec<SavedBot<'a>>,
}

/// Id, handle, display name, real name, bot id, bit 0 for a bot, bit 1 for deleted, the text of the details.
#[derive(Serialize, Deserialize)]
struct SavedUser<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    u8,
    #[serde(borrow)] Cow<'a, str>,
);

/// Id, name, user, kind (0 channel, 1 private, 2 im, 3 mpim), bit 0 for archived, bit 1 for member, the text of the
/// details.
#[derive(Serialize, Deserialize)]
struct SavedConversation<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    u8,
    u8,
    #[serde(borrow)] Cow<'a, str>,
);

/// Id, handle, name, the text of the details.
#[derive(Serialize, Deserialize)]
struct SavedUsergroup<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
);

/// Id, name, the text of the details.
#[derive(Serialize, Deserialize)]
struct SavedBot<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
);

impl Roster {
    /// All entries as bytes: about 300 for a user.
    ///
    /// # Errors
    /// A [`SnapshotError`] where the entries can't be written as JSON.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let tables = self.read();
        let saved = Saved {
            version: VERSION,
            users: tables.users.iter().map(SavedUser::from).collect(),
            conversations: tables
                .conversations
                .iter()
                .map(SavedConversation::from)
                .collect(),
            usergroups: tables
                .usergroups
                .iter()
                .map(|it| {
                    let details = it.details().text().into();
                    SavedUsergroup(
                        it.id().into(),
                        it.handle().into(),
                        it.name().into(),
                        details,
                    )
                })
                .collect(),
            bots: tables
                .bots
                .iter()
                .map(|it| SavedBot(it.id().into(), it.name().into(), it.details().text().into()))
                .collect(),
        };
        Ok(serde_json::to_vec(&saved)?)
    }

    /// Takes the entries of a snapshot over. Entries that the roster has already stay: they are newer.
    ///
    /// # Errors
    /// A [`SnapshotError`] where the bytes are not a snapshot of this version.
    pub fn restore(&self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let Head { version } = serde_json::from_slice(snapshot)?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let saved: Saved<'_> = serde_json::from_slice(snapshot)?;
        let users: Directory<User> = saved.users.iter().map(User::from).collect();
        let conversations: Directory<Conversation> =
            saved.conversations.iter().map(Conversation::from).collect();
        let usergroups =
            saved
                .usergroups
                .iter()
                .map(|SavedUsergroup(id, handle, name, details)| {
                    Usergroup::new([id, handle, name]).with_details(Details::of_text(details))
                });
        let bots = saved.bots.iter().map(|SavedBot(id, name, details)| {
            Bot::new([id, name]).with_details(Details::of_text(details))
        });

        let mut tables = self.write();
        tables.users.replace(users);
        tables.conversations.replace(conversations);
        tables.usergroups.replace(usergroups.collect());
        tables.bots.replace(bots.collect());
        Ok(())
    }
}

impl<'a> From<&'a User> for SavedUser<'a> {
    fn from(user: &'a User) -> Self {
        let bits = u8::from(user.is_bot()) | u8::from(user.deleted()) << 1;
        let bot_id = user.bot_id().unwrap_or_default();
        SavedUser(
            user.id().into(),
            user.name().into(),
            user.display_name().into(),
            user.real_name().into(),
            bot_id.into(),
            bits,
            user.details().text().into(),
        )
    }
}

impl From<&SavedUser<'_>> for User {
    fn from(saved: &SavedUser<'_>) -> Self {
        let SavedUser(id, name, display_name, real_name, bot_id, bits, details) = saved;
        User::new(
            [id, name, display_name, real_name, bot_id],
            bits & 1 != 0,
            bits & 2 != 0,
        )
        .with_details(Details::of_text(details))
    }
}

impl<'a> From<&'a Conversation> for SavedConversation<'a> {
    fn from(it: &'a Conversation) -> Self {
        let kind = match it.kind() {
            ConversationKind::Channel => 0,
            ConversationKind::Private => 1,
            ConversationKind::Im => 2,
            ConversationKind::Mpim => 3,
        };
        let bits = u8::from(it.is_archived()) | u8::from(it.is_member()) << 1;
        SavedConversation(
            it.id().into(),
            it.name().into(),
            it.user().unwrap_or_default().into(),
            kind,
            bits,
            it.details().text().into(),
        )
    }
}

impl From<&SavedConversation<'_>> for Conversation {
    fn from(saved: &SavedConversation<'_>) -> Self {
        let SavedConversation(id, name, user, kind, bits, details) = saved;
        let kind = match kind {
            0 => ConversationKind::Channel,
            1 => ConversationKind::Private,
            2 => ConversationKind::Im,
            _ => ConversationKind::Mpim,
        };
        Conversation::new([id, name, user], kind, bits & 1 != 0, bits & 2 != 0)
            .with_details(Details::of_text(details))
    }
}
