//! A list of Redis: byte strings that come and go at both ends.

use std::collections::VecDeque;

use bytes::Bytes;

/// How many bytes an item of a list takes beyond its own.
const ITEM_OVERHEAD: usize = 32;

/// A list of byte strings.
#[derive(Debug, Default)]
pub(super) struct List {
    items: VecDeque<Bytes>,
    bytes: usize,
    changes: u64,
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.items.iter()
    }

    /// Adds a copy of `item` at one end.
    pub(super) fn push(&mut self, end: End, item: &[u8]) {
        self.bytes += item.len();
        self.changes += 1;
        match end {
            End::Left => self.items.push_front(Bytes::copy_from_slice(item)),
            End::Right => self.items.push_back(Bytes::copy_from_slice(item)),
        }
    }

    /// Removes the last item that equals `item`; returns whether there was one.
    pub(super) fn remove_last(&mut self, item: &[u8]) -> bool {
        let Some(at) = self.items.iter().rposition(|other| other == item) else {
            return false;
        };
        self.items.remove(at);
        self.bytes -= item.len();
        self.changes += 1;
        true
    }

    /// Removes the item at one end.
    pub(super) fn pop(&mut self, end: End) -> Option<Bytes> {
        let item = match end {
            End::Left => self.items.pop_front(),
            End::Right => self.items.pop_back(),
        }?;
        self.bytes -= item.len();
        self.changes += 1;
        Some(item)
    }

    /// Roughly how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.len() * ITEM_OVERHEAD
    }

    /// A number that grows with each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}
