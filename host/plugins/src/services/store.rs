//! The plugins' data: a key-value store in one SQLite file, in which each plugin sees its own keys alone.
//!
//! A write survives the death of this process as soon as the call returns. A loss of power may lose the last writes,
//! but never damages the file. Calls block for some tens of microseconds.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_event::lock::lock;
use rusqlite::{Connection, OptionalExtension, params};

use crate::private;

mod checkpoint;
mod item;
mod scratch;
mod shelf;

use checkpoint::{Checkpointer, LAST_RESORT_PAGES};
use item::{ITEM, Item, check_size, size_of};
pub use item::{StoreError, StoreWrite};
use scratch::{Scratch, Write};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The most keys that one call lists.
pub const MAX_KEYS: usize = 1_000;

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
const ROUND: u32 = 256;
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
const SUM: &str = "SELECT coalesce(sum(octet_length(key) + octet_length(value) + ?2), 0) FROM items
    WHERE plugin = ?1";
const SWEEP: &str = "DELETE FROM items WHERE plugin = ?1 AND key IN
    (SELECT key FROM items WHERE plugin = ?1 AND until <= ?2 LIMIT ?3)
    RETURNING octet_length(key) + octet_length(value) + ?4";

/// The stores of all plugins. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shelves: Arc<Mutex<Shelves>>,
}

/// The database with its counts, behind the lock.
///
/// `sums` hold for the data version `foreign` alone: `sum` compares the two before it uses one, and each write of ours
/// keeps its sum up to date.
struct Shelves {
    database: Connection,
    /// The bytes of each shelf that was asked about, so that a write needs no sum over all its items.
    sums: HashMap<Arc<str>, u64>,
    /// SQLite's data version, which changes when another process writes to the file.
    foreign: i64,
    /// The writes so far, by which sweeps and checkpoints are due.
    writes: u32,
    /// `None` for a store in memory, which has no log.
    checkpointer: Option<Checkpointer>,
}

/// The store of one plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginStore {
    store: Store,
    /// Its shelf: the value of the column `plugin`.
    plugin: Arc<str>,
    /// The bytes that it may hold.
    quota: u64,
    /// The writes of a rehearsal, which don't go to the file.
    scratch: Option<Arc<Mutex<Scratch>>>,
}

impl Store {
    /// Opens the file at `path`, and creates it if it is missing.
    ///
    /// # Errors
    /// The file can't be used, or comes from a newer djangobot.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |why: String| {
            StoreError::Unavailable(format!(
                "the store of the plugins, {}, can't be used: {why}",
                path.display()
            ))
        };
        private::open_file(path).map_err(|error| at(error.to_string()))?;
        let database = Connection::open(path).map_err(|error| at(error.to_string()))?;
        let store = Self::over(database).map_err(|error| at(error.to_string()))?;
        store.shelves().checkpointer = Some(Checkpointer::start(path).map_err(at)?);
        Ok(store)
    }

    /// A store in memory, for tests of a plugin.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::over(Connection::open_in_memory().map_err(unavailable)?)
    }

    /// The store called `name`, which may hold `quota` bytes: keys, values and 32 for each item. The returned value
    /// stays valid when the store gets another name.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn of(&self, name: &str, quota: u64) -> Result<PluginStore, StoreError> {
        Ok(PluginStore {
            store: self.clone(),
            plugin: self.shelf(name)?,
            quota,
            scratch: None,
        })
    }

    /// The bytes of its quota that the store called `name` uses. Expired items count until they are deleted.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn usage(&self, name: &str) -> Result<u64, StoreError> {
        let shelf = self.shelf(name)?;
        self.shelves().sum(&shelf)
    }

    fn over(mut database: Connection) -> Result<Self, StoreError> {
        prepare(&mut database)?;
        Ok(Self {
            shelves: Arc::new(Mutex::new(Shelves {
                database,
                sums: HashMap::new(),
                foreign: 0,
                writes: 0,
                checkpointer: None,
            })),
        })
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // A panic while the lock was held leaves SQLite itself consistent.
        lock(&self.shelves)
    }
}

impl PluginStore {
    /// The value of `key`, if it has not expired.
    ///
    /// # Errors
    /// The key is too long, or the file can't be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        let item = self.live(&self.store.shelves(), key)?;
        Ok(item.map(|item| item.value))
    }

    /// Stores `value` under `key` for `ttl_ms` milliseconds, or until it is deleted.
    ///
    /// # Errors
    /// Key, value or store are too large, or the file can't be written.
    pub fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), StoreError> {
        check_key(key)?;
        check_value(value)?;
        self.put(&mut self.store.shelves(), key, value, end_of(ttl_ms))
    }

    /// The values of `keys`, in their order.
    ///
    /// # Errors
    /// The errors of [`PluginStore::get`].
    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let shelves = self.store.shelves();
        let get = |key: &String| {
            check_key(key)?;
            Ok(self.live(&shelves, key)?.map(|item| item.value))
        };
        keys.iter().map(get).collect()
    }

    /// The keys that begin with `prefix` and come after `after`, in the order of their bytes: at most `limit`, and at
    /// most [`MAX_KEYS`].
    ///
    /// # Errors
    /// The file can't be read.
    pub fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let after = after.unwrap_or_default();
        let limit = (limit as usize).min(MAX_KEYS);
        let shelves = self.store.shelves();
        let Some(scratch) = &self.scratch else {
            let keys = shelves.keys(&self.plugin, prefix, after, limit)?;
            return Ok(keys.into_iter().collect());
        };
        let scratch = lock(scratch);
        // Each write of the rehearsal may hide one key of the file.
        let under = shelves.keys(&self.plugin, prefix, after, limit + scratch.len())?;
        let is_listed = |key: &str| key.starts_with(prefix) && key > after;
        let keys = scratch.over(under, is_listed, now_ms());
        Ok(keys.into_iter().take(limit).collect())
    }

    /// Makes all of `writes`, or none if one is refused.
    ///
    /// # Errors
    /// The errors of [`PluginStore::set`].
    pub fn set_many(&self, writes: &[StoreWrite]) -> Result<(), StoreError> {
        writes.iter().try_for_each(check_write)?;
        self.together(|shelves| {
            writes
                .iter()
                .try_for_each(|write| self.write(shelves, write))
        })
    }

    /// Makes `write` if the value of its key is `expected`, and returns whether it did.
    ///
    /// # Errors
    /// The errors of [`PluginStore::set`].
    pub fn compare_and_set(
        &self,
        expected: Option<&[u8]>,
        write: &StoreWrite,
    ) -> Result<bool, StoreError> {
        check_write(write)?;
        self.together(|shelves| {
            let found = self.live(shelves, &write.key)?;
            if found.as_ref().map(|item| &*item.value) != expected {
                return Ok(false);
            }
            self.write(shelves, write)?;
            Ok(true)
        })
    }

    /// Deletes `key`, if it is there.
    ///
    /// # Errors
    /// The key is too long, or the file can't be written.
    pub fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        self.remove(&mut self.store.shelves(), key)
    }

    /// Adds `by` to the number under `key`, which begins at 0, and returns the sum. The time of expiry stays as it was.
    ///
    /// # Errors
    /// The errors of [`PluginStore::set`], or the value is not a number of 64 bits, or would not stay one.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError> {
        check_key(key)?;
        let mut shelves = self.store.shelves();
        let (number, until) = match self.live(&shelves, key)? {
            Some(Item { value, until }) => (decimal(&value).ok_or(StoreError::NotANumber)?, until),
            None => (0, None),
        };
        let sum = number.checked_add(by).ok_or(StoreError::NotANumber)?;
        self.put(&mut shelves, key, sum.to_string().as_bytes(), until)?;
        Ok(sum)
    }

    /// A view of this store for a rehearsal: it alone, with its clones, sees its writes, and they are lost with it.
    pub fn shadow(&self) -> Self {
        let scratch = match &self.scratch {
            Some(scratch) => lock(scratch).clone(),
            None => Scratch::default(),
        };
        Self {
            scratch: Some(Arc::new(Mutex::new(scratch))),
            ..self.clone()
        }
    }

    /// The item under `key`, if it has not expired.
    fn live(&self, shelves: &Shelves, key: &str) -> Result<Option<Item>, StoreError> {
        let written = self
            .scratch
            .as_ref()
            .and_then(|scratch| lock(scratch).get(key));
        let item = match written {
            Some(Write::Set(item)) => Some(item),
            Some(Write::Delete) => None,
            None => shelves.get(&self.plugin, key)?,
        };
        let now = now_ms();
        Ok(item.filter(|item| item.until.is_none_or(|until| until > now)))
    }

    /// Does several things as one: all of them, or none where one fails.
    fn together<T>(
        &self,
        work: impl FnOnce(&mut Shelves) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shelves = self.store.shelves();
        let Some(scratch) = &self.scratch else {
            return shelves.transaction(&self.plugin, work);
        };
        let before = lock(scratch).clone();
        let done = work(&mut shelves);
        if done.is_err() {
            *lock(scratch) = before;
        }
        done
    }

    fn write(&self, shelves: &mut Shelves, write: &StoreWrite) -> Result<(), StoreError> {
        match &write.value {
            Some(value) => self.put(shelves, &write.key, value, end_of(write.ttl_ms)),
            None => self.remove(shelves, &write.key),
        }
    }

    fn remove(&self, shelves: &mut Shelves, key: &str) -> Result<(), StoreError> {
        match &self.scratch {
            Some(scratch) => {
                let under = shelves.size(&self.plugin, key)?;
                lock(scratch).delete(key, under);
                Ok(())
            }
            None => shelves.delete(&self.plugin, key),
        }
    }

    fn put(
        &self,
        shelves: &mut Shelves,
        key: &str,
        value: &[u8],
        until: Option<i64>,
    ) -> Result<(), StoreError> {
        let Some(scratch) = &self.scratch else {
            return shelves.put(&self.plugin, key, value, until, self.quota);
        };
        let (sum, under) = (shelves.sum(&self.plugin)?, shelves.size(&self.plugin, key)?);
        let value = value.to_owned();
        lock(scratch).put(key, Item { value, until }, under, sum, self.quota)
    }
}

impl Shelves {
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Item>, StoreError> {
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
    fn keys(
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
    fn transaction<T>(
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
    fn size(&self, plugin: &str, key: &str) -> Result<u64, StoreError> {
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
    fn sum(&mut self, plugin: &Arc<str>) -> Result<u64, StoreError> {
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

    fn put(
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

    fn delete(&mut self, plugin: &Arc<str>, key: &str) -> Result<(), StoreError> {
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
    fn sweep(&mut self, plugin: &Arc<str>) -> Result<bool, StoreError> {
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
fn prepare(database: &mut Connection) -> Result<(), StoreError> {
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

fn check_write(write: &StoreWrite) -> Result<(), StoreError> {
    check_key(&write.key)?;
    write.value.as_deref().map_or(Ok(()), check_value)
}

fn check_value(value: &[u8]) -> Result<(), StoreError> {
    check_size("the value", value.len() as u64, MAX_VALUE as u64)
}

/// The end of an item that lives for `ttl_ms` milliseconds, in Unix milliseconds.
fn end_of(ttl_ms: Option<u64>) -> Option<i64> {
    ttl_ms.map(|ttl| now_ms().saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)))
}

fn check_key(key: &str) -> Result<(), StoreError> {
    check_size("the key", key.len() as u64, MAX_KEY as u64)
}

fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The error of the database. Plugins get to see it, so it does not name the file.
fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
