//! A conversation: its kind, its members and its messages.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::ts::Ts;
use crate::state::workspace::message::Message;

#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    /// `None` for direct messages.
    pub(crate) name: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) archived: bool,
    pub(crate) creator: usize,
    pub(crate) members: Members,
    pub(crate) purpose: String,
    pub(crate) messages: BTreeMap<Ts, Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Public,
    Private,
    Im,
    Mpim,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Members {
    /// All who have not left.
    Everyone,
    Listed(BTreeSet<usize>),
}

impl Kind {
    /// The letter that ids begin with.
    pub(crate) fn prefix(self) -> char {
        match self {
            Kind::Public | Kind::Private | Kind::Mpim => 'C',
            Kind::Im => 'D',
        }
    }

    /// As in the `types` argument of `conversations.list`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Public => "public_channel",
            Kind::Private => "private_channel",
            Kind::Im => "im",
            Kind::Mpim => "mpim",
        }
    }
}

impl Conversation {
    pub(crate) fn new(name: Option<String>, kind: Kind, members: Members, creator: usize) -> Self {
        Conversation {
            id: String::new(),
            name,
            kind,
            archived: false,
            creator,
            members,
            purpose: String::new(),
            messages: BTreeMap::new(),
        }
    }

    pub(crate) fn has(&self, user: usize) -> bool {
        match &self.members {
            Members::Everyone => true,
            Members::Listed(listed) => listed.contains(&user),
        }
    }

    /// Makes `user` a member.
    pub(crate) fn join(&mut self, user: usize) {
        if let Members::Listed(listed) = &mut self.members {
            listed.insert(user);
        }
    }

    /// Whether `user` may see it.
    pub(crate) fn visible_to(&self, user: usize) -> bool {
        self.kind == Kind::Public || self.has(user)
    }
}
