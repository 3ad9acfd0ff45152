//! Changes in the workspace without an event, so that an app's own lists become outdated.

use crate::lock::lock;
use crate::speakers::control::handle::{Control, ControlError, find_user};
use crate::state::workspace::{Conversation, Kind, Members, Nature, User};

impl Control {
    /// Makes a channel that all are in; its id. No event is sent.
    pub fn add_channel(&self, name: &str) -> String {
        let mut workspace = lock(&self.core.workspace);
        let creator = workspace.installer;
        let channel = Conversation::new(
            Some(name.to_owned()),
            Kind::Public,
            Members::Everyone,
            creator,
        );
        let index = workspace.add_conversation(channel);
        workspace.conversations[index].id.clone()
    }

    /// Gives a channel another name. No event is sent.
    ///
    /// # Errors
    /// When there is no such channel.
    pub fn rename_channel(&self, channel: &str, name: &str) -> Result<(), ControlError> {
        let renamed = lock(&self.core.workspace).rename(channel, name);
        renamed.ok_or_else(|| ControlError::Conversation(channel.to_owned()))
    }

    /// Lets a user join the workspace; the user's id. No event is sent.
    pub fn add_user(&self, name: &str, real_name: &str) -> String {
        let mut workspace = lock(&self.core.workspace);
        let index = workspace.add_user(User {
            id: String::new(),
            name: name.to_owned(),
            real_name: real_name.to_owned(),
            nature: Nature::Human,
            deleted: false,
            admin: false,
            zone: 0,
        });
        workspace.users[index].id.clone()
    }

    /// Switches a user's account off. No event is sent.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn deactivate_user(&self, name: &str) -> Result<(), ControlError> {
        let mut workspace = lock(&self.core.workspace);
        let index = find_user(&workspace, name)?;
        workspace.users[index].deleted = true;
        Ok(())
    }
}
