//! What all messages that an app puts into the layer for Slack have in common: their keys, where an outcome goes, and why
//! one was not sent.

use djangobot_channels::ChannelName;
use djangobot_event::{BYTES_KEY, CleanText, Event};
use serde_json::{Map, Value};

use crate::masking;

/// Slack cuts a longer text of `chat.postMessage`, in characters.
const MAX_TEXT: usize = 40_000;
/// Characters of a method's name that a refusal repeats.
const LONGEST_NAME: usize = 80;
/// What is called where a message names no method.
pub(crate) const DEFAULT_METHOD: &str = "chat.postMessage";

/// Where an outcome goes, and what the app calls its request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) channel: Option<ChannelName>,
    /// Why there is no `channel`, where there is none.
    pub(crate) silence: &'static str,
    /// The caller's `id`, given back as `request`.
    pub(crate) request: Value,
    /// The method, as the app named it.
    pub(crate) method: String,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            channel: None,
            silence: "the message had no reply_channel",
            request: Value::Null,
            method: DEFAULT_METHOD.to_owned(),
        }
    }
}

impl Reply {
    /// The keys that it is read from.
    pub(crate) const KEYS: &[&str] = &["id", "reply_channel", "method"];

    /// That of a message of which nothing can be read.
    pub(crate) fn unreadable() -> Self {
        Self {
            silence: "no reply_channel can be read in it",
            ..Self::default()
        }
    }

    /// Reads it, and takes `id` and `reply_channel` out of the message. The error says why there is no channel in spite
    /// of the key.
    pub(crate) fn take(keys: &mut Map<String, Value>) -> (Self, Result<(), SendFailure>) {
        let mut reply = Self {
            request: keys.remove("id").unwrap_or(Value::Null),
            ..Self::default()
        };
        if let Some(named) = keys.get("method").filter(|it| !is_absent(it)) {
            let named = named
                .as_str()
                .map_or_else(|| named.to_string(), str::to_owned);
            reply.method = named.chars().take(LONGEST_NAME).collect();
        }
        let channel = match keys.remove("reply_channel") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) => ChannelName::new(&name)
                .map(Some)
                .map_err(|error| error.to_string()),
            Some(other) => Err(format!("it is {}", kind(&other))),
        };
        let read = match channel {
            Ok(channel) => {
                reply.channel = channel;
                Ok(())
            }
            Err(why) => {
                reply.silence = "its reply_channel can't be the name of a channel";
                Err(SendFailure::new(
                    "invalid_reply_channel",
                    format!("`reply_channel` must be a channel's name: {why}."),
                ))
            }
        };
        (reply, read)
    }
}

/// Of a message that can't be read whole, where its outcome goes.
impl From<&Event> for Reply {
    fn from(message: &Event) -> Self {
        match keys_of(message) {
            Ok(mut keys) if keys.contains_key("reply_channel") => Self::take(&mut keys).0,
            Ok(mut keys) => Self {
                silence: Self::unreadable().silence,
                ..Self::take(&mut keys).0
            },
            Err(_) => Self::unreadable(),
        }
    }
}

/// The longest code of an error that is passed on, in bytes.
const MAX_CODE: usize = 100;
/// The longest sentence about it.
const MAX_DETAIL: usize = 2_000;

/// Why something was not sent: Slack's error code or one of its kind, and a sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct SendFailure {
    pub(crate) error: String,
    pub(crate) detail: String,
}

impl SendFailure {
    /// Both may have words of Slack's, of the app's or of a plugin's in them.
    pub(crate) fn new(error: &str, detail: impl AsRef<str>) -> Self {
        Self {
            error: CleanText::within(error, MAX_CODE).into(),
            detail: CleanText::within(&masking::in_text(detail.as_ref()), MAX_DETAIL).into(),
        }
    }

    /// A plugin let a message go no further.
    pub(crate) fn dropped(dropped: &djangobot_plugins::DropReason) -> Self {
        let djangobot_plugins::DropReason {
            plugin,
            reason,
            failed,
        } = dropped;
        match failed {
            true => Self::new(
                "plugin_failed",
                format!(
                    "The plugin {plugin} failed, and its on-error lets nothing pass: {reason}."
                ),
            ),
            false => Self::new(
                DROPPED,
                format!("The plugin {plugin} dropped it: {reason}."),
            ),
        }
    }
}

/// A plugin's decision, which is no failure that somebody would have to look into.
pub(crate) const DROPPED: &str = "dropped_by_plugin";

/// What Slack would cut of a text.
pub(crate) fn check_length(arguments: &Map<String, Value>) -> Result<(), SendFailure> {
    let text = arguments.get("text").and_then(Value::as_str);
    let length = text.map_or(0, |text| text.chars().count());
    if length > MAX_TEXT {
        return Err(SendFailure::new(
            "msg_too_long",
            format!(
                "`text` has {length} characters; Slack takes {MAX_TEXT} at most and would cut it. Send it in parts, or as a file."
            ),
        ));
    }
    Ok(())
}

/// The keys of a message and their values.
pub(crate) fn keys_of(message: &Event) -> Result<Map<String, Value>, SendFailure> {
    let mut json = Vec::new();
    message.write_json(&mut json);
    serde_json::from_slice(&json).map_err(|error| {
        let detail = format!("The message can't be read: {error}.");
        SendFailure::new("invalid_message", detail)
    })
}

/// Whether a value says no more than if its key were not there: Python's `None`, an empty text.
pub(crate) fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Null) || matches!(value, Value::String(text) if text.is_empty())
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "None",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(fields) if fields.contains_key(BYTES_KEY) => "bytes that are not UTF-8",
        Value::Object(_) => "a dict",
    }
}
