//! Edits: the place that a pointer names is found, and the change is noted in the overlay.

use std::borrow::Cow;

use crate::budget::{Budget, OverBudget};
use crate::clean_text::CleanText;
use crate::document::{Document, Location};
use crate::overlay::{Addition, Change, Replacement};
use crate::parser::{MAX_DEPTH, ParseError};
use crate::pointer;
use crate::tape::Kind;
use crate::value::NewValue;

/// Why an edit was not made; the event is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not an RFC 6901 pointer.
    #[error(
        "{pointer:?} is not a JSON pointer: one begins with `/`, and `~` is written `~0`, `/` in a key `~1`"
    )]
    BadPointer {
        /// As it was given, or its beginning.
        pointer: CleanText,
    },
    /// The whole event can be neither replaced nor removed.
    #[error("an edit needs the pointer of a member or element, not that of the whole event")]
    Root,
    /// The container of the value does not exist.
    #[error("{pointer}: there is no {token:?} to look into; set its parents first")]
    NoParent {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// The first part of it that names nothing.
        token: CleanText,
    },
    /// The parent of the value is neither an object nor an array.
    #[error("{pointer}: {token:?} is neither an object nor an array, and can't hold it")]
    NotAContainer {
        /// As it was given, or its beginning.
        pointer: CleanText,
        /// The part of it that names that.
        token: CleanText,
    },
    /// Not an index of the array, nor `-` or its length, which append.
    #[error("{pointer}: {token:?} is not an index of an array of {length}; `-` appends")]
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
    #[error("{pointer}: {value} is not a JSON number")]
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
    #[error("the edits take more work than is allowed: make fewer of them, or use a smaller event")]
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
    fn inner_mut(&mut self, found: &Location) -> Option<&mut Self> {
        let replacement = match *found {
            Location::Read { .. } => return None,
            Location::Replaced(change) => self.overlay.replacement_mut(change)?,
            Location::Added { extension, member } => self.overlay.added_mut(extension, member)?,
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
    found: Option<Location>,
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
                Some(Location::Read { value, .. }) => container = value,
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
            Some(Location::Read { entry, value: node }) => {
                let end = document.node(node).next;
                let change = Change::Replaced(value);
                document.overlay.cover(entry, end, change, budget)?;
            }
            Some(Location::Replaced(change)) => {
                document.overlay.put_change(change, Change::Replaced(value));
            }
            Some(Location::Added { extension, member }) => {
                if let Some(added) = document.overlay.added_mut(extension, member) {
                    *added = value;
                }
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
                extension.added.push(Addition { key, value });
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
            Some(Location::Read { entry, value }) => {
                let end = document.node(value).next;
                let overlay = &mut document.overlay;
                // First what may fail: the two must go together.
                overlay.extend(container, budget)?;
                overlay.cover(entry, end, Change::Removed, budget)?;
                overlay.extend(container, budget)?.removed += 1;
            }
            Some(Location::Replaced(change)) => {
                document.overlay.extend(container, budget)?.removed += 1;
                document.overlay.put_change(change, Change::Removed);
            }
            Some(Location::Added { extension, member }) => {
                document.overlay.remove_added(extension, member, budget)?;
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
