//! Looking up users, channels and so on: the interface `roster`.
//!
//! All answers come from memory, so these functions never wait. Each look-up is charged, since a plugin could otherwise have
//! the host search the whole team without end.

use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::guest::Guest;
use crate::services::roster;

/// The cost of looking up one user, channel or the like in the roster.
const ROSTER_STEPS: u64 = 50;

impl From<roster::User> for wit::roster::User {
    fn from(user: roster::User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            display_name: user.display_name,
            real_name: user.real_name,
            is_bot: user.is_bot,
            deleted: user.deleted,
        }
    }
}

impl From<roster::Conversation> for wit::roster::Conversation {
    fn from(it: roster::Conversation) -> Self {
        Self {
            id: it.id,
            name: it.name,
            is_private: it.is_private,
        }
    }
}

impl Guest {
    /// Counts and charges one look-up in the roster.
    fn asked(&mut self, about: &str) -> wasmtime::Result<()> {
        self.count()?;
        self.charge(ROSTER_STEPS)?;
        self.charge_bytes(about.len())
    }
}

impl wit::roster::Host for Guest {
    fn me(&mut self) -> wasmtime::Result<Option<wit::roster::Identity>> {
        self.count()?;
        Ok(self
            .owner
            .services
            .roster
            .me()
            .map(|me| wit::roster::Identity {
                team_id: me.team_id,
                user_id: me.user_id,
                bot_id: me.bot_id,
                name: me.name,
            }))
    }

    fn get_user(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::User>> {
        self.asked(&id)?;
        Ok(self.owner.services.roster.user(&id).map(Into::into))
    }

    fn get_users(&mut self, ids: Vec<String>) -> wasmtime::Result<Vec<Option<wit::roster::User>>> {
        self.count()?;
        self.many("asked for", "users", ids.len())?;
        for id in &ids {
            self.charge(ROSTER_STEPS)?;
            self.charge_bytes(id.len())?;
        }
        let roster = &self.owner.services.roster;
        Ok(ids
            .iter()
            .map(|id| roster.user(id).map(Into::into))
            .collect())
    }

    fn get_conversation(
        &mut self,
        id: String,
    ) -> wasmtime::Result<Option<wit::roster::Conversation>> {
        self.asked(&id)?;
        Ok(self.owner.services.roster.conversation(&id).map(Into::into))
    }

    fn get_usergroup(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::Usergroup>> {
        self.asked(&id)?;
        let found = self.owner.services.roster.usergroup(&id);
        Ok(found.map(|it| wit::roster::Usergroup {
            id: it.id,
            handle: it.handle,
            name: it.name,
        }))
    }

    fn get_bot(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::Bot>> {
        self.asked(&id)?;
        let found = self.owner.services.roster.bot(&id);
        Ok(found.map(|it| wit::roster::Bot {
            id: it.id,
            name: it.name,
        }))
    }

    fn find_user(&mut self, name: String) -> wasmtime::Result<Option<wit::roster::User>> {
        self.asked(&name)?;
        Ok(self.owner.services.roster.find_user(&name).map(Into::into))
    }

    fn find_conversation(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Option<wit::roster::Conversation>> {
        self.asked(&name)?;
        Ok(self
            .owner
            .services
            .roster
            .find_conversation(&name)
            .map(Into::into))
    }
}
