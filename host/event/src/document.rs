//! A JSON value as text, tape and overlay, and the way to the values in it.
//!
//! This file and `overlay.rs` need each other: a document has an overlay of edits, and a value that an edit put in may
//! be a document with edits of its own.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::{Budget, OverBudget};
use crate::notes::Notes;
use crate::overlay::{Addition, Change, Extension, Overlay, Replacement};
use crate::parser::{self, ParseError};
use crate::tape::{self, Kind, Node};
use crate::{pointer, string};

/// A JSON value of any kind, with the edits made to it.
#[derive(Clone)]
pub(crate) struct Document {
    /// The text that the nodes speak of, from byte `base` on.
    text: Bytes,
    /// The number to subtract from the nodes' offsets. It is zero except for a subtree, whose nodes are its parent's.
    base: u32,
    tape: Arc<Vec<Node>>,
    pub(crate) root: u32,
    pub(crate) overlay: Overlay,
    pub(crate) notes: Notes,
}

/// Where a value is: in a text, or in an edit.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Read(&'a Document, u32),
    Set(&'a Replacement),
}

/// A key of an object: in a text, or in an edit.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    Read(&'a Document, u32),
    Set(&'a str),
}

/// Where [`Document::locate`] found a member or element.
pub(crate) enum Location {
    /// As it was read. `entry` is the node of the key, or of the element itself.
    Read { entry: u32, value: u32 },
    /// Its value is in the change of this index.
    Replaced(usize),
    /// Added to the container by the extension of this index, which has it at `member`.
    Added { extension: usize, member: usize },
}

impl Document {
    /// Reads a value in which at most `max_depth` containers are open at once.
    pub(crate) fn parse(text: Bytes, max_depth: usize) -> Result<Self, ParseError> {
        let (nodes, notes) = parser::parse(&text, max_depth)?;
        Ok(Document {
            text,
            base: 0,
            tape: Arc::new(nodes),
            root: 0,
            overlay: Overlay::default(),
            notes,
        })
    }

    /// The empty object.
    pub(crate) fn empty() -> Self {
        let root = Node {
            start: 0,
            end: 2,
            next: 1,
            extra: 0,
            kind: Kind::Object,
        };
        Document {
            text: Bytes::from_static(b"{}"),
            base: 0,
            tape: Arc::new(vec![root]),
            root: 0,
            overlay: Overlay::default(),
            notes: Notes::default(),
        }
    }

    pub(crate) fn text(&self) -> &Bytes {
        &self.text
    }

    #[inline]
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.tape
    }

    #[inline]
    pub(crate) fn node(&self, index: u32) -> &Node {
        &self.tape[index as usize]
    }

    /// The text of a key or value as it came.
    #[inline]
    pub(crate) fn span(&self, node: &Node) -> &[u8] {
        &self.text[(node.start - self.base) as usize..(node.end - self.base) as usize]
    }

    /// The bytes between the quotes of a string or key.
    #[inline]
    pub(crate) fn content(&self, node: &Node) -> &[u8] {
        let quoted = self.span(node);
        &quoted[1..quoted.len() - 1]
    }

    /// The text from the content of a string or key on, beyond its end.
    #[inline]
    pub(crate) fn text_from(&self, node: &Node) -> &[u8] {
        &self.text[(node.start - self.base) as usize + 1..]
    }

    /// The node of the value of an entry: the one after its key in an object, the entry itself in an array.
    pub(crate) fn value_of(&self, entry: u32) -> u32 {
        let member = matches!(
            self.node(entry).kind,
            Kind::Key | Kind::EscapedKey | Kind::SupersededKey
        );
        entry + u32::from(member)
    }

    /// The value at a pointer.
    pub(crate) fn get(
        &self,
        pointer: &str,
        budget: &mut Budget,
    ) -> Result<Option<Place<'_>>, OverBudget> {
        let Some(tokens) = pointer::tokens(pointer) else {
            return Ok(None);
        };
        let mut place = Place::Read(self, self.root);
        for token in tokens {
            match place.step(&token, budget)? {
                Some(inner) => place = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(place))
    }

    /// The member or element of `container` that a reference token names.
    pub(crate) fn locate(
        &self,
        container: u32,
        token: &str,
        budget: &mut Budget,
    ) -> Result<Option<Location>, OverBudget> {
        match self.node(container).kind {
            Kind::Object => self.locate_member(container, token, budget),
            Kind::Array => match pointer::index(token) {
                Some(index) => self.locate_element(container, index, budget),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn locate_member(
        &self,
        object: u32,
        key: &str,
        budget: &mut Budget,
    ) -> Result<Option<Location>, OverBudget> {
        let hash = tape::hash(key.as_bytes());
        let end = self.node(object).next;
        let mut entry = object + 1;
        while entry < end {
            budget.spend(1)?;
            let node = self.node(entry);
            if node.extra == hash && node.kind != Kind::SupersededKey {
                // Many long keys may be made to have one hash.
                budget.spend_bytes((node.end - node.start) as usize)?;
                if self.is_key(node, key) {
                    match self.overlay.change(entry) {
                        Some((change, Change::Replaced(_))) => {
                            return Ok(Some(Location::Replaced(change)));
                        }
                        // It may have been added again.
                        Some((_, Change::Removed)) => break,
                        _ => {
                            return Ok(Some(Location::Read {
                                entry,
                                value: entry + 1,
                            }));
                        }
                    }
                }
            }
            entry = self.node(entry + 1).next;
        }
        let Some((extension, Extension { added, .. })) = self.overlay.extension(object) else {
            return Ok(None);
        };
        budget.spend(added.len() as u64)?;
        let member = added
            .iter()
            .position(|added| added.key.as_deref() == Some(key));
        Ok(member.map(|member| Location::Added { extension, member }))
    }

    fn is_key(&self, node: &Node, key: &str) -> bool {
        match node.kind {
            Kind::EscapedKey => string::decoded(self.content(node)) == key.as_bytes(),
            _ => self.content(node) == key.as_bytes(),
        }
    }

    fn locate_element(
        &self,
        array: u32,
        index: usize,
        budget: &mut Budget,
    ) -> Result<Option<Location>, OverBudget> {
        let end = self.node(array).next;
        let mut value = array + 1;
        let mut left = index;
        // Each element of an edited document is looked up among the changes.
        let cost = 1 + u64::from(self.overlay.changes().len().checked_ilog2().unwrap_or(0));
        while value < end {
            budget.spend(cost)?;
            let change = self.overlay.change(value);
            if !matches!(change, Some((_, Change::Removed))) {
                if left == 0 {
                    return Ok(Some(match change {
                        Some((change, Change::Replaced(_))) => Location::Replaced(change),
                        _ => Location::Read {
                            entry: value,
                            value,
                        },
                    }));
                }
                left -= 1;
            }
            value = self.node(value).next;
        }
        let Some((extension, Extension { added, .. })) = self.overlay.extension(array) else {
            return Ok(None);
        };
        Ok((left < added.len()).then_some(Location::Added {
            extension,
            member: left,
        }))
    }

    /// How many members or elements a container has, as edited.
    pub(crate) fn length(&self, container: u32) -> u32 {
        let length = self.node(container).extra;
        match self.overlay.extension(container) {
            Some((_, extension)) => length - extension.removed + extension.added.len() as u32,
            None => length,
        }
    }

    /// The members or elements of a container, as edited; of a scalar, none.
    pub(crate) fn entries(&self, container: u32) -> Entries<'_> {
        let node = self.node(container);
        let end = match node.kind {
            Kind::Array | Kind::Object => node.next,
            _ => container,
        };
        Entries {
            document: self,
            object: node.kind == Kind::Object,
            at: container + 1,
            end,
            added: self
                .overlay
                .extension(container)
                .map_or(&[][..], |(_, extension)| &extension.added)
                .iter(),
        }
    }

    /// Whether anything within the value at a node was edited.
    #[inline]
    pub(crate) fn is_edited(&self, node: u32) -> bool {
        self.overlay.any_within(node, self.node(node).next)
    }

    /// Steps that writing the value at a node takes where something in it was edited: each entry is looked up among the
    /// edits, and what was put in is written too.
    pub(crate) fn writing_cost(&self, node: u32) -> u64 {
        let edits = self.overlay.changes().len() + self.overlay.extensions().len();
        let lookup = 2 + u64::from(edits.checked_ilog2().unwrap_or(0));
        let nodes = u64::from(self.node(node).next - node);
        nodes
            .saturating_mul(lookup)
            .saturating_add(self.overlay.cost())
    }

    /// The value at a node as a document of its own, without its edits; it shares text and tape.
    pub(crate) fn part(&self, root: u32) -> Self {
        let &Node { start, end, .. } = self.node(root);
        Self {
            text: self
                .text
                .slice((start - self.base) as usize..(end - self.base) as usize),
            base: start,
            tape: Arc::clone(&self.tape),
            root,
            overlay: Overlay::default(),
            notes: self.notes,
        }
    }
}

impl<'a> Place<'a> {
    /// Where the value of an edit is.
    pub(crate) fn of(replacement: &'a Replacement) -> Self {
        match replacement {
            Replacement::Document(document) => Place::Read(document, document.root),
            scalar => Place::Set(scalar),
        }
    }

    /// The member or element of this value that a reference token names.
    pub(crate) fn step(self, token: &str, budget: &mut Budget) -> Result<Option<Self>, OverBudget> {
        let Place::Read(document, container) = self else {
            return Ok(None);
        };
        let found = document.locate(container, token, budget)?;
        Ok(found.and_then(|found| match found {
            Location::Read { value, .. } => Some(Place::Read(document, value)),
            Location::Replaced(change) => document.overlay.replacement(change).map(Place::of),
            Location::Added { extension, member } => {
                document.overlay.added(extension, member).map(Place::of)
            }
        }))
    }

    /// Whether it is an object.
    pub(crate) fn is_object(self) -> bool {
        matches!(self, Place::Read(document, index) if document.node(index).kind == Kind::Object)
    }
}

impl<'a> Key<'a> {
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Key::Read(document, index) => document.string(document.node(index)),
            Key::Set(key) => key.into(),
        }
    }
}

impl Document {
    /// The value of a string or key.
    pub(crate) fn string(&self, node: &Node) -> Cow<'_, str> {
        match node.kind {
            Kind::EscapedText | Kind::EscapedKey => {
                into_string(string::decoded(self.content(node))).into()
            }
            _ => as_str(self.content(node)),
        }
    }
}

/// A part of a text that was found to be UTF-8 when it was read, cut between characters, so that nothing is replaced.
pub(crate) fn as_str(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// As [`as_str`], for text put together from such parts.
pub(crate) fn into_string(text: Vec<u8>) -> String {
    String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// See [`Document::entries`].
pub(crate) struct Entries<'a> {
    document: &'a Document,
    object: bool,
    at: u32,
    end: u32,
    added: std::slice::Iter<'a, Addition>,
}

impl<'a> Iterator for Entries<'a> {
    /// The key, where the container is an object, and the value.
    type Item = (Option<Key<'a>>, Place<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let document = self.document;
        while self.at < self.end {
            let entry = self.at;
            let value = entry + u32::from(self.object);
            self.at = document.node(value).next;
            let key = self.object.then_some(Key::Read(document, entry));
            if document.node(entry).kind == Kind::SupersededKey {
                continue;
            }
            match document.overlay.change(entry) {
                Some((_, Change::Removed)) => {}
                Some((_, Change::Replaced(replacement))) => {
                    return Some((key, Place::of(replacement)));
                }
                _ => return Some((key, Place::Read(document, value))),
            }
        }
        let added = self.added.next()?;
        Some((added.key.as_deref().map(Key::Set), Place::of(&added.value)))
    }
}
