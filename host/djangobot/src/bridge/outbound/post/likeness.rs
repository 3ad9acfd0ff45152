//! The likeness of messages: whether a message of Slack's history is the one that a call was to post.

use serde_json::Value;

use crate::bridge::outbound::files::SHARE;
use crate::bridge::outbound::post::call::{Call, MARK};

/// The likeness of a message of the history to the one that was to be posted.
///
/// Two messages may have the same text, so a text alone proves nothing: the caller counts [`Likeness::Alike`] only if
/// the bot wrote the message, and if no other message of ours is known to have its `ts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It has the same mark, or the same files.
    Same,
    /// It has the same text, and no mark.
    Alike,
    Other,
}

/// Compares a message of the history with the one that `call` was to post under `key`.
pub(super) fn compare(call: &Call, key: &str, message: &Value) -> Likeness {
    if call.method.name == SHARE {
        let shown = message["files"].as_array().into_iter().flatten();
        let mut shown = shown.filter_map(|file| file["id"].as_str());
        return match shown.any(|id| call.files.iter().any(|it| it == id)) {
            true => Likeness::Same,
            false => Likeness::Other,
        };
    }
    let metadata = &message["metadata"];
    if metadata["event_type"] == MARK {
        return match call.is_marked() && metadata["event_payload"]["id"] == key {
            true => Likeness::Same,
            false => Likeness::Other,
        };
    }
    // Slack shows an app its own metadata, so a message without our mark is another one.
    if call.is_marked() {
        return Likeness::Other;
    }
    let own = call.arguments.get("metadata").unwrap_or(&Value::Null);
    // Slack shows metadata only to some, so that a message without any may have been posted with it.
    let may_be_ours = metadata.is_null() || metadata == own;
    match may_be_ours
        && visible_text(&Value::Object(call.arguments.clone())) == visible_text(message)
    {
        true => Likeness::Alike,
        false => Likeness::Other,
    }
}

/// The text that people see of a message: its `text`, or the texts in its blocks and attachments if it has none.
fn visible_text(message: &Value) -> String {
    for key in ["text", "markdown_text"] {
        if let Some(text) = message[key].as_str()
            && !text.trim().is_empty()
        {
            return normalize(text);
        }
    }
    let mut texts = Vec::new();
    gather_texts(&message["blocks"], &mut texts);
    gather_texts(&message["attachments"], &mut texts);
    texts.join("\n")
}

/// Adds the texts in blocks or attachments, in their order.
fn gather_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather_texts(item, texts)),
        Value::Object(fields) => {
            for key in ["title", "text", "fields", "elements", "alt_text"] {
                match fields.get(key) {
                    Some(Value::String(text)) => texts.push(normalize(text)),
                    Some(inner) => gather_texts(inner, texts),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// A text without all that Slack writes in another way than it was sent: entities, brackets around links, emoji,
/// spaces. It is only compared with another such text, so it may lose more than that.
fn normalize(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let mut words = String::new();
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        let name = |rest: &str| {
            let inner = rest.strip_prefix(':')?;
            let (name, _) = inner.split_once(':')?;
            let is_name =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_+-'".contains(c);
            (!name.is_empty() && name.chars().all(is_name)).then_some(name.len() + 2)
        };
        if let Some(length) = name(rest) {
            rest = &rest[length..];
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '<' | '>' => {}
            // A link's label stands behind its address.
            '|' => {}
            _ if next.is_whitespace() || is_sign(next) => words.push(' '),
            _ => words.push(next),
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `c` may be (a part of) an emoji.
fn is_sign(c: char) -> bool {
    matches!(c as u32, 0x200D | 0x2049..=0x2BFF | 0x3030 | 0x303D | 0x3297 | 0x3299 | 0xFE0F | 0x1F000..=0x1FAFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use djangobot_slack::method;
    use serde_json::{Map, json};

    fn call(arguments: Value, key: Option<&str>) -> Call {
        let Value::Object(mut arguments) = arguments else {
            panic!("arguments are an object")
        };
        if let Some(key) = key {
            let mark = json!({"event_type": MARK, "event_payload": {"id": key}});
            arguments.insert("metadata".into(), mark);
        }
        let method = method::get("chat.postMessage").unwrap();
        Call::new(method, Some(("channel", "C1".into())), arguments)
    }

    #[test]
    fn a_marked_post_is_known_by_its_mark_alone() {
        let call = call(json!({"text": "hi"}), Some("k1"));
        let marked = |id: &str, text: &str| json!({"text": text, "metadata": {"event_type": MARK, "event_payload": {"id": id}}});
        assert_eq!(
            compare(&call, "k1", &marked("k1", "edited since")),
            Likeness::Same
        );
        assert_eq!(compare(&call, "k1", &marked("k2", "hi")), Likeness::Other);
        assert_eq!(
            compare(&call, "k1", &json!({"text": "hi"})),
            Likeness::Other
        );
    }

    #[test]
    fn shared_files_are_known_by_the_ids_that_slack_gave_them() {
        let method = method::get(SHARE).unwrap();
        let mut call = Call::new(method, Some(("channel_id", "C1".into())), Map::new());
        call.set_files(vec![json!({"id": "F1", "title": "a"})]);
        let check = |message: Value, expect| assert_eq!(compare(&call, "k", &message), expect);
        check(json!({"text": "", "files": [{"id": "F1"}]}), Likeness::Same);
        check(
            json!({"text": "", "files": [{"id": "F2"}]}),
            Likeness::Other,
        );
        check(json!({"text": ""}), Likeness::Other);
    }

    #[test]
    fn a_post_with_metadata_of_the_app_is_known_by_its_text() {
        let own = json!({"event_type": "task", "event_payload": {"n": 1}});
        let check = |sent: Value, message: Value, expect: Likeness| {
            let mut sent = sent;
            sent["metadata"] = own.clone();
            assert_eq!(
                compare(&call(sent.clone(), None), "k", &message),
                expect,
                "{sent} {message}"
            );
        };
        let (alike, other) = (Likeness::Alike, Likeness::Other);
        check(json!({"text": "hi"}), json!({"text": "hi"}), alike);
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": own}),
            alike,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "ho", "metadata": own}),
            other,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": {"event_type": "task", "event_payload": {"n": 2}}}),
            other,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": {"event_type": MARK, "event_payload": {"id": "k"}}}),
            other,
        );
        check(
            json!({"text": "a < b & see https://example.com 🚀 now"}),
            json!({"text": "a &lt; b &amp; see <https://example.com> :rocket: now"}),
            alike,
        );
        let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "*hi*"}}]);
        let mut kept = blocks.clone();
        kept[0]["block_id"] = "b1".into();
        check(
            json!({"blocks": blocks}),
            json!({"text": "", "blocks": kept}),
            alike,
        );
        check(
            json!({"blocks": blocks}),
            json!({"blocks": [{"type": "section", "text": {"text": "*ho*"}}]}),
            other,
        );
    }
}
