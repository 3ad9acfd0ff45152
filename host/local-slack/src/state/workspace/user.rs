//! A user, and its JSON as `users.list` and `users.info` give it.

use serde_json::{Value, json};

use super::Workspace;
use crate::state::roster::FOUNDED;

/// Time zones that users live in: name, label, offset in seconds.
pub(crate) const ZONES: [(&str, &str, i32); 5] = [
    ("Europe/Berlin", "Central European Time", 3600),
    ("America/New_York", "Eastern Standard Time", -18000),
    ("America/Los_Angeles", "Pacific Standard Time", -28800),
    ("Asia/Kolkata", "India Standard Time", 19800),
    ("Asia/Tokyo", "Japan Standard Time", 32400),
];

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) real_name: String,
    pub(crate) nature: Nature,
    pub(crate) deleted: bool,
    pub(crate) admin: bool,
    /// A place in [`ZONES`].
    pub(crate) zone: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nature {
    Human,
    Bot { bot_id: String, app_id: String },
    Slackbot,
}

impl User {
    /// The bot's own id (`B...`) and its app's, where the user is a bot.
    pub(crate) fn bot(&self) -> Option<(&str, &str)> {
        match &self.nature {
            Nature::Bot { bot_id, app_id } => Some((bot_id, app_id)),
            Nature::Human | Nature::Slackbot => None,
        }
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
        if let Some((bot_id, app_id)) = user.bot() {
            profile["bot_id"] = json!(bot_id);
            profile["api_app_id"] = json!(app_id);
            profile["always_active"] = json!(true);
        } else if user.nature == Nature::Human {
            profile["email"] = json!(format!("{}@{}.example", user.name, self.team.domain));
        }
        value["profile"] = profile;
        // Slack leaves these out for a user who has left.
        if !user.deleted {
            let (zone, label, offset) = ZONES[user.zone];
            for (key, field) in [
                ("color", json!(&hash[..6])),
                ("real_name", json!(user.real_name)),
                ("tz", json!(zone)),
                ("tz_label", json!(label)),
                ("tz_offset", json!(offset)),
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
