//! Messages: posted, changed, deleted and reacted to, each with the events that Slack makes of it.

use serde_json::{Map, Value, json};

use crate::state::ts::Ts;
use crate::state::workspace::Workspace;
use crate::state::workspace::event::{Audience, Event};
use crate::state::workspace::ids::FOUNDED;
use crate::state::workspace::message::{Message, MessageError, Post};

/// The block that Slack's own clients send for plain text.
fn rich_text(text: &str, ts: Ts) -> Value {
    let id = format!("{:05x}", ts.0 & 0xF_FFFF);
    json!([{"type": "rich_text", "block_id": id, "elements": [
        {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}]}])
}

impl Workspace {
    /// Posts, and gives the message back as it is kept.
    pub(crate) fn post(&mut self, post: Post) -> (Ts, Message) {
        let ts = self.tick();
        let message = self.compose(&post, ts);
        let mut event = message.clone();
        let id = json!(self.conversations[post.conversation].id);
        event.insert("channel".to_owned(), id);
        event.insert("event_ts".to_owned(), json!(ts.to_string()));
        if !event.contains_key("bot_id") {
            event.insert("suppress_notification".to_owned(), json!(false));
            event.insert("source_team".to_owned(), json!(self.team.id));
            event.insert("user_team".to_owned(), json!(self.team.id));
        }
        if let Some(thread) = post.thread {
            self.note_reply(post.conversation, thread, &message);
        }
        let messages = &mut self.conversations[post.conversation].messages;
        messages.insert(ts, message.clone());
        if messages.len() > self.keep {
            messages.pop_first();
        }
        self.tell_members(post.conversation, Value::Object(event));
        (ts, message)
    }

    /// The message that `post` makes at `ts`.
    pub(crate) fn compose(&self, post: &Post, ts: Ts) -> Message {
        let user = &self.users[post.user];
        let mut message = post.extra.clone();
        let mut put = |key: &str, value: Value| message.insert(key.to_owned(), value);
        put("type", json!("message"));
        put("text", json!(post.text));
        put("ts", json!(ts.to_string()));
        put("team", json!(self.team.id));
        match (user.bot(), &post.username) {
            (Some(bot), username) => {
                put("bot_id", json!(bot.bot_id));
                put("app_id", json!(bot.app_id));
                if let Some(username) = username {
                    put("subtype", json!("bot_message"));
                    put("username", json!(username));
                } else {
                    put("user", json!(user.id));
                    put("bot_profile", self.bot_profile(post.user));
                }
            }
            (None, _) => {
                put("user", json!(user.id));
                put("client_msg_id", json!(message_id(ts)));
            }
        }
        if let Some(thread) = post.thread {
            put("thread_ts", json!(thread.to_string()));
            let parent = self.conversations[post.conversation].messages.get(&thread);
            if let Some(author) = parent.and_then(|parent| parent.get("user")) {
                put("parent_user_id", author.clone());
            }
            if post.broadcast {
                put("subtype", json!("thread_broadcast"));
            }
        }
        if !post.text.is_empty() && !post.extra.contains_key("blocks") {
            put("blocks", rich_text(&post.text, ts));
        }
        message
    }

    /// `bot_profile` as it stands in a bot's messages.
    fn bot_profile(&self, index: usize) -> Value {
        let user = &self.users[index];
        let bot = user.bot();
        let bot_id = bot.map_or("", |bot| &bot.bot_id);
        let app_id = bot.map_or("", |bot| &bot.app_id);
        json!({"id": bot_id, "deleted": false, "name": user.name, "updated": FOUNDED, "app_id": app_id,
            "icons": {"image_36": "https://a.slack-edge.com/80588/img/plugins/app/bot_36.png",
                "image_48": "https://a.slack-edge.com/80588/img/plugins/app/bot_48.png",
                "image_72": "https://a.slack-edge.com/80588/img/plugins/app/service_72.png"},
            "team_id": self.team.id})
    }

    fn note_reply(&mut self, conversation: usize, thread: Ts, reply: &Message) {
        let Some(parent) = self.conversations[conversation].messages.get_mut(&thread) else {
            return;
        };
        let count = parent.get("reply_count").and_then(Value::as_u64);
        parent.insert("thread_ts".to_owned(), json!(thread.to_string()));
        parent.insert("reply_count".to_owned(), json!(count.unwrap_or(0) + 1));
        parent.insert("latest_reply".to_owned(), reply["ts"].clone());
        if let Some(user) = reply.get("user") {
            let users = parent
                .entry("reply_users")
                .or_insert_with(|| json!([]))
                .as_array_mut();
            if let Some(users) = users.filter(|users| !users.contains(user)) {
                users.push(user.clone());
            }
        }
    }

    /// Changes a message of `user`'s own; `fields` replace those of the same name.
    pub(crate) fn update(
        &mut self,
        user: usize,
        conversation: usize,
        ts: Ts,
        fields: Map<String, Value>,
    ) -> Result<Message, MessageError> {
        let previous = self.own(user, conversation, ts, MessageError::NotTheirs)?;
        let now = self.tick();
        let mut message = previous.clone();
        if let (Some(Value::String(text)), None) = (fields.get("text"), fields.get("blocks")) {
            message.insert("blocks".to_owned(), rich_text(text, now));
        }
        message.extend(fields);
        let editor = json!({"user": self.users[user].id, "ts": now.to_string()});
        message.insert("edited".to_owned(), editor);
        self.conversations[conversation]
            .messages
            .insert(ts, message.clone());
        let value = json!({"type": "message", "subtype": "message_changed", "hidden": true, "message": message,
            "previous_message": previous, "channel": self.conversations[conversation].id,
            "event_ts": now.to_string(), "ts": now.to_string()});
        self.tell_members(conversation, value);
        Ok(message)
    }

    /// Deletes a message of `user`'s own.
    pub(crate) fn delete(
        &mut self,
        user: usize,
        conversation: usize,
        ts: Ts,
    ) -> Result<(), MessageError> {
        let previous = self.own(user, conversation, ts, MessageError::NotTheirs)?;
        self.conversations[conversation].messages.remove(&ts);
        let now = self.tick();
        let value = json!({"type": "message", "subtype": "message_deleted", "hidden": true,
            "deleted_ts": ts.to_string(), "previous_message": previous,
            "channel": self.conversations[conversation].id, "event_ts": now.to_string(), "ts": now.to_string()});
        self.tell_members(conversation, value);
        Ok(())
    }

    /// The message at `ts`, if `user` wrote it.
    fn own(
        &self,
        user: usize,
        conversation: usize,
        ts: Ts,
        not_theirs: MessageError,
    ) -> Result<Message, MessageError> {
        let message = self.conversations[conversation].messages.get(&ts);
        let message = message.ok_or(MessageError::NotFound)?;
        let user = &self.users[user];
        let wrote = message.get("user").is_some_and(|id| id == &user.id)
            || user
                .bot()
                .is_some_and(|bot| message.get("bot_id").is_some_and(|id| *id == bot.bot_id));
        if wrote {
            Ok(message.clone())
        } else {
            Err(not_theirs)
        }
    }

    /// Adds or removes a reaction.
    pub(crate) fn react(
        &mut self,
        user: usize,
        conversation: usize,
        ts: Ts,
        name: &str,
        add: bool,
    ) -> Result<(), MessageError> {
        let id = json!(self.users[user].id);
        let messages = &mut self.conversations[conversation].messages;
        let message = messages.get_mut(&ts).ok_or(MessageError::NotFound)?;
        let author = message.get("user").cloned();
        let mut reactions = match message.remove("reactions") {
            Some(Value::Array(reactions)) => reactions,
            _ => Vec::new(),
        };
        let done = change_reaction(&mut reactions, name, &id, add);
        if !reactions.is_empty() {
            message.insert("reactions".to_owned(), Value::Array(reactions));
        }
        done?;
        let kind = if add {
            "reaction_added"
        } else {
            "reaction_removed"
        };
        let mut value = json!({"type": kind, "user": id, "reaction": name,
            "item": {"type": "message", "channel": self.conversations[conversation].id, "ts": ts.to_string()},
            "event_ts": self.tick().to_string()});
        if let Some(author) = author {
            value["item_user"] = author;
        }
        self.tell_members(conversation, value);
        Ok(())
    }

    pub(crate) fn tell_members(&mut self, conversation: usize, value: Value) {
        self.events.push(Event {
            audience: Audience::Members(conversation),
            value,
        });
    }
}

fn change_reaction(
    reactions: &mut Vec<Value>,
    name: &str,
    user: &Value,
    add: bool,
) -> Result<(), MessageError> {
    let place = reactions
        .iter()
        .position(|reaction| reaction["name"] == name);
    let mut users = place
        .and_then(|place| reactions[place]["users"].as_array().cloned())
        .unwrap_or_default();
    match (add, users.iter().position(|one| one == user)) {
        (true, Some(_)) => return Err(MessageError::AlreadyReacted),
        (false, None) => return Err(MessageError::NoReaction),
        (true, None) => users.push(user.clone()),
        (false, Some(index)) => {
            users.remove(index);
        }
    }
    let changed = json!({"name": name, "users": users, "count": users.len()});
    match place {
        Some(place) if users.is_empty() => {
            reactions.remove(place);
        }
        Some(place) => reactions[place] = changed,
        None => reactions.push(changed),
    }
    Ok(())
}

/// A `client_msg_id`: it has a UUID's shape and is unique, as `ts` is.
fn message_id(ts: Ts) -> String {
    let mixed = ts.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        mixed >> 32,
        mixed >> 16 & 0xFFFF,
        mixed & 0xFFF,
        ts.0 >> 48 & 0xFFF,
        ts.0 & 0xFFFF_FFFF_FFFF
    )
}
