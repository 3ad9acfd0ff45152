//! Looking up users, channels and so on: the interface `roster`.
//!
//! All answers come from memory, so these functions never wait. Each look-up is charged, since a plugin could otherwise have
//! the host search the whole team without end.

use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::abi::v1::event;
use crate::runtime::guest::Guest;
use crate::services::roster::{self, Table};
use wit::types;

/// The cost of looking up one user, channel or the like in the roster.
const ROSTER_STEPS: u64 = 50;
/// The most entries that one name may be found to mean.
const MAX_FOUND: usize = 100;

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

impl From<roster::Usergroup> for wit::roster::Usergroup {
    fn from(it: roster::Usergroup) -> Self {
        Self {
            id: it.id,
            handle: it.handle,
            name: it.name,
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

    /// Charges the entries that a name was found to mean, the best first, and returns so many of them as are allowed.
    fn found<F, T: From<F>>(&mut self, mut found: Vec<F>) -> wasmtime::Result<Vec<T>> {
        found.truncate(MAX_FOUND);
        self.charge(ROSTER_STEPS * found.len() as u64)?;
        Ok(found.into_iter().map(Into::into).collect())
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
        Ok(found.map(Into::into))
    }

    fn get_bot(&mut self, id: String) -> wasmtime::Result<Option<wit::roster::Bot>> {
        self.asked(&id)?;
        let found = self.owner.services.roster.bot(&id);
        Ok(found.map(|it| wit::roster::Bot {
            id: it.id,
            name: it.name,
        }))
    }

    fn find_users(&mut self, name: String) -> wasmtime::Result<Vec<wit::roster::User>> {
        self.asked(&name)?;
        let found = self.owner.services.roster.find_users(&name);
        self.found(found)
    }

    fn find_conversations(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Vec<wit::roster::Conversation>> {
        self.asked(&name)?;
        let found = self.owner.services.roster.find_conversations(&name);
        self.found(found)
    }

    fn find_usergroups(&mut self, handle: String) -> wasmtime::Result<Vec<wit::roster::Usergroup>> {
        self.asked(&handle)?;
        let found = self.owner.services.roster.find_usergroups(&handle);
        self.found(found)
    }

    fn select(
        &mut self,
        table: wit::roster::Table,
        id: String,
        pointers: Vec<String>,
    ) -> wasmtime::Result<Option<Vec<Option<types::Value>>>> {
        self.asked(&id)?;
        self.many("selected", "fields", pointers.len())?;
        let table = match table {
            wit::roster::Table::Users => Table::Users,
            wit::roster::Table::Conversations => Table::Conversations,
            wit::roster::Table::Usergroups => Table::Usergroups,
            wit::roster::Table::Bots => Table::Bots,
        };
        let Some(entry) = self.owner.services.roster.entry(table, &id) else {
            return Ok(None);
        };
        self.charge_bytes(entry.raw().len())?;
        let values = event::select(&entry, &pointers, &mut self.budget);
        self.selected(values).map(Some)
    }
}
