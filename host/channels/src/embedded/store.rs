//! The keys and their values, in separate databases, with expiry and a bound on memory.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::embedded::command_error::CommandError;
use crate::embedded::list::List;
use crate::embedded::sorted_set::SortedSet;

/// How many databases there are, as in Redis's default configuration.
pub(super) const DATABASES: usize = 16;
/// How many bytes a key takes beyond its own and those of its value.
const KEY_OVERHEAD: usize = 128;
/// Milliseconds since 1970, on a clock that never goes back.
pub(super) type Millis = u64;

/// All databases, and the keys that changed since the last [`Store::take_changed`].
#[derive(Debug)]
pub(super) struct Store {
    databases: Vec<Database>,
    limit: usize,
    /// The keys that changed, in order: their waiters are served next.
    changed: Vec<DatabaseKey>,
}

/// A key of one database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DatabaseKey {
    pub(super) database: usize,
    pub(super) key: Bytes,
}

impl DatabaseKey {
    pub(super) fn new(database: usize, key: &[u8]) -> Self {
        let key = Bytes::copy_from_slice(key);
        Self { database, key }
    }
}

/// The time at which a key is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// There is no such key.
    Missing,
    /// The key stays.
    Never,
    At(Millis),
}

impl Expiry {
    /// The time, if there is one.
    pub(super) fn deadline(self) -> Option<Millis> {
        match self {
            Self::At(deadline) => Some(deadline),
            Self::Missing | Self::Never => None,
        }
    }
}

/// The number of keys in a database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) database: usize,
    pub(super) keys: usize,
    /// How many of the keys have a deadline.
    pub(super) expiring: usize,
}

/// `deadlines` has each key of `entries` that has a deadline, and no other. `used` is the sum of their [`cost`].
#[derive(Debug, Default)]
struct Database {
    entries: HashMap<Bytes, Entry>,
    deadlines: BTreeSet<(Millis, Bytes)>,
    used: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    deadline: Option<Millis>,
}

/// The value of a key.
#[derive(Debug)]
pub(super) enum Value {
    Text(Bytes),
    List(List),
    SortedSet(SortedSet),
}

/// A value that has items. Like in Redis, its key exists only as long as it has any.
pub(super) trait Collection: Default {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    /// Roughly how many bytes it takes.
    fn size(&self) -> usize;
    fn is_empty(&self) -> bool;
    /// A number that grows with each change.
    fn changes(&self) -> u64;
}

/// One database at one moment, for commands to work on.
#[derive(Debug)]
pub(super) struct Keyspace<'a> {
    store: &'a mut Store,
    database: usize,
    now: Millis,
}

/// How [`Keyspace::edit`] treats a key that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingKey {
    Create,
    Ignore,
}

impl Store {
    /// An empty store that takes about `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            databases: (0..DATABASES).map(|_| Database::default()).collect(),
            limit,
            changed: Vec::new(),
        }
    }

    /// Database `database`, which must be below [`DATABASES`], at the time `now`.
    pub(super) fn at(&mut self, database: usize, now: Millis) -> Keyspace<'_> {
        Keyspace {
            store: self,
            database: database.min(DATABASES - 1),
            now,
        }
    }

    /// Roughly how many bytes all keys and values take.
    pub(super) fn used(&self) -> usize {
        self.databases.iter().map(|database| database.used).sum()
    }

    /// How many bytes it may take.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many more bytes it may take.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    /// Removes all expired keys.
    pub(super) fn expire(&mut self, now: Millis) {
        for database in &mut self.databases {
            while let Some((deadline, key)) = database.deadlines.first() {
                if *deadline > now {
                    break;
                }
                let key = key.clone();
                database.remove(&key);
            }
        }
    }

    /// The keys that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<DatabaseKey> {
        std::mem::take(&mut self.changed)
    }

    /// Empties all databases.
    pub(super) fn clear(&mut self) {
        for database in 0..DATABASES {
            self.at(database, 0).clear();
        }
    }

    /// The numbers of keys in each database that has any.
    pub(super) fn census(&self) -> impl Iterator<Item = Census> {
        let databases = self.databases.iter().enumerate();
        let counted = databases.map(|(database, content)| Census {
            database,
            keys: content.entries.len(),
            expiring: content.deadlines.len(),
        });
        counted.filter(|census| census.keys > 0)
    }
}

impl Database {
    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.used -= cost(&key, &entry.value);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        Some(entry)
    }
}

fn cost(key: &[u8], value: &Value) -> usize {
    KEY_OVERHEAD + key.len() + value.size()
}

impl Keyspace<'_> {
    /// Which database it is.
    pub(super) fn database(&self) -> usize {
        self.database
    }

    /// The time, in milliseconds since 1970.
    pub(super) fn now(&self) -> Millis {
        self.now
    }

    /// How many more bytes it may take.
    pub(super) fn room(&self) -> usize {
        self.store.room()
    }

    fn inner(&mut self) -> &mut Database {
        &mut self.store.databases[self.database]
    }

    /// The database, without `key` if that has expired.
    fn fresh(&mut self, key: &[u8]) -> &mut Database {
        let now = self.now;
        let database = self.inner();
        if database
            .entries
            .get(key)
            .and_then(|entry| entry.deadline)
            .is_some_and(|deadline| deadline <= now)
        {
            database.remove(key);
        }
        database
    }

    fn touch(&mut self, key: &[u8]) {
        let key = DatabaseKey::new(self.database, key);
        self.store.changed.push(key);
    }

    /// The value of `key`.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<&Value> {
        self.fresh(key).entries.get(key).map(|entry| &entry.value)
    }

    /// The text of `key`.
    pub(super) fn text(&mut self, key: &[u8]) -> Result<Option<&Bytes>, CommandError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The collection under `key`.
    pub(super) fn collection<C: Collection>(
        &mut self,
        key: &[u8],
    ) -> Result<Option<&C>, CommandError> {
        self.get(key)
            .map(|value| C::of(value).ok_or(CommandError::WrongType))
            .transpose()
    }

    /// Changes the collection under `key`, and removes the key if the collection is empty then.
    ///
    /// `None` if there is no such key and `missing` says to ignore that.
    pub(super) fn edit<C: Collection, R>(
        &mut self,
        key: &[u8],
        missing: MissingKey,
        edit: impl FnOnce(&mut C) -> R,
    ) -> Result<Option<R>, CommandError> {
        let database = self.fresh(key);
        if !database.entries.contains_key(key) {
            if missing == MissingKey::Ignore {
                return Ok(None);
            }
            let entry = Entry {
                value: C::default().into_value(),
                deadline: None,
            };
            database.used += cost(key, &entry.value);
            database.entries.insert(Bytes::copy_from_slice(key), entry);
        }
        let Some(collection) = database
            .entries
            .get_mut(key)
            .and_then(|entry| C::of_mut(&mut entry.value))
        else {
            return Err(CommandError::WrongType);
        };
        let (size, changes) = (collection.size(), collection.changes());
        let result = edit(collection);
        let (after, changed, empty) = (
            collection.size(),
            collection.changes() != changes,
            collection.is_empty(),
        );
        database.used = database.used - size + after;
        if empty {
            database.remove(key);
        }
        if changed {
            self.touch(key);
        }
        Ok(Some(result))
    }

    /// Sets `key` to a text, in place of any value that it has; `deadline` replaces the key's own.
    pub(super) fn set_text(&mut self, key: &[u8], text: &[u8], deadline: Option<Millis>) {
        let database = self.inner();
        database.remove(key);
        let entry = Entry {
            value: Value::Text(Bytes::copy_from_slice(text)),
            deadline: None,
        };
        database.used += cost(key, &entry.value);
        database.entries.insert(Bytes::copy_from_slice(key), entry);
        self.set_deadline(key, deadline);
        self.touch(key);
    }

    /// The time at which `key` is removed.
    pub(super) fn expiry(&mut self, key: &[u8]) -> Expiry {
        match self.fresh(key).entries.get(key) {
            None => Expiry::Missing,
            Some(entry) => entry.deadline.map_or(Expiry::Never, Expiry::At),
        }
    }

    /// Sets or clears the time at which `key` is removed; `false` if there is no such key. A time in the past removes
    /// it.
    pub(super) fn set_deadline(&mut self, key: &[u8], deadline: Option<Millis>) -> bool {
        let now = self.now;
        let database = self.fresh(key);
        let Some((shared, _)) = database.entries.get_key_value(key) else {
            return false;
        };
        let shared = shared.clone();
        let Some(entry) = database.entries.get_mut(key) else {
            return false;
        };
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            database.deadlines.remove(&(old, shared.clone()));
        }
        if let Some(deadline) = deadline {
            database.deadlines.insert((deadline, shared));
            if deadline <= now {
                self.remove(key);
            }
        }
        true
    }

    /// Removes `key`; returns whether there was such a key.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.fresh(key).remove(key).is_some();
        if removed {
            self.touch(key);
        }
        removed
    }

    /// All keys, in no order.
    pub(super) fn keys(&mut self) -> impl Iterator<Item = &Bytes> {
        let now = self.now;
        self.store.expire(now);
        self.inner().entries.keys()
    }

    /// How many keys there are.
    pub(super) fn len(&mut self) -> usize {
        self.keys().count()
    }

    /// Removes all keys.
    pub(super) fn clear(&mut self) {
        let emptied = std::mem::take(self.inner());
        let database = self.database;
        self.store.changed.extend(
            emptied
                .entries
                .into_keys()
                .map(|key| DatabaseKey { database, key }),
        );
    }
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => Collection::size(list),
            Self::SortedSet(set) => Collection::size(set),
        }
    }
}

/// The part of [`Collection`] that converts from and to a [`Value`].
macro_rules! kind {
    ($kind:ident) => {
        fn of(value: &Value) -> Option<&Self> {
            if let Value::$kind(collection) = value {
                Some(collection)
            } else {
                None
            }
        }
        fn of_mut(value: &mut Value) -> Option<&mut Self> {
            if let Value::$kind(collection) = value {
                Some(collection)
            } else {
                None
            }
        }
        fn into_value(self) -> Value {
            Value::$kind(self)
        }
    };
}

impl Collection for List {
    kind!(List);
    fn size(&self) -> usize {
        List::size(self)
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn changes(&self) -> u64 {
        List::changes(self)
    }
}

impl Collection for SortedSet {
    kind!(SortedSet);
    fn size(&self) -> usize {
        SortedSet::size(self)
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn changes(&self) -> u64 {
        SortedSet::changes(self)
    }
}

#[cfg(test)]
mod tests;
