//! Users, conversations, user groups and bots as Slack writes them, in lists and events alike.
//!
//! Events often give a part only; what is not given is kept from what was known.

use serde::Deserialize;

use crate::roster::details::{
    BotDetails, ConversationDetails, ProfileDetails, UserDetails, UsergroupDetails,
};
use crate::roster::entry::{Bot, Conversation, ConversationKind, User, Usergroup};

/// A user object (`users.list`, `users.info`, `team_join`, `user_change`, ...).
#[derive(Debug, Deserialize)]
pub(super) struct UserFields {
    pub(super) id: String,
    name: Option<String>,
    real_name: Option<String>,
    is_bot: Option<bool>,
    deleted: Option<bool>,
    profile: Option<ProfileFields>,
    #[serde(flatten)]
    details: UserDetails,
}

#[derive(Debug, Default, Deserialize)]
struct ProfileFields {
    display_name: Option<String>,
    real_name: Option<String>,
    bot_id: Option<String>,
    #[serde(flatten)]
    details: ProfileDetails,
}

/// A conversation object (`conversations.list`, `conversations.info`, `channel_created`, `channel_joined`, ...).
#[derive(Debug, Default, Deserialize)]
pub(super) struct ConversationFields {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) is_channel: Option<bool>,
    pub(super) is_group: Option<bool>,
    pub(super) is_private: Option<bool>,
    pub(super) is_im: Option<bool>,
    pub(super) is_mpim: Option<bool>,
    pub(super) is_archived: Option<bool>,
    pub(super) is_member: Option<bool>,
    #[serde(flatten)]
    pub(super) details: ConversationDetails,
}

/// A user group object (`usergroups.list`, `subteam_created`, `subteam_updated`).
#[derive(Debug, Deserialize)]
pub(super) struct UsergroupFields {
    pub(super) id: String,
    handle: Option<String>,
    name: Option<String>,
    /// Seconds since 1970; 0 for one that is in use.
    date_delete: Option<u64>,
    #[serde(flatten)]
    details: UsergroupDetails,
}

/// A bot object (`bots.info`, `bot_added`, `bot_changed`).
#[derive(Debug, Deserialize)]
pub(super) struct BotFields {
    pub(super) id: String,
    name: Option<String>,
    #[serde(flatten)]
    details: BotDetails,
}

impl UserFields {
    pub(super) fn over(self, old: Option<&User>) -> User {
        let ProfileFields {
            display_name,
            real_name,
            bot_id,
            details: profile,
        } = self.profile.unwrap_or_default();
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let real_name = filled(self.real_name).or(filled(real_name));
        let known = old.map(User::details).cloned().unwrap_or_default();
        let details = self.details.with_profile(profile, &known);
        User::new(
            [
                &self.id,
                self.name
                    .as_deref()
                    .or(old.map(User::name))
                    .unwrap_or_default(),
                display_name
                    .as_deref()
                    .or(old.map(User::display_name))
                    .unwrap_or_default(),
                real_name
                    .as_deref()
                    .or(old.map(User::real_name))
                    .unwrap_or_default(),
                bot_id
                    .as_deref()
                    .or(old.and_then(User::bot_id))
                    .unwrap_or_default(),
            ],
            self.is_bot.or(old.map(User::is_bot)).unwrap_or_default(),
            self.deleted.or(old.map(User::deleted)).unwrap_or_default(),
        )
        .with_details(details)
    }
}

impl ConversationFields {
    pub(super) fn over(self, old: Option<&Conversation>) -> Conversation {
        let kind = self.kind(old.map(Conversation::kind));
        // Only a channel can be without us: a direct message, and a private channel that we are shown, has us in it.
        let is_ours = kind != ConversationKind::Channel;
        let known = old.map(Conversation::details).cloned().unwrap_or_default();
        let details = self.details.details(&known);
        Conversation::new(
            [
                &self.id,
                self.name
                    .as_deref()
                    .or(old.map(Conversation::name))
                    .unwrap_or_default(),
                self.user
                    .as_deref()
                    .or(old.and_then(Conversation::user))
                    .unwrap_or_default(),
            ],
            kind,
            self.is_archived
                .or(old.map(Conversation::is_archived))
                .unwrap_or_default(),
            self.is_member
                .or(old.map(Conversation::is_member))
                .unwrap_or(is_ours),
        )
        .with_details(details)
    }

    fn kind(&self, old: Option<ConversationKind>) -> ConversationKind {
        let is = |flag: Option<bool>| flag == Some(true);
        if is(self.is_im) {
            ConversationKind::Im
        } else if is(self.is_mpim) {
            ConversationKind::Mpim
        } else if is(self.is_private) {
            ConversationKind::Private
        } else if self.is_private == Some(false) && is(self.is_channel) {
            ConversationKind::Channel
        } else if let Some(old) = old {
            old
        } else if self.id.starts_with('D') {
            ConversationKind::Im
        } else if is(self.is_group) || self.id.starts_with('G') {
            ConversationKind::Private
        } else {
            ConversationKind::Channel
        }
    }
}

impl UsergroupFields {
    /// `None` for one that is switched off.
    pub(super) fn over(self, old: Option<&Usergroup>) -> Option<Usergroup> {
        let is_in_use = self.date_delete.unwrap_or_default() == 0;
        let known = old.map(Usergroup::details).cloned().unwrap_or_default();
        let details = self.details.details(&known);
        is_in_use.then(|| {
            Usergroup::new([
                &self.id,
                self.handle
                    .as_deref()
                    .or(old.map(Usergroup::handle))
                    .unwrap_or_default(),
                self.name
                    .as_deref()
                    .or(old.map(Usergroup::name))
                    .unwrap_or_default(),
            ])
            .with_details(details)
        })
    }
}

impl BotFields {
    pub(super) fn over(self, old: Option<&Bot>) -> Bot {
        let known = old.map(Bot::details).cloned().unwrap_or_default();
        let details = self.details.details(&known);
        Bot::new([
            &self.id,
            self.name
                .as_deref()
                .or(old.map(Bot::name))
                .unwrap_or_default(),
        ])
        .with_details(details)
    }
}
