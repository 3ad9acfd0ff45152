//! A conversation, and its JSON as `conversations.list` and `conversations.info` give it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Ts, Workspace, message::Message};
use crate::state::roster::FOUNDED;

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
    pub(crate) fn new(
        name: Option<String>,
        kind: Kind,
        members: Members,
        creator: usize,
    ) -> Conversation {
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

    /// Whether `user` may know of it.
    pub(crate) fn visible_to(&self, user: usize) -> bool {
        self.kind == Kind::Public || self.has(user)
    }
}

impl Workspace {
    /// Members in the order of the roster.
    pub(crate) fn members(&self, index: usize) -> Vec<usize> {
        match &self.conversations[index].members {
            Members::Everyone => (0..self.users.len())
                .filter(|user| !self.users[*user].deleted)
                .collect(),
            Members::Listed(listed) => listed.iter().copied().collect(),
        }
    }

    fn count_members(&self, index: usize) -> usize {
        match &self.conversations[index].members {
            Members::Everyone => self.users.iter().filter(|user| !user.deleted).count(),
            Members::Listed(listed) => listed.len(),
        }
    }

    /// The other side of direct messages, as `viewer` sees it.
    pub(crate) fn im_partner(&self, index: usize, viewer: usize) -> Option<usize> {
        let conversation = &self.conversations[index];
        match (&conversation.members, conversation.kind) {
            (Members::Listed(two), Kind::Im) => {
                let other = two.iter().find(|user| **user != viewer);
                other.or_else(|| two.first()).copied()
            }
            _ => None,
        }
    }

    /// A conversation object (<https://docs.slack.dev/reference/objects/conversation-object>).
    pub(crate) fn conversation_json(&self, index: usize, viewer: usize) -> Value {
        let conversation = &self.conversations[index];
        let created = FOUNDED + index as u64;
        if let Some(partner) = self.im_partner(index, viewer) {
            return json!({
                "id": conversation.id, "created": created, "updated": created * 1000, "is_im": true, "is_archived": false,
                "is_org_shared": false, "context_team_id": self.team.id, "user": self.users[partner].id,
                "is_user_deleted": self.users[partner].deleted, "priority": 0,
            });
        }
        let creator = &self.users[conversation.creator].id;
        let name = conversation.name.as_deref().unwrap_or_default();
        json!({
            "id": conversation.id, "name": name, "name_normalized": name,
            "is_channel": conversation.kind == Kind::Public, "is_group": conversation.kind == Kind::Private,
            "is_im": false, "is_mpim": conversation.kind == Kind::Mpim,
            "is_private": conversation.kind != Kind::Public, "is_archived": conversation.archived,
            "is_general": name == "general", "is_member": conversation.has(viewer),
            "is_shared": false, "is_ext_shared": false, "is_org_shared": false, "is_pending_ext_shared": false,
            "pending_shared": [], "pending_connected_team_ids": [], "shared_team_ids": [self.team.id],
            "context_team_id": self.team.id, "parent_conversation": null, "unlinked": 0,
            "created": created, "updated": created * 1000, "creator": creator,
            "topic": {"value": "", "creator": "", "last_set": 0},
            "purpose": {"value": conversation.purpose, "creator": creator, "last_set": created},
            "previous_names": [], "num_members": self.count_members(index),
        })
    }
}
