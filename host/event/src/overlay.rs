//! Edits, kept beside the text and tape that they change.

use std::borrow::Cow;

use crate::budget::{Budget, OverBudget};
use crate::clean_text::CleanText;
use crate::document::{Document, Found};
use crate::parser::{MAX_DEPTH, ParseError};
use crate::pointer;
use crate::tape::Kind;
use crate::value::NewValue;

/// The changes to a document: two lists in the order of nodes, each with at most one item for a node.
///
/// A change to a member or element is about its first node, which is the key in an object. An extension is about a
/// container. What was within a value that is replaced or removed has neither any more.
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
    /// What comes behind its entries.
    pub(crate) added: Vec<Added>,
}

/// A member or element that was not in the text.
#[derive(Clone)]
pub(crate) struct Added {
    /// `None` in an array.
    pub(crate) key: Option<Box<str>>,
    pub(crate) value: Replacement,
}

/// A value that was set. What has a text is a document, so that later edits may reach into it.
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

/// Why an edit was not made; the event is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not an RFC 6901 pointer.
    #[error(
        "{pointer:?} is no JSON pointer: it begins with `/`, and `~` is written `~0`, `/` in a key `~1`"
    )]
    BadPointer {
        /// As it was given, or its beginning.
        pointer: CleanText,
    },
    /// The whole event can be neither replaced nor removed.
    #[error("an edit needs the pointer of a member or element, not that of the whole event")]
    Root,
    /// What should hold the value is not there.
    #[error("{pointer}: there is no {token:?} to look into; set its parents first")]
    NoParent {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// The first part of it that names nothing.
        token: CleanText,
    },
    /// What should hold the value is neither an object nor an array.
    #[error("{pointer}: {token:?} is neither an object nor an array, and can't hold it")]
    NotAContainer {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// The part of it that names that.
        token: CleanText,
    },
    /// Not an index of the array, nor `-` or its length, which append.
    #[error("{pointer}: {token:?} is no index of an array of {length}; `-` appends")]
    NoElement {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// Its last part.
        token: CleanText,
        /// How many elements the array has.
        length: u32,
    },
    /// There is nothing to remove.
    #[error("{pointer}: there is nothing to remove")]
    NotFound {
        /// As it was given, or its beginning.
        pointer: CleanText,
    },
    /// JSON has no infinities and no NaN.
    #[error("{pointer}: {value} is no JSON number")]
    NotFinite {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// `inf`, `-inf` or `NaN`.
        value: CleanText,
    },
    /// A [`NewValue::Json`] that is not JSON, or nested too deep for the place where it should go.
    #[error("{pointer}: the new value is not JSON: {source}")]
    NotJson {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// Where in the new value.
        source: ParseError,
    },
    /// There are too many edits, or too much to pass on the way to their places.
    #[error(
        "the edits take more work than is allowed: fewer of them, or a smaller event, would do"
    )]
    OverBudget,
    /// A [`NewValue::Text`] of over `u32::MAX` bytes.
    #[error("{pointer}: a text of {length} bytes is too long")]
    TooLong {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// In bytes.
        length: usize,
    },
}

impl From<OverBudget> for EditError {
    fn from(_: OverBudget) -> Self {
        Self::OverBudget
    }
}

/// The beginning of a pointer, as an error shows it.
fn shown(pointer: &str) -> CleanText {
    CleanText::within(pointer, 200)
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

    /// Makes `change` the only one about the nodes from `entry` to before `end`.
    fn cover(
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
        // What lies behind moves, where the number changes.
        let mut moved = self.changes.len() - changes.start;
        if !extensions.is_empty() {
            moved += self.extensions.len() - extensions.start;
        }
        budget.spend((moved / MOVED_A_STEP) as u64)?;
        self.changes.splice(changes, [(entry, change)]);
        self.extensions.drain(extensions);
        Ok(())
    }

    fn extend(
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

impl Document {
    /// See [`crate::Event::set`].
    pub(crate) fn set(
        &mut self,
        pointer: &str,
        value: NewValue,
        budget: &mut Budget,
    ) -> Result<(), EditError> {
        let target = Target::find(self, pointer, budget)?;
        // The value is in as many containers as the pointer has tokens.
        let replacement = Replacement::new(value, MAX_DEPTH.saturating_sub(target.depth), pointer)?;
        let notes = match &replacement {
            Replacement::Document(document) => document.notes,
            _ => Default::default(),
        };
        target.put(pointer, replacement, budget)?;
        self.notes = self.notes.and(notes);
        Ok(())
    }

    /// See [`crate::Event::remove`].
    pub(crate) fn remove(&mut self, pointer: &str, budget: &mut Budget) -> Result<(), EditError> {
        Target::find(self, pointer, budget)?.remove(pointer, budget)
    }

    /// The document within this one that was set where `found` says.
    fn inner_mut(&mut self, found: &Found) -> Option<&mut Document> {
        let replacement = match *found {
            Found::Read { .. } => return None,
            Found::Replaced(change) => match &mut self.overlay.changes.get_mut(change)?.1 {
                Change::Replaced(replacement) => replacement,
                Change::Removed => return None,
            },
            Found::Added { extension, member } => {
                &mut self
                    .overlay
                    .extensions
                    .get_mut(extension)?
                    .1
                    .added
                    .get_mut(member)?
                    .value
            }
        };
        match replacement {
            Replacement::Document(document) => Some(document),
            _ => None,
        }
    }
}

/// Where an edit is to be made.
struct Target<'d, 'p> {
    /// The innermost document that has the container.
    document: &'d mut Document,
    container: u32,
    /// The member or element of the container.
    token: Cow<'p, str>,
    /// `None`: there is none so far.
    found: Option<Found>,
    /// How many containers are around it.
    depth: usize,
}

impl<'d, 'p> Target<'d, 'p> {
    fn find(
        mut document: &'d mut Document,
        pointer: &'p str,
        budget: &mut Budget,
    ) -> Result<Self, EditError> {
        let tokens = pointer::tokens(pointer).ok_or_else(|| EditError::BadPointer {
            pointer: shown(pointer),
        })?;
        let mut tokens = tokens.enumerate().peekable();
        let mut container = document.root;
        while let Some((depth, token)) = tokens.next() {
            let found = document.locate(container, &token, budget)?;
            if tokens.peek().is_none() {
                return Ok(Target {
                    document,
                    container,
                    token,
                    found,
                    depth: depth + 1,
                });
            }
            let owned = || (shown(pointer), shown(&token));
            match found {
                Some(Found::Read { value, .. }) => container = value,
                Some(found) => {
                    let Some(inner) = document.inner_mut(&found) else {
                        let (pointer, token) = owned();
                        return Err(EditError::NotAContainer { pointer, token });
                    };
                    document = inner;
                    container = document.root;
                }
                None => {
                    let (pointer, token) = owned();
                    return Err(EditError::NoParent { pointer, token });
                }
            }
            if !matches!(document.node(container).kind, Kind::Array | Kind::Object) {
                let (pointer, token) = owned();
                return Err(EditError::NotAContainer { pointer, token });
            }
        }
        Err(EditError::Root)
    }

    fn put(self, pointer: &str, value: Replacement, budget: &mut Budget) -> Result<(), EditError> {
        let Target {
            document,
            container,
            token,
            found,
            ..
        } = self;
        match found {
            Some(Found::Read { entry, value: node }) => {
                let end = document.node(node).next;
                let change = Change::Replaced(value);
                document.overlay.cover(entry, end, change, budget)?;
            }
            Some(Found::Replaced(change)) => {
                document.overlay.changes[change].1 = Change::Replaced(value)
            }
            Some(Found::Added { extension, member }) => {
                document.overlay.extensions[extension].1.added[member].value = value;
            }
            None => {
                let key = match document.node(container).kind {
                    Kind::Object => Some(token.into()),
                    _ => {
                        let length = document.length(container);
                        if token != "-" && pointer::index(&token) != Some(length as usize) {
                            let (pointer, token) = (shown(pointer), shown(&token));
                            return Err(EditError::NoElement {
                                pointer,
                                token,
                                length,
                            });
                        }
                        None
                    }
                };
                let extension = document.overlay.extend(container, budget)?;
                extension.added.push(Added { key, value });
            }
        }
        Ok(())
    }

    fn remove(self, pointer: &str, budget: &mut Budget) -> Result<(), EditError> {
        let Target {
            document,
            container,
            found,
            ..
        } = self;
        match found {
            Some(Found::Read { entry, value }) => {
                let end = document.node(value).next;
                let overlay = &mut document.overlay;
                // First what may fail: the two must go together.
                overlay.extend(container, budget)?;
                overlay.cover(entry, end, Change::Removed, budget)?;
                overlay.extend(container, budget)?.removed += 1;
            }
            Some(Found::Replaced(change)) => {
                document.overlay.extend(container, budget)?.removed += 1;
                document.overlay.changes[change].1 = Change::Removed;
            }
            Some(Found::Added { extension, member }) => {
                let added = &mut document.overlay.extensions[extension].1.added;
                budget.spend(((added.len() - member) / MOVED_A_STEP) as u64)?;
                added.remove(member);
            }
            None => {
                return Err(EditError::NotFound {
                    pointer: shown(pointer),
                });
            }
        }
        Ok(())
    }
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

    /// A value to go where `max_depth` more containers may be opened.
    fn new(value: NewValue, max_depth: usize, pointer: &str) -> Result<Self, EditError> {
        let pointer = || shown(pointer);
        Ok(match value {
            NewValue::Null => Replacement::Null,
            NewValue::Bool(value) => Replacement::Bool(value),
            NewValue::Int(value) => Replacement::Int(value),
            NewValue::UInt(value) => Replacement::UInt(value),
            NewValue::Float(value) if !value.is_finite() => {
                return Err(EditError::NotFinite {
                    pointer: pointer(),
                    value: CleanText::new(&value.to_string()),
                });
            }
            NewValue::Float(value) => Replacement::Float(value),
            NewValue::Text(value) if u32::try_from(value.len()).is_err() => {
                return Err(EditError::TooLong {
                    pointer: pointer(),
                    length: value.len(),
                });
            }
            NewValue::Text(value) => Replacement::Text(value),
            NewValue::Json(text) => {
                let document = Document::parse(text.into(), max_depth);
                let document = document.map_err(|source| EditError::NotJson {
                    pointer: pointer(),
                    source,
                })?;
                Replacement::Document(Box::new(document))
            }
        })
    }
}
