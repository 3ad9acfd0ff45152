//! Arbitrary JSON documents, and the many ways to write one.

use proptest::prelude::*;
use serde_json::{Map, Value};

/// An object of any content, up to four levels deep.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    members(value()).prop_map(Value::Object)
}

/// A value of any kind.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((key(), value), 0..8).prop_map(Map::from_iter)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-200i64..200).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        text().prop_map(Value::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-zA-Z0-9 ]{0,40}",
        r#"["\\/\n\t\x00-\x1f\u{e9}\u{2028}\u{1f600}-\u{1f610}]{0,12}"#
    ]
}

/// Few enough that keys meet again in edits, some of them hostile to pointers.
pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => "[a-z]{5,20}", 1 => r#"[~/"\\ 0-9-]{0,3}"#, 1 => any::<String>()]
}

/// Writes a value as JSON, with whitespace, escapes, forms of numbers and superseded members as `choices` wants them.
pub(crate) fn written(value: &Value, choices: &[u8]) -> String {
    let mut writer = Writer {
        choices: choices.iter().cycle(),
        out: String::new(),
    };
    writer.value(value);
    writer.space();
    writer.out
}

struct Writer<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: String,
}

impl Writer<'_> {
    fn choice(&mut self, of: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % of)
    }

    fn space(&mut self) {
        let space = ["", "", "", "", " ", "\n\t", "\r\n  "][usize::from(self.choice(7))];
        self.out.push_str(space);
    }

    fn value(&mut self, value: &Value) {
        self.space();
        match value {
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() && self.choice(2) == 0 => {
                    self.out.push_str(&format!("{float:E}"))
                }
                _ => self.out.push_str(&number.to_string()),
            },
            Value::String(text) => self.text(text),
            Value::Array(elements) => {
                let mut separator = "";
                self.out.push('[');
                for element in elements {
                    self.out.push_str(separator);
                    separator = ",";
                    self.value(element);
                    self.space();
                }
                self.space();
                self.out.push(']');
            }
            Value::Object(members) => self.object(members),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn object(&mut self, members: &Map<String, Value>) {
        let mut separator = "";
        self.out.push('{');
        for (key, value) in members {
            if self.choice(8) == 0 {
                self.out.push_str(separator);
                self.text(key);
                self.out.push_str(":[{\"superseded\":[]}]");
                separator = ",";
            }
            self.out.push_str(separator);
            separator = ",";
            self.space();
            self.text(key);
            self.space();
            self.out.push(':');
            self.value(value);
            self.space();
        }
        self.space();
        self.out.push('}');
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let must_escape = matches!(character, '"' | '\\' | '\0'..='\x1f');
            match (character, self.choice(4)) {
                ('"' | '\\' | '/', 1 | 2) => self.out.extend(['\\', character]),
                ('\n', 1 | 2) => self.out.push_str("\\n"),
                ('\t', 1 | 2) => self.out.push_str("\\t"),
                (_, 3) => self.code_units(character),
                _ if must_escape => self.code_units(character),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn code_units(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}
