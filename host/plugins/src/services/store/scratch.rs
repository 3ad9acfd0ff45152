//! The writes of a rehearsal: they lie in memory, over a store that they do not touch.

use std::collections::{BTreeSet, HashMap};

use crate::services::store::item::{Item, StoreError, check_size, size_of};

/// A write of a rehearsal.
#[derive(Clone)]
pub(super) enum Write {
    Set(Item),
    Delete,
}

/// The writes of a rehearsal, by their keys.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    writes: HashMap<String, Write>,
    /// The bytes of this view less those of the store under it.
    more: i64,
}

impl Scratch {
    /// The last write under `key`, if there was one.
    pub(super) fn get(&self, key: &str) -> Option<Write> {
        self.writes.get(key).cloned()
    }

    /// How many keys were written.
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    /// The keys of the store under it, as this view has them. Of the written keys, those count for which `is_listed`.
    pub(super) fn over(
        &self,
        mut keys: BTreeSet<String>,
        is_listed: impl Fn(&str) -> bool,
        now_ms: i64,
    ) -> BTreeSet<String> {
        for (key, write) in self.writes.iter().filter(|(key, _)| is_listed(key)) {
            let is_there = match write {
                Write::Set(item) => item.until.is_none_or(|until| until > now_ms),
                Write::Delete => false,
            };
            match is_there {
                true => keys.insert(key.clone()),
                false => keys.remove(key),
            };
        }
        keys
    }

    /// Writes an item. The store under it has `under` bytes at this key, and `sum` in all.
    pub(super) fn put(
        &mut self,
        key: &str,
        item: Item,
        under: u64,
        sum: u64,
        quota: u64,
    ) -> Result<(), StoreError> {
        let grows = size_of(key, &item.value).cast_signed() - self.size(key, under);
        let after = sum.saturating_add_signed(self.more + grows);
        check_size("the store", after, quota)?;
        self.more += grows;
        self.writes.insert(key.to_owned(), Write::Set(item));
        Ok(())
    }

    /// Deletes a key, at which the store under it has `under` bytes.
    pub(super) fn delete(&mut self, key: &str, under: u64) {
        self.more -= self.size(key, under);
        self.writes.insert(key.to_owned(), Write::Delete);
    }

    /// The bytes at `key` as this view has them.
    fn size(&self, key: &str, under: u64) -> i64 {
        match self.writes.get(key) {
            Some(Write::Set(item)) => size_of(key, &item.value).cast_signed(),
            Some(Write::Delete) => 0,
            None => under.cast_signed(),
        }
    }
}
