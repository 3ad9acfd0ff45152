//! The writes of a shadow run: in memory, over a store that they do not touch.

use std::collections::HashMap;

use crate::services::store::item::{Item, StoreError, check_size, size_of};

#[derive(Clone, Default)]
pub(super) struct Scratch {
    /// What was written, or deleted.
    items: HashMap<String, Option<Item>>,
    /// By how many bytes this view is larger than the store under it.
    more: i64,
}

impl Scratch {
    /// What was written under `key`: nothing, a value, or that there is none.
    pub(super) fn get(&self, key: &str) -> Option<Option<Item>> {
        self.items.get(key).cloned()
    }

    /// Writes, where the store under it has `under` bytes at this key, and `sum` in all.
    pub(super) fn put(
        &mut self,
        key: &str,
        item: Item,
        under: u64,
        sum: u64,
        quota: u64,
    ) -> Result<(), StoreError> {
        let grows = size_of(key, &item.0).cast_signed() - self.size(key, under);
        let after = sum.saturating_add_signed(self.more + grows);
        check_size("the store", after, quota)?;
        self.more += grows;
        self.items.insert(key.to_owned(), Some(item));
        Ok(())
    }

    /// Deletes, where the store under it has `under` bytes at this key.
    pub(super) fn delete(&mut self, key: &str, under: u64) {
        self.more -= self.size(key, under);
        self.items.insert(key.to_owned(), None);
    }

    /// The bytes at `key` as this view has them.
    fn size(&self, key: &str, under: u64) -> i64 {
        match self.items.get(key) {
            Some(Some(item)) => size_of(key, &item.0).cast_signed(),
            Some(None) => 0,
            None => under.cast_signed(),
        }
    }
}
