//! Reads single members of a text that can't be read whole: the channel that is to get the error may be among them.

use crate::parser::{self, MAX_DEPTH};
use crate::string;

/// The members that were found, as a JSON object that is not closed yet.
#[derive(Default)]
pub(crate) struct SalvagedMembers {
    members: Vec<u8>,
}

impl SalvagedMembers {
    /// Adds a member, if `value` is a JSON text.
    pub(crate) fn member(&mut self, key: &str, value: &[u8]) {
        if parser::parse(value, MAX_DEPTH - 1).is_err() {
            return;
        }
        self.members
            .push(if self.members.is_empty() { b'{' } else { b',' });
        string::write_json(key, &mut self.members);
        self.members.push(b':');
        self.members.extend_from_slice(value);
    }

    pub(crate) fn into_text(mut self) -> Vec<u8> {
        if self.members.is_empty() {
            self.members.push(b'{');
        }
        self.members.push(b'}');
        self.members
    }
}

/// The JSON text of an object with the members among `wanted` of the object in `text` that can be read, whatever is
/// wrong with the others: Python's `json` writes NaN, for one.
pub(crate) fn salvage(text: &[u8], wanted: &[&str]) -> Vec<u8> {
    let mut found = SalvagedMembers::default();
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(within) = start.and_then(|start| text[start..].strip_prefix(b"{")) else {
        return found.into_text();
    };
    for member in members(within) {
        let member = member.trim_ascii();
        let key = wanted.iter().find_map(|key| {
            let rest = member.strip_prefix(b"\"")?.strip_prefix(key.as_bytes())?;
            let value = rest.strip_prefix(b"\"")?.trim_ascii_start();
            Some((*key, value.strip_prefix(b":")?))
        });
        if let Some((key, value)) = key {
            found.member(key, value);
        }
    }
    found.into_text()
}

/// Cuts what stands behind an object's `{` at the commas between its members.
fn members(within: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(within);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = in_string,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => depth -= 1,
                b'}' => {
                    rest = None;
                    return Some(&text[..at]);
                }
                b',' if depth == 0 => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_is_wrong_with_their_neighbours() {
        let check = |text: &str, expect: &str| {
            let found = salvage(text.as_bytes(), &["reply", "id"]);
            assert_eq!(String::from_utf8_lossy(&found), expect, "{text}");
        };
        check(r#"{"reply":"a","x":NaN}"#, r#"{"reply":"a"}"#);
        check(
            r#" {"x":{"reply":"no","y":[NaN,"}"]}, "reply" : "a" ,"id":7}"#,
            r#"{"reply": "a","id":7}"#,
        );
        check(
            r#"{"id":Infinity,"reply":"a\"},{b"}"#,
            r#"{"reply":"a\"},{b"}"#,
        );
        check(r#"{"reply":"a","id":[1"#, r#"{"reply":"a"}"#);
        check(r#"{"reply":"a"#, "{}");
        check(r#"{"id":{"a":1},"replyx":1}"#, r#"{"id":{"a":1}}"#);
        for nothing in [
            "",
            "[]",
            "7",
            "{",
            "{}",
            "{]}",
            "{,,}",
            r#"{"reply"}"#,
            "{\"reply",
        ] {
            check(nothing, "{}");
        }
    }
}
