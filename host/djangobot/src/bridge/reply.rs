//! The common part of all messages of an app for Slack: their keys, the reply channel for the outcome, and the failure
//! of a message that was not sent.

use djangobot_channels::ChannelName;
use djangobot_event::{BYTES_KEY, CleanText, Event};
use serde_json::{Map, Value};

use crate::bridge::message_origin::MessageOrigin;
use crate::masking;

/// The most characters of a text. Slack cuts a longer one in `chat.postMessage`.
const MAX_TEXT: usize = 40_000;
/// The most characters of a method's name that an outcome repeats.
const MAX_METHOD_NAME: usize = 80;
/// The method of a message that names none.
pub(crate) const DEFAULT_METHOD: &str = "chat.postMessage";

/// The reply channel of a message, and the app's name for its request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) channel: Option<ChannelName>,
    /// The reason for which there is no `channel`, as a clause that can follow "because".
    pub(crate) silence: &'static str,
    /// The caller's `id`, given back as `request`.
    pub(crate) request: Value,
    /// The method, as the app named it.
    pub(crate) method: String,
    /// The plugin that made the message, if it was one. It hears of the outcome as well.
    pub(crate) origin: Option<MessageOrigin>,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            channel: None,
            silence: "the message had no reply_channel",
            request: Value::Null,
            method: DEFAULT_METHOD.to_owned(),
            origin: None,
        }
    }
}

impl Reply {
    /// The keys that it is read from.
    pub(crate) const KEYS: &[&str] = &["id", "reply_channel", "method", "djangobot"];

    /// The reply of a message of which no key can be read.
    pub(crate) fn unreadable() -> Self {
        Self {
            silence: "no reply_channel can be read in it",
            ..Self::default()
        }
    }

    /// Reads the reply, and takes `id` and `reply_channel` out of the message.
    ///
    /// # Errors
    ///
    /// The second value is an error if the message has a `reply_channel` that is not the name of a channel.
    pub(crate) fn take(keys: &mut Map<String, Value>) -> (Self, Result<(), SendFailure>) {
        let mut reply = Self {
            request: keys.remove("id").unwrap_or(Value::Null),
            origin: keys.get("djangobot").and_then(MessageOrigin::read),
            ..Self::default()
        };
        if let Some(named) = keys.get("method").filter(|it| !is_absent(it)) {
            let named = named
                .as_str()
                .map_or_else(|| named.to_string(), str::to_owned);
            reply.method = named.chars().take(MAX_METHOD_NAME).collect();
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

/// Reads the reply of a message of which some keys may be missing, because it can't be decoded whole.
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

/// The most bytes of an error's code.
const MAX_CODE: usize = 100;
/// The most bytes of the sentence about it.
const MAX_DETAIL: usize = 2_000;

/// The failure of a message or an answer: Slack's error code or one of ours, and a sentence for the app's developer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct SendFailure {
    pub(crate) error: String,
    pub(crate) detail: String,
}

impl SendFailure {
    /// Makes a failure. Both texts may have words of Slack, of the app or of a plugin, so they are cleaned, cut and
    /// masked.
    pub(crate) fn new(error: &str, detail: impl AsRef<str>) -> Self {
        Self {
            error: CleanText::within(error, MAX_CODE).into(),
            detail: CleanText::within(&masking::in_text(detail.as_ref()), MAX_DETAIL).into(),
        }
    }

    /// The failure of a message that a plugin, or its failure, dropped.
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
                    "The plugin {plugin} failed, and its on-error lets no message pass: {reason}."
                ),
            ),
            false => Self::new(
                DROPPED,
                format!("The plugin {plugin} dropped the message: {reason}."),
            ),
        }
    }
}

/// The code of a message that a plugin dropped on purpose: nobody has to look into that.
pub(crate) const DROPPED: &str = "dropped_by_plugin";

/// Checks that `text` is not so long that Slack would cut it.
///
/// # Errors
///
/// Fails if it is.
pub(crate) fn check_length(arguments: &Map<String, Value>) -> Result<(), SendFailure> {
    let text = arguments.get("text").and_then(Value::as_str);
    let length = text.map_or(0, |text| text.chars().count());
    if length > MAX_TEXT {
        return Err(SendFailure::new(
            "msg_too_long",
            format!(
                "`text` has {length} characters, and Slack would cut it after {MAX_TEXT}. Send it in parts, or as a file."
            ),
        ));
    }
    Ok(())
}

/// The keys of a message and their values.
///
/// # Errors
///
/// Fails if the message can't be read as JSON.
pub(crate) fn keys_of(message: &Event) -> Result<Map<String, Value>, SendFailure> {
    let mut json = Vec::new();
    message.write_json(&mut json);
    serde_json::from_slice(&json).map_err(|error| {
        let detail = format!("The message can't be read: {error}.");
        SendFailure::new("invalid_message", detail)
    })
}

/// Whether a value means the same as an absent key: Python's `None`, or an empty text.
pub(crate) fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Null) || matches!(value, Value::String(text) if text.is_empty())
}

/// The kind of a value in Python's words, for a refusal.
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
