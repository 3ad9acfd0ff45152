//! A table of named things: by id at once, by any of their names at once, and small in memory.
//!
//! The indexes hold positions, not copies of the keys: 50,000 users cost about 20 bytes each in addition to their own
//! text.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Something with an id and up to four names, each of them possibly empty.
pub(super) trait Entry: Clone {
    /// How many names there are, at most 4.
    const NAMES: u32;
    fn id(&self) -> &str;
    fn name(&self, which: u32) -> &str;
}

#[derive(Clone, Debug)]
pub(super) struct Directory<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    /// Positions in `slots`.
    ids: HashTable<u32>,
    /// Positions in `slots` times four, plus which of the names it is.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Directory {
            slots: Vec::new(),
            free: Vec::new(),
            ids: HashTable::new(),
            names: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T: Entry> Directory<T> {
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        let hash = self.hasher.hash_one(id);
        self.ids
            .find(hash, |&slot| {
                self.slot(slot).is_some_and(|entry| entry.id() == id)
            })
            .and_then(|&s| self.slot(s))
    }

    /// All that bear a name, upper and lower case alike, each with which of its names it is.
    pub(super) fn find<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (u32, &'a T)> {
        self.names
            .iter_hash(folded_hash(&self.hasher, name))
            .filter_map(move |&place| {
                let entry = self.slot(place / 4)?;
                is_same(entry.name(place % 4), name).then_some((place % 4, entry))
            })
    }

    /// Puts an entry in, in the place of one with the same id.
    pub(super) fn insert(&mut self, entry: T) {
        self.remove(entry.id());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let Directory {
            slots,
            ids,
            names,
            hasher,
            ..
        } = self;
        let id_hash = hasher.hash_one(entry.id());
        let name_hashes = (0..T::NAMES)
            .filter(|&which| !entry.name(which).is_empty())
            .map(|which| (slot * 4 + which, folded_hash(hasher, entry.name(which))))
            .collect::<Vec<_>>();
        if let Some(place) = slots.get_mut(slot as usize) {
            *place = Some(entry);
        }
        ids.insert_unique(id_hash, slot, |&slot| {
            at(slots, slot).map_or(0, |entry| hasher.hash_one(entry.id()))
        });
        for (place, hash) in name_hashes {
            names.insert_unique(hash, place, |&place| {
                at(slots, place / 4).map_or(0, |entry| folded_hash(hasher, entry.name(place % 4)))
            });
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, id: &str) -> Option<T> {
        let hash = self.hasher.hash_one(id);
        let slots = &self.slots;
        let found = self.ids.find_entry(hash, |&slot| {
            at(slots, slot).is_some_and(|entry| entry.id() == id)
        });
        let (slot, _) = found.ok()?.remove();
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        for which in 0..T::NAMES {
            let hash = folded_hash(&self.hasher, entry.name(which));
            if let Ok(found) = self
                .names
                .find_entry(hash, |&place| place == slot * 4 + which)
            {
                found.remove();
            }
        }
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    fn slot(&self, slot: u32) -> Option<&T> {
        at(&self.slots, slot)
    }
}

impl<T: Entry> FromIterator<T> for Directory<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut directory = Directory::default();
        entries
            .into_iter()
            .for_each(|entry| directory.insert(entry));
        directory
    }
}

fn at<T>(slots: &[Option<T>], slot: u32) -> Option<&T> {
    slots.get(slot as usize)?.as_ref()
}

/// A hash that is the same for upper and lower case.
fn folded_hash(hasher: &DefaultHashBuilder, name: &str) -> u64 {
    let mut state = hasher.build_hasher();
    name.chars()
        .flat_map(char::to_lowercase)
        .for_each(|char| state.write_u32(char.into()));
    state.finish()
}

fn is_same(a: &str, b: &str) -> bool {
    a == b
        || a.chars()
            .flat_map(char::to_lowercase)
            .eq(b.chars().flat_map(char::to_lowercase))
}
