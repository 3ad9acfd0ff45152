//! The plugins' data: a key-value store in one SQLite file, in which each plugin sees its own keys alone.
//!
//! A write survives the death of this process as soon as the call returns. A loss of power may lose the last writes,
//! but never damages the file. Calls block for some tens of microseconds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use djangobot_event::lock::lock;
use rusqlite::Connection;

use crate::private;

mod checkpoint;
mod database;
mod item;
mod scratch;
mod shelf;

use checkpoint::Checkpointer;
use database::{Shelves, prepare};
use item::{Item, check_size, now_ms, unavailable};
pub use item::{StoreError, StoreWrite};
use scratch::{Scratch, Write};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// The largest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The most keys that one call lists.
pub const MAX_KEYS: usize = 1_000;

/// The stores of all plugins. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shelves: Arc<Mutex<Shelves>>,
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

#[cfg(test)]
mod tests;
