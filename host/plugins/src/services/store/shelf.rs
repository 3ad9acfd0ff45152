//! The names of stores, and the shelves on which their items lie.
//!
//! A store gets another name without moving its items. While a command is renaming it, both names mean it: whether the
//! command succeeds, fails or is killed, the plugin finds its store under the name that the config has in the end.
//!
//! `shelves` has the settled names: a name that is not in it has the shelf of the same name. `moves` has the announced
//! ones, and comes first. `settle` ends what is announced about a name, so that a name is never in two rows of `moves`.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::services::store::Store;
use crate::services::store::item::{StoreError, unavailable};

/// The shelf of a name: that of its old name if a move is announced, else the one in `shelves`, else its own.
const SHELF: &str = "SELECT coalesce((SELECT shelf FROM shelves WHERE name = owner), owner)
    FROM (SELECT coalesce((SELECT old FROM moves WHERE new = ?1), ?1) AS owner)";

impl Store {
    /// Announces that the store called `old` gets the name `new`. From now on both names mean it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn announce_move(&self, old: &str, new: &str) -> Result<(), StoreError> {
        if old == new {
            return Ok(());
        }
        self.change(|database| {
            settle(database, old)?;
            let announce = "INSERT OR REPLACE INTO moves (new, old) VALUES (?1, ?2)";
            database.execute(announce, [new, old]).map(drop)
        })
    }

    /// Withdraws what was announced: the two names mean two stores again.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn withdraw_move(&self, old: &str, new: &str) -> Result<(), StoreError> {
        self.change(|database| {
            let withdraw = "DELETE FROM moves WHERE new = ?1 AND old = ?2";
            database.execute(withdraw, [new, old]).map(drop)
        })
    }

    /// Settles that a store is called `name`: no other name means it any more.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn settle_name(&self, name: &str) -> Result<(), StoreError> {
        self.change(|database| settle(database, name))
    }

    /// Deletes all items of the store called `name`, for good.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        self.change(|database| {
            settle(database, name)?;
            empty(database, &shelf(database, name)?)
        })
    }

    /// Moves the items of the shelf called `from` into the store called `to`. An item that is there already stays, and
    /// the one from the shelf is deleted.
    pub(crate) fn adopt(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.change(|database| {
            let shelf = shelf(database, to)?;
            let adopt = "UPDATE OR IGNORE items SET plugin = ?2 WHERE plugin = ?1";
            database.execute(adopt, [from, &shelf])?;
            empty(database, from)
        })
    }

    /// The shelf of the store called `name`.
    pub(super) fn shelf(&self, name: &str) -> Result<Arc<str>, StoreError> {
        let found = shelf(&self.shelves().database, name);
        found.map(Into::into).map_err(unavailable)
    }

    /// Makes a change of names in one transaction.
    fn change(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut shelves = self.shelves();
        // A name may mean another shelf afterwards, or a shelf may be empty, so that no sum holds any more.
        shelves.sums.clear();
        let transaction = shelves.database.transaction().map_err(unavailable)?;
        change(&transaction).map_err(unavailable)?;
        transaction.commit().map_err(unavailable)
    }
}

fn shelf(database: &Connection, name: &str) -> rusqlite::Result<String> {
    database.query_row(SHELF, [name], |row| row.get(0))
}

/// Ends what is announced about `name`. If it was the new name of a move, the move is made: the two names exchange
/// their shelves, and the one that the old name gets is emptied.
fn settle(database: &Connection, name: &str) -> rusqlite::Result<()> {
    let announced: Option<String> = database
        .query_row("SELECT old FROM moves WHERE new = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    database.execute("DELETE FROM moves WHERE ?1 IN (new, old)", [name])?;
    let Some(old) = announced else {
        return Ok(());
    };
    let (own, taken) = (shelf(database, name)?, shelf(database, &old)?);
    empty(database, &own)?;
    for (name, shelf) in [(name, taken), (&old, own)] {
        let put = "INSERT OR REPLACE INTO shelves (name, shelf) VALUES (?1, ?2)";
        database.execute(put, [name, &shelf])?;
    }
    Ok(())
}

fn empty(database: &Connection, shelf: &str) -> rusqlite::Result<()> {
    let delete = "DELETE FROM items WHERE plugin = ?1";
    database.execute(delete, [shelf]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: u64 = 1 << 20;

    fn put(store: &Store, name: &str, value: &str) {
        let of = store.of(name, ROOMY).unwrap();
        of.set("k", value.as_bytes(), None).unwrap();
    }

    fn has(store: &Store, name: &str) -> Option<String> {
        let value = store.of(name, ROOMY).unwrap().get("k").unwrap();
        value.map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_store_that_gets_another_name_is_there_under_both_until_that_is_settled() {
        let store = Store::in_memory().unwrap();
        put(&store, "a", "a's");
        put(&store, "b", "left of b");
        let serving = store.of("a", ROOMY).unwrap();
        store.announce_move("a", "b").unwrap();
        assert_eq!(has(&store, "a").as_deref(), Some("a's"));
        assert_eq!(has(&store, "b").as_deref(), Some("a's"));
        store.withdraw_move("a", "b").unwrap();
        assert_eq!(has(&store, "a").as_deref(), Some("a's"));
        assert_eq!(has(&store, "b").as_deref(), Some("left of b"));

        store.announce_move("a", "b").unwrap();
        let new = store.of("b", ROOMY).unwrap();
        store.settle_name("b").unwrap();
        new.set("k", b"more", None).unwrap();
        assert_eq!(serving.get("k").unwrap().as_deref(), Some(&b"more"[..]));
        assert_eq!(has(&store, "b").as_deref(), Some("more"));
        assert_eq!(has(&store, "a"), None);
        assert_eq!(store.usage("a"), Ok(0));
        // Another plugin that comes under the old name has a store of its own.
        put(&store, "a", "another's");
        assert_eq!(has(&store, "b").as_deref(), Some("more"));
        store.forget("b").unwrap();
        assert_eq!(
            (has(&store, "b"), has(&store, "a").unwrap()),
            (None, "another's".into())
        );
    }

    #[test]
    fn a_move_that_a_command_left_half_done_is_ended_by_the_next_command() {
        let store = Store::in_memory().unwrap();
        put(&store, "a", "v");
        store.announce_move("a", "b").unwrap();
        // It ended before the config was written; the next one moves it elsewhere.
        store.announce_move("a", "c").unwrap();
        store.settle_name("c").unwrap();
        let found = ["a", "b", "c"].map(|name| has(&store, name));
        assert_eq!(found, [None, None, Some("v".into())]);
        // It ended after the config was written; the next one moves it on, and back to where it was once.
        store.announce_move("c", "b").unwrap();
        store.announce_move("b", "a").unwrap();
        store.settle_name("a").unwrap();
        let found = ["a", "b", "c"].map(|name| has(&store, name));
        assert_eq!(found, [Some("v".into()), None, None]);
        // And one that removes it takes it out under whatever name.
        store.announce_move("a", "b").unwrap();
        store.forget("b").unwrap();
        assert_eq!(["a", "b"].map(|name| has(&store, name)), [None, None]);
    }

    #[test]
    fn items_under_the_plugins_name_alone_are_adopted_and_overwrite_nothing() {
        let store = Store::in_memory().unwrap();
        let (old, new) = (
            store.of("a", ROOMY).unwrap(),
            store.of("a b", ROOMY).unwrap(),
        );
        old.set("both", b"old", None).unwrap();
        old.set("k", b"old", None).unwrap();
        new.set("both", b"new", None).unwrap();
        store.adopt("a", "a b").unwrap();
        assert_eq!(has(&store, "a b").as_deref(), Some("old"));
        assert_eq!(new.get("both").unwrap().as_deref(), Some(&b"new"[..]));
        assert_eq!(store.usage("a"), Ok(0));
    }
}
