//! The changes that events make to a roster.

use djangobot_event::{Event, Value};
use serde::de::DeserializeOwned;

use crate::roster::entry::{Conversation, ConversationKind};
use crate::roster::wire::{BotFields, ConversationFields, UserFields, UsergroupFields};
use crate::roster::{Roster, Tables};

impl Roster {
    /// Takes over what an event says about users, conversations, user groups and bots; false when it says nothing, or
    /// nothing new. Ids in it that the roster does not know are fetched in the background ([`Roster::want`]).
    pub fn apply(&self, event: &Event) -> bool {
        let Some(kind) = event.text("/type") else {
            return false;
        };
        let id = || {
            event
                .text("/channel")
                .or_else(|| event.text("/channel/id"))
                .unwrap_or_default()
        };
        match &*kind {
            "team_join"
            | "user_change"
            | "user_profile_changed"
            | "user_status_changed"
            | "user_huddle_changed" => {
                object(event, "/user").is_some_and(|user| self.write().put_user(user))
            }
            "bot_added" | "bot_changed" => {
                object(event, "/bot").is_some_and(|bot| self.write().put_bot(bot))
            }
            "subteam_created" | "subteam_updated" => {
                object(event, "/subteam").is_some_and(|group| self.write().put_usergroup(group))
            }
            "channel_created" | "channel_rename" | "group_rename" | "mpim_open" | "mpim_joined" => {
                self.put_channel(event, None)
            }
            "channel_joined" | "group_joined" => self.put_channel(event, Some(true)),
            "im_created" | "im_open" => self.put_im(event),
            "channel_archive" | "group_archive" => self.alter(&id(), |it| it.archived(true)),
            "channel_unarchive" | "group_unarchive" => self.alter(&id(), |it| it.archived(false)),
            "channel_left" | "group_left" => self.alter(&id(), |it| it.joined(false)),
            "channel_convert_to_private" => {
                self.alter(&id(), |it| it.of_kind(ConversationKind::Private))
            }
            "channel_deleted" | "group_deleted" => self.write().drop_conversation(&id()),
            "member_joined_channel" if self.is_me(event) => self.alter(&id(), |it| it.joined(true)),
            "member_left_channel" if self.is_me(event) => self.alter(&id(), |it| it.joined(false)),
            "channel_id_changed" => {
                let id = |pointer| event.text(pointer).unwrap_or_default();
                self.write()
                    .change_id(&id("/old_channel_id"), &id("/new_channel_id"))
            }
            _ => false,
        }
    }

    fn is_me(&self, event: &Event) -> bool {
        let me = &self.read().me;
        !me.is_empty() && event.text("/user").is_some_and(|user| user == me.as_str())
    }

    /// `channel` is the conversation, or sometimes its id alone.
    fn put_channel(&self, event: &Event, is_member: Option<bool>) -> bool {
        if let Some(id) = event.text("/channel") {
            if self.conversation(&id).is_none() {
                self.want(&id);
            }
            return false;
        }
        object::<ConversationFields>(event, "/channel").is_some_and(|fields| {
            let is_member = is_member.or(fields.is_member);
            self.write().put_conversation(ConversationFields {
                is_member,
                ..fields
            })
        })
    }

    /// `im_created` has `channel` as an object and `user` next to it, `im_open` has two ids.
    fn put_im(&self, event: &Event) -> bool {
        let id = event.text("/channel").or_else(|| event.text("/channel/id"));
        let (Some(id), Some(user)) = (id, event.text("/user")) else {
            return false;
        };
        let fields = ConversationFields {
            id: id.into(),
            user: Some(user.into()),
            ..ConversationFields::default()
        };
        self.write().put_conversation(fields)
    }

    fn alter(&self, id: &str, change: impl FnOnce(Conversation) -> Conversation) -> bool {
        let mut tables = self.write();
        match tables.conversations.get(id).cloned() {
            Some(old) => {
                let new = change(old.clone());
                tables.touch(id);
                let is_new = new != old;
                if is_new {
                    tables.conversations.insert(new);
                }
                is_new
            }
            None => {
                drop(tables);
                self.want(id);
                false
            }
        }
    }
}

impl Tables {
    pub(super) fn put_user(&mut self, fields: UserFields) -> bool {
        if fields.id.is_empty() {
            return false;
        }
        self.touch(&fields.id);
        let old = self.users.get(&fields.id);
        let new = fields.over(old);
        let is_new = old != Some(&new);
        if is_new {
            self.users.insert(new);
        }
        is_new
    }

    pub(super) fn put_conversation(&mut self, fields: ConversationFields) -> bool {
        if fields.id.is_empty() {
            return false;
        }
        self.touch(&fields.id);
        let old = self.conversations.get(&fields.id);
        let new = fields.over(old);
        let is_new = old != Some(&new);
        if is_new {
            self.conversations.insert(new);
        }
        is_new
    }

    pub(super) fn put_usergroup(&mut self, fields: UsergroupFields) -> bool {
        if fields.id.is_empty() {
            return false;
        }
        self.touch(&fields.id);
        let id = fields.id.clone();
        let old = self.usergroups.get(&id);
        let new = fields.over(old);
        let is_new = old != new.as_ref();
        match new {
            Some(new) if is_new => self.usergroups.insert(new),
            None => drop(self.usergroups.remove(&id)),
            Some(_) => {}
        }
        is_new
    }

    pub(super) fn put_bot(&mut self, fields: BotFields) -> bool {
        if fields.id.is_empty() {
            return false;
        }
        self.touch(&fields.id);
        let old = self.bots.get(&fields.id);
        let new = fields.over(old);
        let is_new = old != Some(&new);
        if is_new {
            self.bots.insert(new);
        }
        is_new
    }

    fn drop_conversation(&mut self, id: &str) -> bool {
        self.touch(id);
        self.conversations.remove(id).is_some()
    }

    fn change_id(&mut self, old: &str, new: &str) -> bool {
        let Some(conversation) = self.conversations.get(old).filter(|_| !new.is_empty()) else {
            return false;
        };
        let renamed = conversation.with_id(new);
        self.touch(old);
        self.touch(new);
        self.conversations.remove(old);
        self.conversations.insert(renamed);
        true
    }

    /// Notes that what is known of an id is newer than what a load under way may bring.
    fn touch(&mut self, id: &str) {
        if let Some(touched) = &mut self.touched {
            touched.insert(id.to_owned());
        }
    }
}

/// An object inside an event. These events are rare, so that a second reading costs nothing that matters.
fn object<T: DeserializeOwned>(event: &Event, pointer: &str) -> Option<T> {
    match event.get(pointer)? {
        Value::Json(text) => serde_json::from_str(text.as_ref()).ok(),
        _ => None,
    }
}
