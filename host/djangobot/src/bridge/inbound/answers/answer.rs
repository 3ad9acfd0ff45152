//! An answer, as it is read from an event's own reply channel: a part of Slack's acknowledgement, or a message for one
//! of the event's addresses.

use bytes::Bytes;
use djangobot_event::Event;
use djangobot_slack::{ResponseUrl, method};
use serde_json::{Map, Value};

use crate::bridge::arguments;
use crate::bridge::reply::{
    DEFAULT_METHOD, Reply, SendFailure, check_length, is_absent, keys_of, kind,
};

/// Keys that make an answer a message, or a change of the message that was clicked. Without them it is a response to a
/// dialog.
const MESSAGE: &[&str] = &[
    "text",
    "blocks",
    "attachments",
    "replace_original",
    "delete_original",
    "response_type",
];
/// Keys whose content a message shows.
const BODIES: &[&str] = &["text", "blocks", "attachments"];

/// The `method` in the outcome of an answer that went to an address.
pub(super) const RESPONSE_URL: &str = "response_url";
/// The `method` in the outcome of an answer that went into the acknowledgement.
pub(super) const ACKNOWLEDGEMENT: &str = "acknowledgement";

/// The way in which Slack takes answers to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A slash command: a message, in the acknowledgement or later.
    Command,
    /// A submitted dialog: a response to the dialog in the acknowledgement, messages at an address.
    Dialog,
    /// A menu that asks for its options, which go into the acknowledgement.
    Options,
    /// A click or a shortcut: messages at an address.
    Click,
}

impl Kind {
    /// The kind of an event of Slack's type `kind`.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "slash_commands" => Self::Command,
            "view_submission" | "dialog_submission" => Self::Dialog,
            "block_suggestion" | "dialog_suggestion" => Self::Options,
            _ => Self::Click,
        }
    }
}

/// An answer of an app.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// The keys that Slack gets.
    body: Map<String, Value>,
    /// These three choose one of several addresses.
    channel: Option<String>,
    block_id: Option<String>,
    action_id: Option<String>,
}

impl Answer {
    /// Reads a message from a reply channel: the channel for its outcome, and the answer.
    ///
    /// # Errors
    ///
    /// The answer is an error if Slack would not take it.
    pub(super) fn read(message: &Event) -> (Reply, Result<Self, SendFailure>) {
        let mut keys = match keys_of(message) {
            Ok(keys) => keys,
            Err(refusal) => return (Reply::unreadable(), Err(refusal)),
        };
        let (mut reply, read) = Reply::take(&mut keys);
        RESPONSE_URL.clone_into(&mut reply.method);
        (reply, read.and_then(|()| Self::of(keys)))
    }

    fn of(mut keys: Map<String, Value>) -> Result<Self, SendFailure> {
        // `type` is for Channels, and `djangobot` is ours. Slack knows neither.
        for ours in ["type", "djangobot"] {
            keys.remove(ours);
        }
        // An app in Python writes `None` for a key without a value.
        keys.retain(|_, value| !value.is_null());
        if let Some(method) = keys.get("method") {
            let detail = format!(
                "This channel takes answers to one event; {method} is called through slack.send."
            );
            return Err(SendFailure::new("method_not_allowed", detail));
        }
        let mut text = |key: &str| match keys.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => {
                Ok(Some(text.trim().to_owned()))
            }
            Some(other) => Err(not_a_text(key, &other)),
        };
        let (channel, block_id, action_id) =
            (text("channel")?, text("block_id")?, text("action_id")?);
        if let Some(other) = keys.get("response_type").filter(|value| !value.is_string()) {
            return Err(not_a_text("response_type", other));
        }
        // The keys that an answer and a post have in common are of the same types.
        if let Some(post) = method::get(DEFAULT_METHOD) {
            keys = arguments::convert(post, keys)?;
        }
        check_length(&keys)?;
        Ok(Self {
            body: keys,
            channel,
            block_id,
            action_id,
        })
    }

    /// Whether it goes into the acknowledgement of an event of this kind, if Slack still waits for that.
    pub(super) fn fits_acknowledgement(&self, kind: Kind) -> bool {
        match kind {
            Kind::Command | Kind::Options => true,
            Kind::Dialog => !self.is_message(),
            Kind::Click => false,
        }
    }

    fn is_message(&self) -> bool {
        MESSAGE.iter().any(|key| self.body.contains_key(*key))
    }

    /// The answer in Slack's own form.
    pub(super) fn json(&self) -> Bytes {
        // This can't fail: a map of texts to JSON values has a JSON form.
        serde_json::to_vec(&self.body).unwrap_or_default().into()
    }

    /// The index of the address among `addresses` to which it goes once the event is acknowledged. `names` gives the
    /// name of a conversation.
    ///
    /// # Errors
    ///
    /// Fails if no address fits, or if several do.
    pub(super) fn address(
        &self,
        kind: Kind,
        addresses: &[&ResponseUrl],
        names: impl Fn(&str) -> Option<String>,
    ) -> Result<usize, SendFailure> {
        if kind == Kind::Options || (kind == Kind::Dialog && !self.is_message()) {
            return Err(SendFailure::new(
                "too_late",
                "Slack takes this answer in the acknowledgement only, 3 seconds after the event at the latest, and the acknowledgement was given before. Answer within slack.answer-wait, or change an open view with views.update through slack.send.",
            ));
        }
        if addresses.is_empty() {
            return Err(SendFailure::new(
                "no_response_url",
                "Slack gave no response_url with this event. Post through slack.send; a submitted view has one for each conversations_select or channels_select with response_url_enabled.",
            ));
        }
        // With none of these there is nothing to show or to change.
        let deletes = self.body.get("delete_original").is_some_and(is_true);
        let shows = BODIES
            .iter()
            .any(|key| self.body.get(*key).is_some_and(has_content));
        if !deletes && !shows {
            return Err(SendFailure::new(
                "no_text",
                "The answer has no `text` (nor `blocks`, `attachments` or `delete_original`).",
            ));
        }
        let fits = |address: &ResponseUrl| {
            // A key that the answer does not have fits any address.
            let is = |wanted: &Option<String>, given: &Option<String>| {
                wanted.is_none() || wanted == given
            };
            is(&self.block_id, &address.block_id)
                && is(&self.action_id, &address.action_id)
                && self.channel.as_ref().is_none_or(|channel| {
                    address.channel.as_ref().is_some_and(|id| {
                        let name = channel.trim_start_matches('#');
                        name == id || names(id).is_some_and(|it| it == name)
                    })
                })
        };
        let mut fitting =
            (0..addresses.len()).filter(|at| addresses.get(*at).is_some_and(|it| fits(it)));
        match (fitting.next(), fitting.next()) {
            (Some(at), None) => Ok(at),
            (Some(first), Some(_)) => {
                let place = |at: usize| addresses.get(at).and_then(|it| it.channel.as_deref());
                // All are addresses of one conversation, which was chosen twice.
                if place(first).is_some()
                    && (0..addresses.len()).all(|at| place(at) == place(first))
                {
                    return Ok(first);
                }
                Err(SendFailure::new(
                    "invalid_channel",
                    format!(
                        "The answer may go to any of {}. Name one with `channel`, or with `block_id` and `action_id`.",
                        places(addresses)
                    ),
                ))
            }
            (None, _) => Err(SendFailure::new(
                "invalid_channel",
                format!(
                    "Answers to this event appear in {} only. Leave `channel` (and `block_id`, `action_id`) out, or post elsewhere through slack.send.",
                    places(addresses)
                ),
            )),
        }
    }
}

/// The conversations of `addresses`, for a refusal.
fn places(addresses: &[&ResponseUrl]) -> String {
    let place = |address: &&ResponseUrl| {
        let channel = address
            .channel
            .as_deref()
            .unwrap_or("the event's conversation");
        match (&address.block_id, &address.action_id) {
            (Some(block), Some(action)) => format!("{channel} ({block}, {action})"),
            _ => channel.to_owned(),
        }
    };
    addresses.iter().map(place).collect::<Vec<_>>().join(", ")
}

fn not_a_text(key: &str, other: &Value) -> SendFailure {
    let found = match other {
        Value::String(_) => "an empty text",
        other => kind(other),
    };
    let detail = format!("`{key}` must be a text; it is {found}.");
    SendFailure::new("invalid_arguments", detail)
}

/// Whether a flag is set. Slack takes a boolean and a text.
fn is_true(value: &Value) -> bool {
    *value == true || *value == "true"
}

fn has_content(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.trim().is_empty(),
        other => !is_absent(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Answer {
        let (_, answer) = Answer::read(&Event::parse(json.to_owned()).unwrap());
        answer.unwrap_or_else(|refusal| panic!("{json}: {refusal}"))
    }

    fn url(channel: &str, block: Option<&str>) -> ResponseUrl {
        ResponseUrl {
            url: format!("https://hooks.slack.com/{channel}"),
            channel: Some(channel.to_owned()),
            block_id: block.map(str::to_owned),
            action_id: block.map(|_| "a".to_owned()),
        }
    }

    #[test]
    fn keys_of_the_layer_and_of_djangobot_do_not_go_to_slack_and_none_is_absent() {
        let message = r#"{"type":"x","reply_channel":"app!1","id":7,"text":"hi","blocks":null,"channel":"C1","replace_original":true}"#;
        let (reply, answer) = Answer::read(&Event::parse(message).unwrap());
        assert_eq!(reply.channel.unwrap().as_str(), "app!1");
        assert_eq!((reply.request, &*reply.method), (7.into(), "response_url"));
        let body: Value = serde_json::from_slice(&answer.unwrap().json()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"text": "hi", "replace_original": true})
        );
    }

    #[test]
    fn a_response_to_a_dialog_goes_into_its_acknowledgement_and_messages_do_not() {
        let check = |kind: &str, json: &str, expect: bool| {
            let is = answer(json).fits_acknowledgement(Kind::of(kind));
            assert_eq!(is, expect, "{kind} {json}");
        };
        check("slash_commands", r#"{"text":"on it"}"#, true);
        check("view_submission", r#"{"response_action":"clear"}"#, true);
        check("view_submission", "{}", true);
        check("view_submission", r#"{"text":"done"}"#, false);
        check("dialog_submission", r#"{"errors":[]}"#, true);
        check("dialog_submission", r#"{"text":"done"}"#, false);
        check("block_suggestion", r#"{"options":[]}"#, true);
        check("block_actions", r#"{"text":"done"}"#, false);
        check("message_action", r#"{"text":"done"}"#, false);
    }

    #[test]
    fn an_answer_finds_its_address_by_conversation_or_block() {
        let (one, two) = (url("C1", Some("b1")), url("C2", Some("b2")));
        let names = |id: &str| (id == "C2").then(|| "random".to_owned());
        let check = |addresses: &[&ResponseUrl], json: &str, expect: Result<usize, &str>| {
            let found = answer(json).address(Kind::Dialog, addresses, names);
            let found = found.map_err(|refusal| {
                assert!(refusal.detail.ends_with('.'), "{refusal}");
                refusal.error
            });
            assert_eq!(found, expect.map_err(str::to_owned), "{json}");
        };
        let both = [&one, &two];
        check(&both, r#"{"text":"x","channel":"C2"}"#, Ok(1));
        check(&both, r##"{"text":"x","channel":"#random"}"##, Ok(1));
        check(&both, r#"{"text":"x","block_id":"b1"}"#, Ok(0));
        check(
            &both,
            r#"{"text":"x","block_id":"b1","channel":"C2"}"#,
            Err("invalid_channel"),
        );
        check(&both, r#"{"text":"x"}"#, Err("invalid_channel"));
        check(
            &both,
            r#"{"text":"x","channel":"C3"}"#,
            Err("invalid_channel"),
        );
        check(&both[..1], r#"{"text":"x"}"#, Ok(0));
        check(&both[..1], r#"{"text":"x","channel":"C1"}"#, Ok(0));
        check(
            &both[..1],
            r#"{"text":"x","channel":"C2"}"#,
            Err("invalid_channel"),
        );
        check(&[&one, &one], r#"{"text":"x"}"#, Ok(0));
        check(&[], r#"{"text":"x"}"#, Err("no_response_url"));
        check(&both, r#"{"response_action":"clear"}"#, Err("too_late"));
        check(&both[..1], r#"{"text":" "}"#, Err("no_text"));
        check(&both[..1], r#"{"replace_original":true}"#, Err("no_text"));
        check(&both[..1], r#"{"delete_original":true}"#, Ok(0));
        check(&both[..1], r#"{"delete_original":"true"}"#, Ok(0));
        check(&both[..1], r#"{"blocks":[{}]}"#, Ok(0));
    }

    #[test]
    fn an_answer_that_slack_would_not_understand_is_refused_with_a_sentence() {
        let check = |json: &str, expect: &str| {
            let (_, answer) = Answer::read(&Event::parse(json.to_owned()).unwrap());
            let refusal = answer.unwrap_err();
            assert_eq!(refusal.error, expect, "{json}");
            assert!(refusal.detail.ends_with('.'), "{refusal}");
        };
        check(
            r#"{"text":"x","method":"chat.update"}"#,
            "method_not_allowed",
        );
        check(r#"{"text":"x","thread_ts":true}"#, "invalid_arguments");
        check(r#"{"text":"x","response_type":5}"#, "invalid_arguments");
        check(r#"{"text":"x","channel":""}"#, "invalid_arguments");
        check(r#"{"text":"x","token":"xoxb-1"}"#, "invalid_arguments");
        check(r#"{"text":5}"#, "invalid_text");
        check(
            r#"{"text":"x","reply_channel":"a b"}"#,
            "invalid_reply_channel",
        );
    }
}
