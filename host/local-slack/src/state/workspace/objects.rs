//! Users and conversations as the Web API shows them.

use serde_json::{Value, json};

use crate::state::workspace::Workspace;
use crate::state::workspace::conversation::{Kind, Members};
use crate::state::workspace::ids::FOUNDED;
use crate::state::workspace::user::{Nature, ZONES};

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

impl Workspace {
    /// A user object (<https://docs.slack.dev/reference/objects/user-object>).
    pub(crate) fn user_json(&self, index: usize) -> Value {
        let user = &self.users[index];
        let (first, last) = user
            .real_name
            .split_once(' ')
            .unwrap_or((&user.real_name, ""));
        let hash = format!(
            "{:012x}",
            (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A) & 0xFFFF_FFFF_FFFF
        );
        let mut profile = json!({
            "title": "", "phone": "", "skype": "",
            "real_name": user.real_name, "real_name_normalized": user.real_name,
            "display_name": user.name, "display_name_normalized": user.name,
            "first_name": first, "last_name": last,
            "status_text": "", "status_emoji": "", "status_emoji_display_info": [], "status_expiration": 0,
            "avatar_hash": hash, "team": self.team.id,
            "image_24": format!("https://secure.gravatar.com/avatar/{hash}.jpg?s=24"),
            "image_48": format!("https://secure.gravatar.com/avatar/{hash}.jpg?s=48"),
            "image_72": format!("https://secure.gravatar.com/avatar/{hash}.jpg?s=72"),
        });
        let mut value = json!({
            "id": user.id, "team_id": self.team.id, "name": user.name, "deleted": user.deleted,
            "is_bot": user.bot().is_some(), "is_app_user": false, "updated": FOUNDED + index as u64,
        });
        if let Some(bot) = user.bot() {
            profile["bot_id"] = json!(bot.bot_id);
            profile["api_app_id"] = json!(bot.app_id);
            profile["always_active"] = json!(true);
        } else if user.nature == Nature::Human {
            profile["email"] = json!(format!("{}@{}.example", user.name, self.team.domain));
        }
        value["profile"] = profile;
        // Slack leaves these out for a user who has left.
        if !user.deleted {
            let zone = &ZONES[user.zone];
            for (key, field) in [
                ("color", json!(&hash[..6])),
                ("real_name", json!(user.real_name)),
                ("tz", json!(zone.name)),
                ("tz_label", json!(zone.label)),
                ("tz_offset", json!(zone.offset)),
                ("is_admin", json!(user.admin)),
                ("is_owner", json!(user.admin)),
                ("is_primary_owner", json!(user.admin)),
                ("is_restricted", json!(false)),
                ("is_ultra_restricted", json!(false)),
                ("is_email_confirmed", json!(user.nature == Nature::Human)),
                ("who_can_share_contact_card", json!("EVERYONE")),
            ] {
                value[key] = field;
            }
        }
        value
    }
}
