//! The entries of a roster: users, conversations, user groups, bots. Each is one shared text and a few bits; a clone is
//! cheap.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::roster::details::Details;
use crate::roster::directory::Entry;

/// Several texts in one allocation.
#[derive(Clone, PartialEq, Eq)]
struct Packed<const N: usize> {
    text: Arc<str>,
    ends: [u32; N],
}

impl<const N: usize> Packed<N> {
    fn new(parts: [&str; N]) -> Self {
        let text: Arc<str> = parts.concat().into();
        let mut end = 0;
        let ends = parts.map(|part| {
            end += part.len() as u32;
            end
        });
        Packed { text, ends }
    }

    fn part(&self, which: usize) -> &str {
        let end = |which: usize| self.ends.get(which).map_or(0, |&end| end as usize);
        let start = which.checked_sub(1).map_or(0, end);
        self.text.get(start..end(which)).unwrap_or_default()
    }
}

/// A member of the workspace, or one whom it shares a channel with.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Id, handle, display name, real name, bot id.
    texts: Packed<5>,
    is_bot: bool,
    deleted: bool,
    details: Details,
}

impl User {
    /// A user from its parts; `bot_id` is empty for people.
    pub fn new(
        [id, name, display_name, real_name, bot_id]: [&str; 5],
        is_bot: bool,
        deleted: bool,
    ) -> Self {
        User {
            texts: Packed::new([id, name, display_name, real_name, bot_id]),
            is_bot,
            deleted,
            details: Details::default(),
        }
    }

    pub(super) fn with_details(self, details: Details) -> Self {
        Self { details, ..self }
    }

    pub(super) fn details(&self) -> &Details {
        &self.details
    }

    /// All that is kept of the user, as `users.info` gives it.
    pub fn object(&self) -> Value {
        let mut object = self.details.object();
        let profile = object.entry("profile").or_insert_with(|| Map::new().into());
        if let Some(profile) = profile.as_object_mut() {
            put(profile, "display_name", self.display_name());
            put(profile, "real_name", self.real_name());
            if let Some(bot_id) = self.bot_id() {
                put(profile, "bot_id", bot_id);
            }
        }
        put(&mut object, "id", self.id());
        put(&mut object, "name", self.name());
        put(&mut object, "real_name", self.real_name());
        put(&mut object, "is_bot", self.is_bot);
        put(&mut object, "deleted", self.deleted);
        object.into()
    }

    /// `U...` or `W...`.
    pub fn id(&self) -> &str {
        self.texts.part(0)
    }

    /// The handle, `alice`.
    pub fn name(&self) -> &str {
        self.texts.part(1)
    }

    /// The name that the user chose to be shown as; empty where there is none.
    pub fn display_name(&self) -> &str {
        self.texts.part(2)
    }

    /// The full name; may be empty.
    pub fn real_name(&self) -> &str {
        self.texts.part(3)
    }

    /// `B...` of a bot's user.
    pub fn bot_id(&self) -> Option<&str> {
        Some(self.texts.part(4)).filter(|id| !id.is_empty())
    }

    /// Whether the user is a bot.
    pub fn is_bot(&self) -> bool {
        self.is_bot
    }

    /// Whether the account is switched off.
    pub fn deleted(&self) -> bool {
        self.deleted
    }
}

/// The kind of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversationKind {
    /// A public channel.
    Channel,
    /// A private channel.
    Private,
    /// A direct message with one user.
    Im,
    /// A direct message of several.
    Mpim,
}

/// A channel or direct message.
#[derive(Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Id, name, the other user.
    texts: Packed<3>,
    kind: ConversationKind,
    is_archived: bool,
    is_member: bool,
    details: Details,
}

impl Conversation {
    /// A conversation from its parts; `user` is empty for all but an `Im`.
    pub fn new(
        [id, name, user]: [&str; 3],
        kind: ConversationKind,
        is_archived: bool,
        is_member: bool,
    ) -> Self {
        Conversation {
            texts: Packed::new([id, name, user]),
            kind,
            is_archived,
            is_member,
            details: Details::default(),
        }
    }

    pub(super) fn with_details(self, details: Details) -> Self {
        Self { details, ..self }
    }

    pub(super) fn details(&self) -> &Details {
        &self.details
    }

    /// All that is kept of the conversation, as `conversations.info` gives it.
    pub fn object(&self) -> Value {
        let mut object = self.details.object();
        put(&mut object, "id", self.id());
        put(&mut object, "name", self.name());
        if let Some(user) = self.user() {
            put(&mut object, "user", user);
        }
        let kind = self.kind;
        put(&mut object, "is_private", kind != ConversationKind::Channel);
        put(&mut object, "is_im", kind == ConversationKind::Im);
        put(&mut object, "is_mpim", kind == ConversationKind::Mpim);
        put(&mut object, "is_archived", self.is_archived);
        put(&mut object, "is_member", self.is_member);
        object.into()
    }

    /// `C...`, `G...` or `D...`.
    pub fn id(&self) -> &str {
        self.texts.part(0)
    }

    /// The name, without `#`; empty for an `Im`.
    pub fn name(&self) -> &str {
        self.texts.part(1)
    }

    /// With whom an `Im` is.
    pub fn user(&self) -> Option<&str> {
        Some(self.texts.part(2)).filter(|id| !id.is_empty())
    }

    /// Its kind.
    pub fn kind(&self) -> ConversationKind {
        self.kind
    }

    /// Whether nobody can post there any more.
    pub fn is_archived(&self) -> bool {
        self.is_archived
    }

    /// Whether the token's user is in it.
    pub fn is_member(&self) -> bool {
        self.is_member
    }

    pub(super) fn with_id(&self, id: &str) -> Self {
        let texts = Packed::new([id, self.name(), self.user().unwrap_or_default()]);
        Conversation {
            texts,
            ..self.clone()
        }
    }

    pub(super) fn archived(self, is_archived: bool) -> Self {
        Conversation {
            is_archived,
            ..self
        }
    }

    pub(super) fn joined(self, is_member: bool) -> Self {
        Conversation { is_member, ..self }
    }

    pub(super) fn of_kind(self, kind: ConversationKind) -> Self {
        Conversation { kind, ..self }
    }
}

/// A user group, which `@handle` calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Usergroup {
    /// Id, handle, name.
    texts: Packed<3>,
    details: Details,
}

impl Usergroup {
    /// A user group from its parts.
    pub fn new([id, handle, name]: [&str; 3]) -> Self {
        Usergroup {
            texts: Packed::new([id, handle, name]),
            details: Details::default(),
        }
    }

    pub(super) fn with_details(self, details: Details) -> Self {
        Self { details, ..self }
    }

    pub(super) fn details(&self) -> &Details {
        &self.details
    }

    /// All that is kept of the user group, as `usergroups.list` gives it.
    pub fn object(&self) -> Value {
        let mut object = self.details.object();
        put(&mut object, "id", self.id());
        put(&mut object, "handle", self.handle());
        put(&mut object, "name", self.name());
        object.into()
    }

    /// `S...`.
    pub fn id(&self) -> &str {
        self.texts.part(0)
    }

    /// The handle, without `@`.
    pub fn handle(&self) -> &str {
        self.texts.part(1)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.texts.part(2)
    }
}

/// An integration that posts, which is not the same as its user.
#[derive(Clone, PartialEq, Eq)]
pub struct Bot {
    /// Id, name.
    texts: Packed<2>,
    details: Details,
}

impl Bot {
    /// A bot from its parts.
    pub fn new([id, name]: [&str; 2]) -> Self {
        Bot {
            texts: Packed::new([id, name]),
            details: Details::default(),
        }
    }

    pub(super) fn with_details(self, details: Details) -> Self {
        Self { details, ..self }
    }

    pub(super) fn details(&self) -> &Details {
        &self.details
    }

    /// All that is kept of the bot, as `bots.info` gives it.
    pub fn object(&self) -> Value {
        let mut object = self.details.object();
        put(&mut object, "id", self.id());
        put(&mut object, "name", self.name());
        object.into()
    }

    /// `B...`.
    pub fn id(&self) -> &str {
        self.texts.part(0)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.texts.part(1)
    }
}

fn put(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    object.insert(key.to_owned(), value.into());
}

impl Entry for User {
    const NAMES: u32 = 3;

    fn id(&self) -> &str {
        self.id()
    }

    fn name(&self, which: u32) -> &str {
        match which {
            0 => self.name(),
            1 => self.display_name(),
            _ => self.real_name(),
        }
    }
}

impl Entry for Conversation {
    const NAMES: u32 = 2;

    fn id(&self) -> &str {
        self.id()
    }

    fn name(&self, which: u32) -> &str {
        if which == 0 {
            self.name()
        } else {
            self.user().unwrap_or_default()
        }
    }
}

impl Entry for Usergroup {
    const NAMES: u32 = 1;

    fn id(&self) -> &str {
        self.id()
    }

    fn name(&self, _which: u32) -> &str {
        self.handle()
    }
}

impl Entry for Bot {
    const NAMES: u32 = 1;

    fn id(&self) -> &str {
        self.id()
    }

    fn name(&self, _which: u32) -> &str {
        self.name()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "User({} @{} {:?}{})",
            self.id(),
            self.name(),
            self.display_name(),
            mark(self.deleted, " deleted")
        )
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.user().unwrap_or_else(|| self.name());
        let (archived, member) = (
            mark(self.is_archived, " archived"),
            mark(self.is_member, " member"),
        );
        write!(
            f,
            "Conversation({} {name} {:?}{archived}{member})",
            self.id(),
            self.kind
        )
    }
}

impl fmt::Debug for Usergroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usergroup({} @{})", self.id(), self.handle())
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bot({} {})", self.id(), self.name())
    }
}

fn mark(is_so: bool, mark: &str) -> &str {
    if is_so { mark } else { "" }
}
