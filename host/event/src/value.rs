//! Values on their way out of an event and into it.

use std::borrow::Cow;

/// A value in an event: scalars decoded, arrays and objects as JSON text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// Any other number; infinite where an `f64` can't hold it.
    Float(f64),
    /// A string, decoded.
    Text(Cow<'a, str>),
    /// The JSON text of an array or object, as edited; or the digits of an integer beyond 64 bits.
    Json(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The text, if it is a string.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The integer, if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The nearest `f64`, if it is a number of at most 64 bits.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Int(value) => Some(value as f64),
            Value::UInt(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }
}

/// A value to be set.
#[derive(Clone, Debug, PartialEq)]
pub enum NewValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer.
    UInt(u64),
    /// A number; infinities and NaN are refused.
    Float(f64),
    /// A string.
    Text(String),
    /// A JSON text of any kind. It is checked, and kept as it is.
    Json(Vec<u8>),
}

impl NewValue {
    /// The length of its text, in bytes; 0 where it has none.
    pub(crate) fn len(&self) -> usize {
        match self {
            NewValue::Text(text) => text.len(),
            NewValue::Json(text) => text.len(),
            _ => 0,
        }
    }
}

impl From<Value<'_>> for NewValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => NewValue::Null,
            Value::Bool(value) => NewValue::Bool(value),
            Value::Int(value) => NewValue::Int(value),
            Value::UInt(value) => NewValue::UInt(value),
            Value::Float(value) => NewValue::Float(value),
            Value::Text(value) => NewValue::Text(value.into_owned()),
            Value::Json(value) => NewValue::Json(value.into_owned().into_bytes()),
        }
    }
}

impl From<bool> for NewValue {
    fn from(value: bool) -> Self {
        NewValue::Bool(value)
    }
}

impl From<i64> for NewValue {
    fn from(value: i64) -> Self {
        NewValue::Int(value)
    }
}

impl From<u64> for NewValue {
    fn from(value: u64) -> Self {
        NewValue::UInt(value)
    }
}

impl From<f64> for NewValue {
    fn from(value: f64) -> Self {
        NewValue::Float(value)
    }
}

impl From<&str> for NewValue {
    fn from(value: &str) -> Self {
        NewValue::Text(value.to_owned())
    }
}

impl From<String> for NewValue {
    fn from(value: String) -> Self {
        NewValue::Text(value)
    }
}

/// A JSON text.
impl From<Vec<u8>> for NewValue {
    fn from(value: Vec<u8>) -> Self {
        NewValue::Json(value)
    }
}

/// A value that was read elsewhere.
impl From<&serde_json::Value> for NewValue {
    fn from(value: &serde_json::Value) -> Self {
        NewValue::Json(value.to_string().into_bytes())
    }
}

/// One change to an event, as a plugin answers with.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// See [`crate::Event::set`].
    Set {
        /// RFC 6901.
        pointer: String,
        /// The value that should be there.
        value: NewValue,
    },
    /// See [`crate::Event::remove`].
    Remove {
        /// RFC 6901.
        pointer: String,
    },
}
