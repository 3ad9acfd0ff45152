//! People in the workspace: they write, and their presence changes.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::control::handle::{Control, ControlError, find_conversation, find_user};
use crate::state::ts::Ts;
use crate::state::workspace::{Audience, Event, Post};

impl Control {
    /// Posts as a user; the message's `ts`. Users and conversations go by id or name; a user in the place of the
    /// conversation stands for direct messages between it and the bot. A user that posts to a channel joins it.
    ///
    /// # Errors
    /// When there is no such user or conversation.
    pub fn say(&self, user: &str, channel: &str, text: &str) -> Result<String, ControlError> {
        self.say_in_thread(user, channel, text, None)
    }

    /// Posts as a user, in the thread of the message at `thread_ts`.
    ///
    /// # Errors
    /// When there is no such user or conversation, or `thread_ts` is not a timestamp.
    pub fn say_in_thread(
        &self,
        user: &str,
        channel: &str,
        text: &str,
        thread_ts: Option<&str>,
    ) -> Result<String, ControlError> {
        let thread = thread_ts
            .map(|ts| Ts::parse(ts).ok_or_else(|| ControlError::Ts(ts.to_owned())))
            .transpose()?;
        self.core.change(|workspace| {
            let user = find_user(workspace, user)?;
            let conversation = find_conversation(workspace, user, channel)?;
            workspace.conversations[conversation].join(user);
            let (ts, _) = workspace.post(Post {
                user,
                conversation,
                text: text.to_owned(),
                thread,
                ..Post::default()
            });
            Ok(ts.to_string())
        })
    }

    /// Makes a user `away` or `active`, and sends that to connections that watch it.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_presence(&self, user: &str, active: bool) -> Result<(), ControlError> {
        self.core.change(|workspace| {
            let user = find_user(workspace, user)?;
            if active {
                workspace.away.remove(&user);
            } else {
                workspace.away.insert(user);
            }
            let value = json!({"type": "presence_change", "user": workspace.users[user].id,
                "presence": workspace.presence(user)});
            workspace.events.push(Event {
                audience: Audience::Watchers(user),
                value,
            });
            Ok(())
        })
    }

    /// The id of a user, by its login name.
    pub fn user_id(&self, name: &str) -> Option<String> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.user_named(name)?;
        Some(workspace.users[index].id.clone())
    }

    /// The id of a conversation, by its name.
    pub fn channel_id(&self, name: &str) -> Option<String> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.conversation_named(name)?;
        Some(workspace.conversations[index].id.clone())
    }

    /// All messages of a conversation, by its id, the oldest first, as an app reads them where Slack does not limit
    /// that.
    pub fn messages(&self, channel: &str) -> Option<Vec<Value>> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.conversation(channel)?;
        let messages = workspace.conversations[index].messages.values();
        Some(messages.cloned().map(Value::Object).collect())
    }
}
