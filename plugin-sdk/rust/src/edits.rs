//! Building verdicts and edits.

use std::time::Duration;

use serde::Serialize;

use crate::{Edit, Emission, Error, Field, Value, Verdict};

/// Edits of the current event. They are made in order, and if one fails, none is made.
///
/// ```
/// use djangobot_plugin::{Edits, Verdict};
///
/// let verdict: Verdict = Edits::new().set("/user_name", "alice").remove("/blocks").into();
/// assert!(matches!(verdict, Verdict::Modify(edits) if edits.len() == 2));
///
/// let mut edits = Edits::new();
/// for n in 0..0 {
///     edits.set("/n", n);
/// }
/// assert_eq!(Verdict::from(edits), Verdict::Keep);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits(Vec<Edit>);

impl Edits {
    /// An empty list of edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value at a pointer: it replaces the old value, or is added to the object; `-` appends to an array. The
    /// containers on the way must exist. Arrays and objects are written `json!({...})`.
    pub fn set(&mut self, pointer: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.0.push(Edit::Set(Field {
            pointer: pointer.into(),
            value: value.into(),
        }));
        self
    }

    /// Removes the member or element at a pointer. It must exist.
    pub fn remove(&mut self, pointer: impl Into<String>) -> &mut Self {
        self.0.push(Edit::Remove(pointer.into()));
        self
    }

    /// Whether there are no edits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edits, in order.
    pub fn as_slice(&self) -> &[Edit] {
        &self.0
    }
}

/// Without edits, the verdict is [`Verdict::Keep`].
impl From<Edits> for Verdict {
    fn from(edits: Edits) -> Self {
        match edits.is_empty() {
            true => Verdict::Keep,
            false => Verdict::Modify(edits.0),
        }
    }
}

/// Makes a verdict of a chain of [`Edits::set`]. The list is empty afterwards.
impl From<&mut Edits> for Verdict {
    fn from(edits: &mut Edits) -> Self {
        std::mem::take(edits).into()
    }
}

impl Verdict {
    /// A verdict that drops the event. The reason is logged and counted.
    pub fn drop(reason: impl Into<String>) -> Self {
        Verdict::Drop(reason.into())
    }

    /// A verdict that replaces the event by another one.
    ///
    /// # Errors
    /// The body can't be written as JSON.
    pub fn replace(kind: impl Into<String>, body: &impl Serialize) -> Result<Self, Error> {
        Ok(Verdict::Replace(vec![Emission::new(kind, body)?]))
    }

    /// A verdict that answers the event in the app's place. Only an event for which
    /// [`Event::is_answerable`](crate::Event::is_answerable) holds can be answered.
    ///
    /// # Errors
    /// The message can't be written as JSON.
    pub fn answer(message: &impl Serialize) -> Result<Self, Error> {
        Ok(Verdict::Answer(serde_json::to_string(message)?))
    }

    /// A verdict after which the plugin gets the event again: after `time`, a minute at most. The manifest must say
    /// `defers = true`.
    pub fn defer(time: Duration) -> Self {
        Verdict::Defer(u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
    }
}
