//! Takes Slack's envelopes and requests apart: the event, and how it was delivered.
//!
//! Only the other members of the wrapper are copied: an inner event shares text and index with its wrapper.

use std::borrow::Cow;
use std::io::Write;

use bytes::Bytes;
use djangobot_event::{Event, Value};

use crate::respond::ResponseUrl;
use crate::token::BotAccessToken;
use crate::transport::Origin;

/// Keys of an event's wrapper that are not handed on: tokens, and members that have a field of their own.
const NOT_IN_WRAPPER: &[&str] = &["token", "type", "event", "event_id", "team_id"];

/// The key that holds the app's verification token, which Slack has replaced by signatures.
const VERIFICATION_TOKEN: &str = "token";

/// The key that holds the token with which an app answers as one of its functions. It is for the app alone.
pub const BOT_ACCESS_TOKEN: &str = "bot_access_token";

/// The interactions that Slack takes an answer to, and that want one.
const ANSWERABLE: &[&str] = &[
    "block_suggestion",
    "dialog_submission",
    "dialog_suggestion",
    "view_submission",
];

/// The ways in which Slack wraps what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// The Events API: the event is within, under `event`.
    EventsApi,
    /// A slash command, flat.
    SlashCommand,
    /// A click, a dialog, a shortcut: flat, with a `type` of its own.
    Interactive,
    /// Something that we don't know, of this type.
    Other(String),
}

impl Wrapping {
    /// By the type of a Socket Mode envelope.
    pub(crate) fn of(kind: Cow<'_, str>) -> Self {
        match &*kind {
            "events_api" => Wrapping::EventsApi,
            "slash_commands" => Wrapping::SlashCommand,
            "interactive" => Wrapping::Interactive,
            _ => Wrapping::Other(kind.into_owned()),
        }
    }

    /// The event in a payload. `answerable` says that the kind of event wants an answer; the transport knows whether
    /// Slack takes one.
    pub(crate) fn open(self, payload: Event) -> (Event, Origin) {
        match self {
            Wrapping::EventsApi => event_of(payload),
            Wrapping::SlashCommand => {
                let (event, mut origin) = flat(payload);
                origin.kind = Some(Cow::Borrowed("slash_commands"));
                origin.response_urls = ResponseUrl::all_of(&event);
                origin.answerable = true;
                (event, origin)
            }
            Wrapping::Interactive => {
                let (event, mut origin) = flat(payload);
                origin.answerable = event
                    .text("/type")
                    .is_some_and(|kind| ANSWERABLE.contains(&&*kind));
                origin.response_urls = ResponseUrl::all_of(&event);
                (event, origin)
            }
            Wrapping::Other(kind) => {
                let (event, mut origin) = flat(payload);
                origin.kind = Some(Cow::Owned(kind));
                (event, origin)
            }
        }
    }
}

/// The inner event; where there is none, as in `app_rate_limited`, the payload itself.
fn event_of(payload: Event) -> (Event, Origin) {
    let Some(event) = payload.subtree("/event") else {
        return flat(payload);
    };
    let mut origin = Origin::default();
    let mut wrapper = Vec::new();
    for (key, value) in payload.members("").into_iter().flatten() {
        match (&*key, value) {
            ("event_id", Value::Text(id)) => origin.event_id = Some(id.into_owned()),
            ("team_id", Value::Text(id)) => origin.team_id = Some(id.into_owned()),
            (known, _) if NOT_IN_WRAPPER.contains(&known) => {}
            (key, value) => member(&mut wrapper, key, &value),
        }
    }
    if !wrapper.is_empty() {
        wrapper.push(b'}');
        origin.wrapper = Some(Bytes::from(wrapper));
    }
    let event = without_tokens(event, &mut origin);
    (event, origin)
}

fn flat(payload: Event) -> (Event, Origin) {
    let team_id = payload
        .text("/team_id")
        .or_else(|| payload.text("/team/id"))
        .or_else(|| payload.text("/user/team_id"));
    let mut origin = Origin {
        team_id: team_id.map(Cow::into_owned),
        ..Origin::default()
    };
    let event = without_tokens(payload, &mut origin);
    (event, origin)
}

/// Takes the tokens out of an event; that which is the app's goes to `origin`.
fn without_tokens(mut event: Event, origin: &mut Origin) -> Event {
    if let Some(Value::Text(token)) = event.field(BOT_ACCESS_TOKEN) {
        origin.bot_access_token = Some(BotAccessToken::new(&token));
    }
    for key in [VERIFICATION_TOKEN, BOT_ACCESS_TOKEN] {
        if event.field(key).is_some() {
            // A field that exists can be removed.
            let _ = event.remove(&format!("/{key}"));
        }
    }
    event
}

/// Adds a member to an object's text, which lacks its closing brace.
fn member(object: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    object.push(if object.is_empty() { b'{' } else { b',' });
    quoted(object, key);
    object.push(b':');
    // A vector takes everything that is written to it.
    let _ = match value {
        Value::Null => object.write_all(b"null"),
        Value::Bool(value) => write!(object, "{value}"),
        Value::Int(value) => write!(object, "{value}"),
        Value::UInt(value) => write!(object, "{value}"),
        Value::Float(value) => write!(object, "{}", serde_json::Value::from(*value)),
        Value::Json(text) => object.write_all(text.as_bytes()),
        Value::Text(text) => {
            quoted(object, text);
            Ok(())
        }
    };
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    // Texts can always be serialised.
    let _ = serde_json::to_writer(out, text);
}

/// The `envelope_id` of a frame that is not an event, if it can still be seen: the member of that name of the outermost
/// object, or, where the object's begin is missing, the first one.
pub(crate) fn id_in(frame: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\"envelope_id\"";
    if !frame.trim_ascii_start().starts_with(b"{") {
        // Within a text, its quotes would be escaped.
        let mut keys = frame.windows(KEY.len()).enumerate();
        return keys.find_map(|(at, key)| {
            let is_key =
                key == KEY && at.checked_sub(1).and_then(|it| frame.get(it)) != Some(&b'\\');
            is_key.then(|| value_of(frame.get(at + KEY.len()..)?))?
        });
    }
    let mut depth = 0_usize;
    let mut rest = frame;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => {
                let (string, after) = string(rest)?;
                if depth == 1
                    && string == KEY
                    && let Some(id) = value_of(after)
                {
                    return Some(id);
                }
                after
            }
            b'{' | b'[' => {
                depth += 1;
                after
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                after
            }
            _ => after,
        };
    }
    None
}

/// The string that a text begins with, in its quotes, and what is behind it; `None` where it does not end.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return text.split_at_checked(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The string that is a member's value; `after` is what follows its key.
fn value_of(after: &[u8]) -> Option<String> {
    let value = after
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    if !value.starts_with(b"\"") {
        return None;
    }
    serde_json::from_slice(string(value)?.0).ok()
}

#[cfg(test)]
mod tests;
