//! The writes of a rehearsal: they lie in memory, over a store that they do not touch.

use std::collections::HashMap;

use crate::services::store::item::{Item, StoreError, check_size, size_of};

#[derive(Clone, Default)]
pub(super) struct Scratch {
    /// The items that were written; `None` for a key that was deleted.
    items: HashMap<String, Option<Item>>,
    /// The bytes of this view less those of the store under it.
    more: i64,
}

impl Scratch {
    /// The write under `key`, if there was one: an item, or `None` for a deletion.
    pub(super) fn get(&self, key: &str) -> Option<Option<Item>> {
        self.items.get(key).cloned()
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
        let grows = size_of(key, &item.0).cast_signed() - self.size(key, under);
        let after = sum.saturating_add_signed(self.more + grows);
        check_size("the store", after, quota)?;
        self.more += grows;
        self.items.insert(key.to_owned(), Some(item));
        Ok(())
    }

    /// Deletes a key, at which the store under it has `under` bytes.
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
