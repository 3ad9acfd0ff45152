//! The event itself.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::budget::{Budget, OverBudget};
use crate::document::{Document, Place};
use crate::edit::EditError;
use crate::msgpack_reader::{self, Binary, MsgpackError};
use crate::notes::Notes;
use crate::parser::{self, ParseError};
use crate::value::{Edit, NewValue, Value};
use crate::{json_writer, msgpack_writer, salvage};

/// A JSON object as it came, with the edits made to it.
///
/// A clone shares the text and its index; the edits are its own.
#[derive(Clone)]
pub struct Event {
    /// Its root is an object.
    document: Document,
}

impl Event {
    /// Reads a JSON text whose root is an object. The crate's documentation says what is read.
    ///
    /// # Errors
    /// A [`ParseError`] that says where the text is wrong and what was due there.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, ParseError> {
        Event::new(Document::parse(raw.into(), parser::MAX_DEPTH)?)
    }

    /// Reads a channel layer's message: a msgpack map with text keys.
    ///
    /// Bytes that Python packs as `bytes` are read as text where they are UTF-8. The event's text is JSON made of the
    /// message.
    ///
    /// # Errors
    /// A [`MsgpackError`] where the message is not a map, holds values that JSON does not have (extension types, keys
    /// that are not texts, infinities, NaN), is truncated, goes on after its end, or is nested deeper than
    /// [`crate::MAX_DEPTH`].
    pub fn from_msgpack(payload: &[u8]) -> Result<Self, MsgpackError> {
        let text = msgpack_reader::to_json(payload, Binary::Refused)?;
        Event::parse(text).map_err(MsgpackError::NotAnEvent)
    }

    /// As [`Event::from_msgpack`], but bytes that are not UTF-8 are kept: as an object with [`crate::BYTES_KEY`] alone.
    ///
    /// # Errors
    /// Those of [`Event::from_msgpack`].
    pub fn from_msgpack_with_bytes(payload: &[u8]) -> Result<Self, MsgpackError> {
        let text = msgpack_reader::to_json(payload, Binary::Base64)?;
        Event::parse(text).map_err(MsgpackError::NotAnEvent)
    }

    /// The members among `wanted` of a JSON text that can't be read whole, where they themselves can be read.
    pub fn salvage(raw: &[u8], wanted: &[&str]) -> Self {
        Event::parse(salvage::salvage(raw, wanted)).unwrap_or_default()
    }

    /// As [`Event::salvage`], of a channel layer's message in msgpack.
    pub fn salvage_msgpack(payload: &[u8], wanted: &[&str]) -> Self {
        Event::parse(msgpack_reader::salvage(payload, wanted)).unwrap_or_default()
    }

    /// An event made of a tree of values.
    ///
    /// # Errors
    /// [`ParseError::NotAnObject`], or [`ParseError::TooDeep`] for a tree that was not read but built.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, ParseError> {
        Event::parse(value.to_string())
    }

    fn new(document: Document) -> Result<Self, ParseError> {
        let root = Place::Read(&document, document.root);
        if root.is_object() {
            return Ok(Event { document });
        }
        let found = match root.value() {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::Json(text) if text.starts_with('[') => "an array",
            Value::Json(_) => "a number",
        };
        Err(ParseError::NotAnObject { found })
    }

    /// The text as it came, without the edits.
    pub fn raw(&self) -> &Bytes {
        self.document.text()
    }

    /// The value at an RFC 6901 pointer, as edited; of duplicate keys, the last. `""` is the whole event.
    pub fn get(&self, pointer: &str) -> Option<Value<'_>> {
        self.place(pointer).map(Place::value)
    }

    /// As [`Event::get`], charged to a budget.
    ///
    /// # Errors
    /// The budget does not suffice for the way there and the value.
    pub fn get_within(
        &self,
        pointer: &str,
        budget: &mut Budget,
    ) -> Result<Option<Value<'_>>, OverBudget> {
        budget.spend_bytes(pointer.len())?;
        let Some(place) = self.document.get(pointer, budget)? else {
            return Ok(None);
        };
        place.charge(budget)?;
        Ok(Some(place.value()))
    }

    /// Whether there is a value at a pointer, charged to a budget.
    ///
    /// # Errors
    /// The budget does not suffice for the way there.
    pub fn has_within(&self, pointer: &str, budget: &mut Budget) -> Result<bool, OverBudget> {
        Ok(self.document.get(pointer, budget)?.is_some())
    }

    fn place(&self, pointer: &str) -> Option<Place<'_>> {
        self.document
            .get(pointer, &mut Budget::unlimited())
            .ok()
            .flatten()
    }

    /// The string at a pointer; `None` for any other value, too.
    pub fn text(&self, pointer: &str) -> Option<Cow<'_, str>> {
        self.get(pointer)?.into_text()
    }

    /// The value of a member of the event itself: as [`Event::get`], but with the key as it is.
    pub fn field(&self, key: &str) -> Option<Value<'_>> {
        Place::Read(&self.document, self.document.root)
            .step(key, &mut Budget::unlimited())
            .ok()
            .flatten()
            .map(Place::value)
    }

    /// An object within the event, as edited, as an event of its own; `None` for any other value, too.
    ///
    /// It shares the text and its index, unless something within it was edited.
    pub fn subtree(&self, pointer: &str) -> Option<Self> {
        match self.place(pointer)? {
            Place::Read(document, root) => Event::new(document.subtree(root)?).ok(),
            Place::Set(_) => None,
        }
    }

    /// The keys and values of an object, as edited; `None` where there is no object. Of duplicate keys, the last.
    pub fn members(
        &self,
        pointer: &str,
    ) -> Option<impl Iterator<Item = (Cow<'_, str>, Value<'_>)>> {
        match self.place(pointer)? {
            place @ Place::Read(document, object) if place.is_object() => Some(
                document
                    .entries(object)
                    .filter_map(|(key, place)| key.map(|key| (key.text(), place.value()))),
            ),
            _ => None,
        }
    }

    /// Puts a value at a pointer: it replaces the member or element that is there, or is added to the object.
    ///
    /// Of an array, `-` and the array's length append, as in RFC 6902; but an index within it replaces that element,
    /// where RFC 6902's `add` would insert. What the pointer goes through must be there.
    ///
    /// # Errors
    /// An [`EditError`] that says why; the event is as it was.
    pub fn set(&mut self, pointer: &str, value: impl Into<NewValue>) -> Result<(), EditError> {
        self.document
            .set(pointer, value.into(), &mut Budget::unlimited())
    }

    /// Takes the member or element at a pointer out, all of them where the key is there more than once. The elements
    /// behind it move up.
    ///
    /// # Errors
    /// An [`EditError`] that says why; the event is as it was.
    pub fn remove(&mut self, pointer: &str) -> Result<(), EditError> {
        self.document.remove(pointer, &mut Budget::unlimited())
    }

    /// Makes edits, in order, all or none.
    ///
    /// # Errors
    /// The [`EditError`] of the first edit that can't be made; the event is as it was before the first.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<(), EditError> {
        self.apply_within(edits, &mut Budget::unlimited())
    }

    /// As [`Event::apply`], charged to a budget.
    ///
    /// # Errors
    /// As [`Event::apply`], and [`EditError::OverBudget`].
    pub fn apply_within(&mut self, edits: &[Edit], budget: &mut Budget) -> Result<(), EditError> {
        budget.spend(self.document.overlay.cost())?;
        let mut edited = self.document.clone();
        for edit in edits {
            match edit {
                Edit::Set { pointer, value } => {
                    budget.spend_bytes(pointer.len() + value.len())?;
                    edited.set(pointer, value.clone(), budget)?;
                }
                Edit::Remove { pointer } => {
                    budget.spend_bytes(pointer.len())?;
                    edited.remove(pointer, budget)?;
                }
            }
        }
        self.document = edited;
        Ok(())
    }

    /// Whether an edit was made.
    pub fn is_edited(&self) -> bool {
        !self.document.overlay.is_empty()
    }

    /// The oddities of the text.
    pub fn notes(&self) -> Notes {
        self.document.notes
    }

    /// Appends the event as JSON text: as it came if it was not edited, else with the edits, and all else as it came.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        if self.is_edited() {
            json_writer::write(Place::Read(&self.document, self.document.root), out);
        } else {
            out.extend_from_slice(self.raw());
        }
    }

    /// The event as JSON text, charged to a budget.
    ///
    /// # Errors
    /// The budget does not suffice.
    pub fn json_within(&self, budget: &mut Budget) -> Result<Vec<u8>, OverBudget> {
        Place::Read(&self.document, self.document.root).charge(budget)?;
        let mut text = Vec::with_capacity(self.raw().len() + 64);
        self.write_json(&mut text);
        Ok(text)
    }

    /// Appends the event as msgpack, as edited: a map that Python's `msgpack.unpackb` reads to what `json.loads`
    /// makes of the JSON text, but for integers beyond 64 bits, which become texts of their digits, and lone
    /// surrogates, which become U+FFFD.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        msgpack_writer::write(&self.document, out);
    }
}

/// The empty object.
impl Default for Event {
    fn default() -> Self {
        Event {
            document: Document::empty(),
        }
    }
}

/// The JSON text, as edited.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_json(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl TryFrom<&serde_json::Value> for Event {
    type Error = ParseError;

    fn try_from(value: &serde_json::Value) -> Result<Self, ParseError> {
        Event::from_value(value)
    }
}

#[cfg(test)]
mod tests;
