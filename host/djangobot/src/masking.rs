//! Masks tokens, and shortens the contents of files, in texts that people see: logs, reports, dead letters, the screen
//! of `djangobot dev`.

use std::borrow::Cow;

use serde_json::{Map, Value};

mod bytes;

/// The text that replaces a token.
const MASK: &str = "(a token)";
/// The prefixes of Slack's tokens: `xoxb-`, `xoxe.xoxp-`, `xapp-`, and `xwfp-` for those that come with an event.
const PREFIXES: &[&str] = &["xox", "xapp-", "xwfp-"];
/// A key whose name is one of these, or ends with one, has a secret as its value.
const SECRET_KEYS: &[&str] = &["token", "secret", "password", "authorization"];
/// The shortest token within a text, in bytes. Shorter words, such as `xoxb-...` in a manual, are not tokens.
const SHORTEST: usize = 12;
/// The longest content of a file that is shown in full, in bytes.
const LONGEST_CONTENT: usize = 200;

/// Masks the tokens in a message, which may be JSON or any other bytes.
pub(crate) fn without_tokens(message: &[u8]) -> Cow<'_, [u8]> {
    let Ok(mut value) = serde_json::from_slice::<Value>(message) else {
        return bytes::without_tokens(message);
    };
    match mask_tokens(&mut value) {
        true => Cow::Owned(value.to_string().into_bytes()),
        false => Cow::Borrowed(message),
    }
}

/// Masks each token in `value`: texts that have the form of a token, and values of keys whose names say that they are
/// secret. Returns whether there was any.
pub(crate) fn mask_tokens(value: &mut Value) -> bool {
    match value {
        Value::String(text) if is_token(text) => {
            *value = MASK.into();
            true
        }
        Value::String(text) => {
            let masked = match in_text(text) {
                Cow::Owned(masked) => Some(masked),
                Cow::Borrowed(_) => None,
            };
            // A text may itself be JSON, such as the payload of a request.
            let within = bytes::without_pairs(masked.as_deref().unwrap_or(text));
            match within.or(masked) {
                Some(masked) => {
                    *text = masked;
                    true
                }
                None => false,
            }
        }
        Value::Array(items) => {
            let masked = items.iter_mut().map(mask_tokens);
            masked.fold(false, |any, one| any | one)
        }
        Value::Object(fields) => {
            let masked = fields.iter_mut().map(|(key, value)| match value {
                secret if is_secret(key.as_bytes()) => mask_secret(secret),
                other => mask_tokens(other),
            });
            masked.fold(false, |any, one| any | one) | mask_keys(fields)
        }
        _ => false,
    }
}

/// Masks tokens in the names of keys.
fn mask_keys(fields: &mut Map<String, Value>) -> bool {
    let masked = |key: &str| matches!(in_text(key), Cow::Owned(_));
    if !fields.keys().any(|key| masked(key)) {
        return false;
    }
    let fields_then = std::mem::take(fields).into_iter();
    fields.extend(fields_then.map(|(key, value)| (in_text(&key).into_owned(), value)));
    true
}

/// Masks the value of a key whose name says that it is secret. An object keeps its form, because the reader of a dead
/// letter needs to see what else is in it.
fn mask_secret(value: &mut Value) -> bool {
    match value {
        // `null`, `true` and `false` are not secrets.
        Value::Null | Value::Bool(_) => false,
        Value::String(text) if text.is_empty() => false,
        Value::String(_) | Value::Number(_) => {
            *value = MASK.into();
            true
        }
        Value::Array(items) => {
            let masked = items.iter_mut().map(mask_secret);
            masked.fold(false, |any, one| any | one)
        }
        object @ Value::Object(_) => mask_tokens(object),
    }
}

/// Whether a key's name says that its value is secret: `token`, `bot_access_token`, `X-Token` and `accessToken` do, but
/// `mistoken` does not.
fn is_secret(key: &[u8]) -> bool {
    SECRET_KEYS.iter().any(|secret| {
        let Some(at) = key.len().checked_sub(secret.len()) else {
            return false;
        };
        let (before, end) = key.split_at(at);
        let begins_a_word = match before.last() {
            None | Some(b'_' | b'-') => true,
            Some(last) => !last.is_ascii_uppercase() && end[0].is_ascii_uppercase(),
        };
        begins_a_word && end.eq_ignore_ascii_case(secret.as_bytes())
    })
}

/// Masks the tokens of Slack that stand among other words in a text.
pub(crate) fn in_text(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut kept = 0;
    let words = text.split(|c: char| !(c.is_ascii() && is_of_token(c as u8)));
    for word in words {
        // Slack's tokens contain numbers. A word without a digit, such as a package's name, is left alone.
        let is_token = word.len() >= SHORTEST
            && is_token(word)
            && word.bytes().any(|byte| byte.is_ascii_digit());
        if is_token {
            // The word is a slice of the text, so the difference of their addresses is its position.
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            masked.push_str(&text[kept..start]);
            masked.push_str(MASK);
            kept = start + word.len();
        }
    }
    match kept {
        0 => Cow::Borrowed(text),
        kept => {
            masked.push_str(&text[kept..]);
            Cow::Owned(masked)
        }
    }
}

fn is_token(text: &str) -> bool {
    PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        && text.contains('-')
        && text.bytes().all(is_of_token)
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// Shortens the contents of the files in a message of `slack.send`.
pub(crate) fn shorten_contents(message: &mut Value) {
    let Some(message) = message.as_object_mut() else {
        return;
    };
    for key in ["file", "files"] {
        match message.get_mut(key) {
            Some(Value::Array(files)) => files.iter_mut().for_each(shorten_content),
            Some(file) => shorten_content(file),
            None => {}
        }
    }
}

fn shorten_content(file: &mut Value) {
    let Some(content) = file.get_mut("content") else {
        return;
    };
    let length = match &*content {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if length > LONGEST_CONTENT {
        *content = format!("({length} characters)").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_masked_wherever_they_stand() {
        let check = |message: Value, expect: Value| {
            let text = message.to_string();
            let masked = without_tokens(text.as_bytes());
            assert_eq!(serde_json::from_slice::<Value>(&masked).unwrap(), expect);
        };
        check(
            json!({"token": "hush", "event": {"bot_access_token": "xwfp-1-a", "n": 1}, "list": ["xoxb-1-2-abc"]}),
            json!({"token": MASK, "event": {"bot_access_token": MASK, "n": 1}, "list": [MASK]}),
        );
        check(
            json!({"text": "use xoxb-12-abcdefgh, or Bearer xapp-1-A2-3456789.", "client_secret": "s", "Authorization": ["b"], "token": {"a": 1}}),
            json!({"text": "use (a token), or Bearer (a token)", "client_secret": MASK, "Authorization": [MASK], "token": {"a": 1}}),
        );
        check(
            json!({"accessToken": "hush", "payload": r#"{"token": "hush", "n": 1, "in": "{\"my_secret\":\"hush\"}"}"#, "xoxb-12-abcdefgh": 1, "b": 2}),
            json!({"accessToken": MASK, "payload": r#"{"token": "****", "n": 1, "in": "{\"my_secret\":\"****\"}"}"#, "(a token)": 1, "b": 2}),
        );
        let harmless = json!({"text": "xoxb- is how tokens begin, or xoxb-..., not xoxo-xoxo-xoxo", "token": null, "x": "xoxo", "is_token": true, "next_cursor": "abc", "mistoken": "x"});
        check(harmless.clone(), harmless.clone());
        let text = harmless.to_string();
        assert!(matches!(without_tokens(text.as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn contents_of_files_are_shortened() {
        let mut message =
            json!({"file": {"content": "x".repeat(1000)}, "files": [{"content": "hi"}, {}, 5]});
        shorten_contents(&mut message);
        assert_eq!(
            message,
            json!({"file": {"content": "(1000 characters)"}, "files": [{"content": "hi"}, {}, 5]})
        );
    }
}
