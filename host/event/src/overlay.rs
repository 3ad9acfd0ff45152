//! The edits to a document, kept apart from the text and tape that they change.
//!
//! This file and `document.rs` need each other; `document.rs` says why.

use crate::budget::{Budget, OverBudget};
use crate::document::Document;

/// The changes to a document: two lists in the order of nodes, each with at most one item for a node.
///
/// A change to a member or element is about its first node, which is the key in an object. An extension is about a
/// container. Nodes within a value that is replaced or removed have neither any more.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    changes: Vec<(u32, Change)>,
    extensions: Vec<(u32, Extension)>,
}

#[derive(Clone)]
pub(crate) enum Change {
    Replaced(Replacement),
    Removed,
}

/// How a container's length differs from what was read.
#[derive(Clone, Default)]
pub(crate) struct Extension {
    /// How many of its entries are [`Change::Removed`].
    pub(crate) removed: u32,
    /// The entries that were added behind those that were read.
    pub(crate) added: Vec<Addition>,
}

/// A member or element that was not in the text.
#[derive(Clone)]
pub(crate) struct Addition {
    /// `None` in an array.
    pub(crate) key: Option<Box<str>>,
    pub(crate) value: Replacement,
}

/// A value that was set. A JSON text becomes a document, so that later edits may reach into it.
#[derive(Clone)]
pub(crate) enum Replacement {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    /// Finite.
    Float(f64),
    Text(String),
    Document(Box<Document>),
}

/// Items of a list that are moved in one step, to make room for another.
const MOVED_A_STEP: usize = 4;

impl Overlay {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.extensions.is_empty()
    }

    /// All changes, in the order of their nodes.
    pub(crate) fn changes(&self) -> &[(u32, Change)] {
        &self.changes
    }

    /// All extensions, in the order of their nodes.
    pub(crate) fn extensions(&self) -> &[(u32, Extension)] {
        &self.extensions
    }

    /// Steps that copying or writing all edits takes.
    pub(crate) fn cost(&self) -> u64 {
        let changes = self.changes.iter().map(|(_, change)| match change {
            Change::Replaced(replacement) => replacement.cost(),
            Change::Removed => 1,
        });
        let added = self.extensions.iter().flat_map(|(_, it)| &it.added);
        changes
            .chain(added.map(|added| 1 + added.value.cost()))
            .fold(0, u64::saturating_add)
    }

    /// The change about an entry, and its index.
    #[inline]
    pub(crate) fn change(&self, entry: u32) -> Option<(usize, &Change)> {
        let index = find(&self.changes, entry)?;
        Some((index, &self.changes[index].1))
    }

    /// The extension of a container, and its index.
    #[inline]
    pub(crate) fn extension(&self, container: u32) -> Option<(usize, &Extension)> {
        let index = find(&self.extensions, container)?;
        Some((index, &self.extensions[index].1))
    }

    /// Whether any of the nodes from `start` to before `end` is changed or extended.
    #[inline]
    pub(crate) fn any_within(&self, start: u32, end: u32) -> bool {
        any_within(&self.changes, start, end) || any_within(&self.extensions, start, end)
    }

    /// The value that a change put in.
    pub(crate) fn replacement(&self, change: usize) -> Option<&Replacement> {
        match &self.changes.get(change)?.1 {
            Change::Replaced(replacement) => Some(replacement),
            Change::Removed => None,
        }
    }

    /// The value of an added member or element.
    pub(crate) fn added(&self, extension: usize, member: usize) -> Option<&Replacement> {
        Some(&self.extensions.get(extension)?.1.added.get(member)?.value)
    }

    /// The value of an added member or element, to be changed.
    pub(crate) fn added_mut(
        &mut self,
        extension: usize,
        member: usize,
    ) -> Option<&mut Replacement> {
        let extension = &mut self.extensions.get_mut(extension)?.1;
        Some(&mut extension.added.get_mut(member)?.value)
    }

    /// The value that a change put in, to be changed.
    pub(crate) fn replacement_mut(&mut self, change: usize) -> Option<&mut Replacement> {
        match &mut self.changes.get_mut(change)?.1 {
            Change::Replaced(replacement) => Some(replacement),
            Change::Removed => None,
        }
    }

    /// Puts another change in the place of one.
    pub(crate) fn put_change(&mut self, index: usize, change: Change) {
        self.changes[index].1 = change;
    }

    /// Takes an added member or element out again.
    pub(crate) fn remove_added(
        &mut self,
        extension: usize,
        member: usize,
        budget: &mut Budget,
    ) -> Result<(), OverBudget> {
        let added = &mut self.extensions[extension].1.added;
        budget.spend(((added.len() - member) / MOVED_A_STEP) as u64)?;
        added.remove(member);
        Ok(())
    }

    /// Makes `change` the only one about the nodes from `entry` to before `end`.
    pub(crate) fn cover(
        &mut self,
        entry: u32,
        end: u32,
        change: Change,
        budget: &mut Budget,
    ) -> Result<(), OverBudget> {
        let (changes, extensions) = (
            range(&self.changes, entry, end),
            range(&self.extensions, entry, end),
        );
        // The items behind it move where the number of items changes.
        let mut moved = self.changes.len() - changes.start;
        if !extensions.is_empty() {
            moved += self.extensions.len() - extensions.start;
        }
        budget.spend((moved / MOVED_A_STEP) as u64)?;
        self.changes.splice(changes, [(entry, change)]);
        self.extensions.drain(extensions);
        Ok(())
    }

    /// The extension of a container, made if there is none.
    pub(crate) fn extend(
        &mut self,
        container: u32,
        budget: &mut Budget,
    ) -> Result<&mut Extension, OverBudget> {
        let index = self
            .extensions
            .partition_point(|extension| extension.0 < container);
        if self
            .extensions
            .get(index)
            .is_none_or(|extension| extension.0 != container)
        {
            budget.spend(((self.extensions.len() - index) / MOVED_A_STEP) as u64)?;
            self.extensions
                .insert(index, (container, Extension::default()));
        }
        Ok(&mut self.extensions[index].1)
    }
}

#[inline]
fn find<T>(items: &[(u32, T)], node: u32) -> Option<usize> {
    // Most events are asked before they are edited.
    if items.is_empty() {
        return None;
    }
    items.binary_search_by_key(&node, |item| item.0).ok()
}

#[inline]
fn any_within<T>(items: &[(u32, T)], start: u32, end: u32) -> bool {
    !items.is_empty() && !range(items, start, end).is_empty()
}

fn range<T>(items: &[(u32, T)], start: u32, end: u32) -> std::ops::Range<usize> {
    let index = |node| items.partition_point(|item| item.0 < node);
    index(start)..index(end)
}

impl Replacement {
    /// Steps that copying or writing it takes.
    fn cost(&self) -> u64 {
        1 + match self {
            Replacement::Text(text) => text.len() as u64 / 16,
            Replacement::Document(document) => {
                u64::from(document.node(document.root).next) + document.overlay.cost()
            }
            _ => 0,
        }
    }
}
