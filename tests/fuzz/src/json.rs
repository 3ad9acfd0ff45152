//! JSON values of two readers, which must agree.

use djangobot_event::{Event, ParseError};
use serde_json::Value;

/// Panics where two trees differ by more than the last bits of a float, which `serde_json` may miss.
pub(crate) fn assert_same(ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Number(one), Value::Number(other)) => {
            let exact = one.as_i64() == other.as_i64() && one.as_u64() == other.as_u64();
            let (one, other) = (one.as_f64(), other.as_f64());
            let near = one
                .zip(other)
                .is_some_and(|(one, other)| (one - other).abs() <= one.abs() * 1e-14);
            // `-0` is the integer 0 for us, and a float for `serde_json`.
            assert!(
                (exact && one == other) || near,
                "{ours} was read, and is {theirs}"
            );
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{ours} was read, and is {theirs}");
            for (one, other) in one.iter().zip(other) {
                assert_same(one, other);
            }
        }
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(one.len(), other.len(), "{ours} was read, and is {theirs}");
            for (key, value) in one {
                let other = other.get(key);
                let other = other.unwrap_or_else(|| panic!("there is no {key:?} in {theirs}"));
                assert_same(value, other);
            }
        }
        _ => assert_eq!(ours, theirs),
    }
}

/// The event as JSON text.
pub(crate) fn text(event: &Event) -> String {
    let mut text = Vec::new();
    event.write_json(&mut text);
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// The event as msgpack.
pub(crate) fn msgpack(event: &Event) -> Vec<u8> {
    let mut payload = Vec::new();
    event.write_msgpack(&mut payload);
    payload
}

/// A msgpack value as a JSON value; `None` for what JSON has not.
pub(crate) fn of_msgpack(value: &rmpv::Value) -> Option<Value> {
    Some(match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(value) => (*value).into(),
        rmpv::Value::Integer(value) => match value.as_i64() {
            Some(value) => value.into(),
            None => value.as_u64()?.into(),
        },
        rmpv::Value::F32(value) => finite(f64::from(*value))?,
        rmpv::Value::F64(value) => finite(*value)?,
        rmpv::Value::String(text) => text.as_str()?.into(),
        rmpv::Value::Binary(bytes) => str::from_utf8(bytes).ok()?.into(),
        rmpv::Value::Array(items) => {
            Value::Array(items.iter().map(of_msgpack).collect::<Option<_>>()?)
        }
        rmpv::Value::Map(entries) => {
            let entry = |(key, value): &(rmpv::Value, rmpv::Value)| {
                Some((key.as_str()?.to_owned(), of_msgpack(value)?))
            };
            Value::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        rmpv::Value::Ext(..) => return None,
    })
}

fn finite(value: f64) -> Option<Value> {
    serde_json::Number::from_f64(value).map(Value::Number)
}

/// How deep a value is nested.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Panics where an error names a place that the text has not.
pub(crate) fn assert_place(error: &ParseError, text: &[u8]) {
    let (line, offset) = match *error {
        ParseError::Syntax { line, offset, .. }
        | ParseError::NotUtf8 { line, offset }
        | ParseError::TooDeep { line, offset, .. }
        | ParseError::IntegerTooLong { line, offset } => (line, offset),
        ParseError::NotAnObject { .. } | ParseError::TooLarge { .. } => return,
    };
    assert!(offset <= text.len(), "{error}");
    let lines = text[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
    assert_eq!(line, lines, "{error}");
}
