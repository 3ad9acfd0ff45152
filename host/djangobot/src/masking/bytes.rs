//! Masks tokens in bytes that are not one JSON text: msgpack, whole or broken, and JSON that was cut off.
//!
//! A star replaces each byte of a token, and a zero each byte of a secret number. So all lengths stay as they are, and
//! a message that could be decoded before can be decoded after.

use std::borrow::Cow;
use std::ops::Range;

use crate::masking::{PREFIXES, is_of_token, is_secret};

/// The deepest nesting of maps and arrays that is followed. It bounds the memory for a hostile message; deeper bytes
/// are searched as if they were broken msgpack.
const DEEPEST: usize = 512;

/// Masks the tokens in a message.
pub(super) fn without_tokens(message: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = message.to_vec();
    let mut at = walk(&mut masked, 0, false);
    // The rest is not msgpack, or follows a position at which the msgpack is broken.
    mask_text(&mut masked[at..]);
    while at < masked.len() {
        at = match secret_key(&masked, at) {
            Some(value) => walk(&mut masked, value, true).max(value),
            None => at + 1,
        };
    }
    match masked == message {
        true => Cow::Borrowed(message),
        false => Cow::Owned(masked),
    }
}

/// Masks the secrets that stand after their keys in a text, as in JSON; `None` if there are none.
pub(super) fn without_pairs(text: &str) -> Option<String> {
    let mut masked = text.as_bytes().to_vec();
    mask_pairs(&mut masked);
    let is_masked = masked != text.as_bytes();
    // Stars replace whole characters, so the text is still UTF-8.
    is_masked.then(|| String::from_utf8_lossy(&masked).into_owned())
}

/// The kind of an item of msgpack.
#[derive(Clone, Copy, PartialEq)]
enum ItemKind {
    /// `nil`, `true` or `false`.
    Plain,
    Number,
    /// Text, bytes or an extension.
    Text,
    Array(u64),
    Map(u64),
}

/// An array or a map that has begun and not ended.
struct Level {
    /// The number of items that are still to come.
    left: u64,
    /// Whether every second item is a key.
    is_map: bool,
    /// Whether the items are secrets, because of the name of their key.
    is_secret: bool,
}

/// Masks the item that begins at `at`. Returns the position after it, or the position from which it can't be decoded.
fn walk(bytes: &mut [u8], mut at: usize, is_secret_itself: bool) -> usize {
    let mut open = vec![Level {
        left: 1,
        is_map: false,
        is_secret: is_secret_itself,
    }];
    let mut names_secret = false;
    while let Some(level) = open.last_mut() {
        if level.left == 0 {
            open.pop();
            continue;
        }
        let is_key = level.is_map && level.left.is_multiple_of(2);
        let hides = match level.is_map {
            true => !is_key && std::mem::take(&mut names_secret),
            false => level.is_secret,
        };
        let Some((kind, content)) = item(bytes, at) else {
            return at;
        };
        level.left -= 1;
        at = content.end;
        let (left, is_map) = match kind {
            ItemKind::Plain => continue,
            ItemKind::Number => {
                if hides {
                    bytes[content].fill(0);
                }
                continue;
            }
            ItemKind::Text => {
                let content = &mut bytes[content];
                names_secret = is_key && is_secret(content);
                match hides {
                    true => content.fill(b'*'),
                    false => mask_text(content),
                }
                continue;
            }
            ItemKind::Array(length) => (length, false),
            ItemKind::Map(length) => (2 * length, true),
        };
        if open.len() == DEEPEST {
            return at;
        }
        open.push(Level {
            left,
            is_map,
            // A map keeps its form, because the reader of a dead letter needs to see what else is in it.
            is_secret: hides && !is_map,
        });
    }
    at
}

/// Reads the head of the item that begins at `at`. Returns its kind and the range of its content, which ends with the
/// bytes if the item was cut off.
fn item(bytes: &[u8], at: usize) -> Option<(ItemKind, Range<usize>)> {
    let head = *bytes.get(at)?;
    let at = at + 1;
    // Reads a length of `size` bytes, and the position after it.
    let length = |size: usize| {
        let digits = bytes.get(at..at + size)?;
        let length = digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some((length, at + size))
    };
    let content = |from: usize, length: u64| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        from..from.saturating_add(length).min(bytes.len())
    };
    let number = |size| Some((ItemKind::Number, content(at, size)));
    let text = |size: usize, type_byte: usize| {
        let (length, from) = length(size)?;
        Some((
            ItemKind::Text,
            content((from + type_byte).min(bytes.len()), length),
        ))
    };
    match head {
        0x00..=0x7f | 0xe0..=0xff => Some((ItemKind::Number, at - 1..at)),
        0x80..=0x8f => Some((ItemKind::Map(u64::from(head & 0x0f)), at..at)),
        0x90..=0x9f => Some((ItemKind::Array(u64::from(head & 0x0f)), at..at)),
        0xa0..=0xbf => Some((ItemKind::Text, content(at, u64::from(head & 0x1f)))),
        0xc0 | 0xc2 | 0xc3 => Some((ItemKind::Plain, at..at)),
        0xc1 => None,
        0xc4..=0xc6 => text(1 << (head - 0xc4), 0),
        0xc7..=0xc9 => text(1 << (head - 0xc7), 1),
        0xca | 0xcb => number(4 << (head - 0xca)),
        0xcc..=0xcf => number(1 << (head - 0xcc)),
        0xd0..=0xd3 => number(1 << (head - 0xd0)),
        0xd4..=0xd8 => Some((
            ItemKind::Text,
            content((at + 1).min(bytes.len()), 1 << (head - 0xd4)),
        )),
        0xd9..=0xdb => text(1 << (head - 0xd9), 0),
        0xdc | 0xdd => {
            length(2 << (head - 0xdc)).map(|(length, end)| (ItemKind::Array(length), end..end))
        }
        0xde | 0xdf => {
            length(2 << (head - 0xde)).map(|(length, end)| (ItemKind::Map(length), end..end))
        }
    }
}

/// If a key begins at `at` whose name says that its value is secret, returns the position of the value.
fn secret_key(bytes: &[u8], at: usize) -> Option<usize> {
    let (kind, content) = item(bytes, at)?;
    let end = content.end;
    (kind == ItemKind::Text && is_secret(&bytes[content])).then_some(end)
}

/// Masks words that have the form of a token, and secrets that stand after their keys, as in JSON.
fn mask_text(text: &mut [u8]) {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if !PREFIXES.iter().any(|it| rest.starts_with(it.as_bytes())) {
            at += 1;
            continue;
        }
        let end = rest.iter().position(|byte| !is_of_token(*byte));
        let length = end.unwrap_or(rest.len());
        text[at..at + length].fill(b'*');
        at += length;
    }
    mask_pairs(text);
}

/// Masks the values of secret keys in JSON's form, `"token": "..."`. It also finds them in JSON within JSON, where
/// quotes have backslashes before them.
fn mask_pairs(text: &mut [u8]) {
    let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
    let mut at = 0;
    while let Some(quote) = text[at..].iter().position(is_quote) {
        at += quote + 1;
        // This quote may end a key; backslashes before it belong to the quote.
        let key_end = at
            - 1
            - text[..at - 1]
                .iter()
                .rev()
                .take_while(|it| **it == b'\\')
                .count();
        let of_word = |it: &&u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
        let longest = key_end.saturating_sub(128);
        let key = text[longest..key_end]
            .iter()
            .rev()
            .take_while(of_word)
            .count();
        if !is_secret(&text[key_end - key..key_end]) {
            continue;
        }
        let is_space = |it: &&u8| it.is_ascii_whitespace();
        let skip = |from: usize, wanted: &dyn Fn(&&u8) -> bool| {
            from + text[from..].iter().take_while(wanted).count()
        };
        let colon = skip(at, &is_space);
        if text.get(colon) != Some(&b':') {
            continue;
        }
        let value = skip(skip(colon + 1, &is_space), &|it| **it == b'\\');
        let (start, end) = match text.get(value) {
            Some(byte) if is_quote(byte) => (
                value + 1,
                skip(value + 1, &|it| !is_quote(it) && **it != b'\\'),
            ),
            _ => (value, skip(value, &|it| it.is_ascii_digit())),
        };
        let star = if start == value { b'0' } else { b'*' };
        text[start..end].fill(star);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use djangobot_event::Event;
    use serde_json::json;

    use super::*;

    fn msgpack(value: &serde_json::Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        Event::from_value(value).unwrap().write_msgpack(&mut bytes);
        bytes
    }

    #[test]
    fn msgpack_keeps_its_form_and_loses_its_tokens() {
        let long = "y".repeat(300);
        let message = json!({
            "type": "token", "text": "a token", "token": "hush", "n": [65, 1.5],
            "deep": [{"client_secret": long, "Authorization": ["hush", 4711, -70000, 0.25, {"a": "kept"}, "hush"]}],
            "password": {"a": "kept", "access_token": ["hush"]}, "is_token": true, "token2": "kept",
            "list": ["xoxb-1", 66], "raw": r#"{"token":"hush","payload":"{\"token\": \"hush\"}"}"#,
        });
        let expect = json!({
            "type": "token", "text": "a token", "token": "****", "n": [65, 1.5],
            "deep": [{"client_secret": "*".repeat(300), "Authorization": ["****", 0, 0, 0.0, {"a": "kept"}, "****"]}],
            "password": {"a": "kept", "access_token": ["****"]}, "is_token": true, "token2": "kept",
            "list": ["******", 66], "raw": r#"{"token":"****","payload":"{\"token\": \"****\"}"}"#,
        });
        let bytes = msgpack(&message);
        let masked = without_tokens(&bytes);
        assert_eq!(masked.len(), bytes.len());
        let mut json = Vec::new();
        Event::from_msgpack(&masked).unwrap().write_json(&mut json);
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, expect);
        assert_eq!(without_tokens(&masked), masked);
        let harmless =
            msgpack(&json!({"name": "token", "value": "x", "secret": "", "token": null}));
        assert!(matches!(without_tokens(&harmless), Cow::Borrowed(_)));
    }

    #[test]
    fn broken_msgpack_and_cut_json_show_no_token() {
        let message = msgpack(&json!({
            "a": 1, "token": "hush", "in": [{"verification_token": "hush"}], "t": "hush", "b": "xoxb-1-a",
        }));
        let hush = |bytes: &[u8]| bytes.windows(4).filter(|it| it == b"hush").count();
        assert_eq!(hush(&without_tokens(&message)), 1);
        for cut in 0..message.len() {
            let masked = without_tokens(&message[..cut]);
            assert!(hush(&masked) <= 1, "cut at {cut}");
            // 0xc1 is the one byte that msgpack never uses.
            let mut broken = message.clone();
            broken[cut] = 0xc1;
            assert!(hush(&without_tokens(&broken)) <= 2, "broken at {cut}");
        }
        let mut head = message.clone();
        head.splice(0..1, [0xc1, 0xff]);
        assert_eq!(hush(&without_tokens(&head)), 1);
        let cases: [(&[u8], &[u8]); 5] = [
            (b"\xc1 xoxb-1-a\x00xapp-x", b"\xc1 ********\x00******"),
            (
                br#"{"token" : "hush", "x": "hu"#,
                br#"{"token" : "****", "x": "hu"#,
            ),
            (
                br#"{"a": "b", "my-Secret":"hush"#,
                br#"{"a": "b", "my-Secret":"****"#,
            ),
            (
                br#"{'password': 'hush', "token": 4711,"#,
                br#"{'password': '****', "token": 0000,"#,
            ),
            (
                br#"["token", "kept"], {"tokens": "kept"#,
                br#"["token", "kept"], {"tokens": "kept"#,
            ),
        ];
        for (bytes, expect) in cases {
            let masked = without_tokens(bytes);
            assert_eq!(&*masked, expect, "{}", String::from_utf8_lossy(&masked));
        }
    }
}
