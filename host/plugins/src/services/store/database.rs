//! The database of the plugins' data: its schema, its statements, and the sums that make a quota cheap to check.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::services::store::checkpoint::{Checkpointer, LAST_RESORT_PAGES};
use crate::services::store::item::{
    ITEM, Item, StoreError, check_size, now_ms, size_of, unavailable,
};

/// The migrations: each one brings the file from one version to the next. A released one is never edited.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE items (
        plugin TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        until INTEGER,             -- Unix milliseconds; NULL stays
        PRIMARY KEY (plugin, key)
    ) WITHOUT ROWID;
    CREATE INDEX expiry ON items (plugin, until) WHERE until IS NOT NULL;
", "
    -- `items.plugin` is a shelf. A name that is not in here has the shelf that is called as it is.
    CREATE TABLE shelves (name TEXT PRIMARY KEY, shelf TEXT NOT NULL) WITHOUT ROWID;
    -- Stores that are about to get another name: until that is settled, both names mean the shelf of the old one.
    CREATE TABLE moves (new TEXT PRIMARY KEY, old TEXT NOT NULL) WITHOUT ROWID;
"];

/// How long a call waits for another process that writes to the file.
const BUSY: Duration = Duration::from_secs(1);
/// After so many writes, expired items are deleted.
pub(super) const ROUND: u32 = 256;
/// After so many writes, a checkpoint copies SQLite's log into the file. The next write begins a new log and waits for
/// the disk once, so that checkpoints must not be frequent.
const CHECKPOINT_EVERY: u32 = 2_048;
/// So many expired items are deleted at once, so that no write takes long.
const SWEEP_MOST: u32 = 512;

const GET: &str = "SELECT value, until FROM items WHERE plugin = ?1 AND key = ?2";
const SIZE: &str =
    "SELECT octet_length(key) + octet_length(value) + ?3 FROM items WHERE plugin = ?1 AND key = ?2";
const PUT: &str = "INSERT INTO items (plugin, key, value, until) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET value = excluded.value, until = excluded.until";
const DELETE: &str = "DELETE FROM items WHERE plugin = ?1 AND key = ?2";
/// Keys are compared by their bytes, so that all keys with a prefix lie together, from the prefix itself on.
const KEYS: &str = "SELECT key FROM items WHERE plugin = ?1 AND key >= ?2 AND key > ?3
    AND (until IS NULL OR until > ?4) ORDER BY key";
pub(super) const SUM: &str =
    "SELECT coalesce(sum(octet_length(key) + octet_length(value) + ?2), 0) FROM items
    WHERE plugin = ?1";
const SWEEP: &str = "DELETE FROM items WHERE plugin = ?1 AND key IN
    (SELECT key FROM items WHERE plugin = ?1 AND until <= ?2 LIMIT ?3)
    RETURNING octet_length(key) + octet_length(value) + ?4";

/// The database with its counts, behind the lock.
///
/// `sums` hold for the data version `foreign` alone: `sum` compares the two before it uses one, and each write of ours
/// keeps its sum up to date.
pub(super) struct Shelves {
    pub(super) database: Connection,
    /// The bytes of each shelf that was asked about, so that a write needs no sum over all its items.
    pub(super) sums: HashMap<Arc<str>, u64>,
    /// SQLite's data version, which changes when another process writes to the file.
    pub(super) foreign: i64,
    /// The writes so far, by which sweeps and checkpoints are due.
    pub(super) writes: u32,
    /// `None` for a store in memory, which has no log.
    pub(super) checkpointer: Option<Checkpointer>,
}

impl Shelves {
    pub(super) fn get(&self, plugin: &str, key: &str) -> Result<Option<Item>, StoreError> {
        self.database
            .prepare_cached(GET)
            .and_then(|mut get| {
                get.query_row([plugin, key], |row| {
                    Ok(Item {
                        value: row.get(0)?,
                        until: row.get(1)?,
                    })
                })
                .optional()
            })
            .map_err(unavailable)
    }

    /// The keys that begin with `prefix` and come after `after`, `most` at most.
    pub(super) fn keys(
        &self,
        plugin: &str,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<BTreeSet<String>, StoreError> {
        let mut select = self.database.prepare_cached(KEYS).map_err(unavailable)?;
        let keys = select
            .query_map(params![plugin, prefix, after, now_ms()], |row| row.get(0))
            .map_err(unavailable)?;
        let mut found = BTreeSet::new();
        for key in keys.take(most) {
            let key: String = key.map_err(unavailable)?;
            if !key.starts_with(prefix) {
                break;
            }
            found.insert(key);
        }
        Ok(found)
    }

    /// Does `work` on a shelf in one transaction, in which no other process writes either.
    pub(super) fn transaction<T>(
        &mut self,
        plugin: &Arc<str>,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(unavailable)?;
        let done = work(self).and_then(|done| {
            let committed = self.database.execute_batch("COMMIT");
            committed.map_err(unavailable).map(|()| done)
        });
        if done.is_err() {
            // The sum may have counted writes that are taken back now.
            self.sums.remove(plugin);
            if !self.database.is_autocommit() {
                self.database
                    .execute_batch("ROLLBACK")
                    .map_err(unavailable)?;
            }
        }
        done
    }

    /// The bytes of one item; 0 if there is none.
    pub(super) fn size(&self, plugin: &str, key: &str) -> Result<u64, StoreError> {
        self.database
            .prepare_cached(SIZE)
            .and_then(|mut size| {
                size.query_row(params![plugin, key, ITEM], |row| row.get(0))
                    .optional()
            })
            .map(Option::unwrap_or_default)
            .map_err(unavailable)
    }

    /// The bytes of all items of a shelf.
    pub(super) fn sum(&mut self, plugin: &Arc<str>) -> Result<u64, StoreError> {
        let foreign = self
            .database
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut version| version.query_row([], |row| row.get(0)))
            .map_err(unavailable)?;
        if foreign != self.foreign {
            self.sums.clear();
            self.foreign = foreign;
        }
        if let Some(sum) = self.sums.get(plugin) {
            return Ok(*sum);
        }
        let sum = self
            .database
            .query_row(SUM, params![plugin, ITEM], |row| row.get(0))
            .map_err(unavailable)?;
        self.sums.insert(plugin.clone(), sum);
        Ok(sum)
    }

    pub(super) fn put(
        &mut self,
        plugin: &Arc<str>,
        key: &str,
        value: &[u8],
        until: Option<i64>,
        quota: u64,
    ) -> Result<(), StoreError> {
        self.writes = self.writes.wrapping_add(1);
        if self.writes.is_multiple_of(ROUND) {
            self.sweep(plugin)?;
        }
        if let Some(checkpointer) = &self.checkpointer
            && self.writes.is_multiple_of(CHECKPOINT_EVERY)
        {
            checkpointer.wake();
        }
        let new = size_of(key, value);
        let mut after = self.sum(plugin)?.saturating_sub(self.size(plugin, key)?) + new;
        while after > quota && self.sweep(plugin)? {
            after = self.sum(plugin)?.saturating_sub(self.size(plugin, key)?) + new;
        }
        check_size("the store", after, quota)?;
        self.database
            .prepare_cached(PUT)
            .and_then(|mut put| put.execute(params![plugin, key, value, until]))
            .map_err(unavailable)?;
        self.sums.insert(plugin.clone(), after);
        Ok(())
    }

    pub(super) fn delete(&mut self, plugin: &Arc<str>, key: &str) -> Result<(), StoreError> {
        let size = self.size(plugin, key)?;
        self.database
            .prepare_cached(DELETE)
            .and_then(|mut delete| delete.execute([plugin, key]))
            .map_err(unavailable)?;
        if let Some(sum) = self.sums.get_mut(plugin) {
            *sum = sum.saturating_sub(size);
        }
        Ok(())
    }

    /// Deletes some expired items of a shelf, and returns whether there were any.
    pub(super) fn sweep(&mut self, plugin: &Arc<str>) -> Result<bool, StoreError> {
        let mut sweep = self.database.prepare_cached(SWEEP).map_err(unavailable)?;
        let sizes = sweep
            .query_map(params![plugin, now_ms(), SWEEP_MOST, ITEM], |row| {
                row.get(0)
            })
            .and_then(Iterator::collect::<rusqlite::Result<Vec<u64>>>)
            .map_err(unavailable)?;
        if let Some(sum) = self.sums.get_mut(plugin) {
            *sum = sum.saturating_sub(sizes.iter().sum());
        }
        Ok(!sizes.is_empty())
    }
}

/// Sets the file up and brings it to the version that this host knows.
pub(super) fn prepare(database: &mut Connection) -> Result<(), StoreError> {
    database.busy_timeout(BUSY).map_err(unavailable)?;
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "NORMAL")] {
        database
            .pragma_update(None, pragma, value)
            .map_err(unavailable)?;
    }
    database
        .pragma_update(None, "wal_autocheckpoint", LAST_RESORT_PAGES)
        .map_err(unavailable)?;
    let version: usize = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(unavailable)?;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Unavailable(format!(
            "it was written by a newer djangobot (its format is {version}, and this djangobot knows up to {}); run that \
             djangobot, or choose another state folder",
            MIGRATIONS.len()
        )));
    }
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let migration = database.transaction().map_err(unavailable)?;
        migration.execute_batch(sql).map_err(unavailable)?;
        migration
            .pragma_update(None, "user_version", step + 1)
            .map_err(unavailable)?;
        migration.commit().map_err(unavailable)?;
    }
    Ok(())
}
