//! A message on its way out: the place in which it is stored, its state, and its next task.

use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_channels::{Delivery, Wire};
use djangobot_event::Event;
use serde_json::{Value, json};

use crate::bridge::message_key::MessageKey;
use crate::bridge::moment::{between, ts_now, ts_of_seconds};
use crate::bridge::outbound::layer_only::LayerOnlyCount;
use crate::bridge::outbound::outbox::{Backlog, Outbox, RowId, StoredMessage};
use crate::bridge::outbound::post::{CallTime, Doubt, LowerBound, Record};
use crate::bridge::outbound::request::Request;
use crate::bridge::reply::{Reply, SendFailure};

/// The place in which a message is stored until it is finished.
#[derive(Debug)]
pub(super) enum StoredIn {
    Outbox(RowId),
    /// Only in the layer. It has a count if the disk refused it.
    Layer(Box<Delivery>, Option<LayerOnlyCount>),
    /// Only in memory: a plugin added it while the disk failed.
    Nowhere,
}

/// A message that was taken, and whose request was not read yet.
pub(super) struct Message {
    pub(super) stored_in: StoredIn,
    pub(super) key: MessageKey,
    pub(super) content: Result<Event, DecodeFailure>,
    /// Whether it has been through the plugins.
    pub(super) has_passed_plugins: bool,
    pub(super) doubt: Doubt,
    /// The ids of the files that an earlier run was about to share.
    pub(super) files: Vec<String>,
    /// Whether an earlier run may have made its call.
    pub(super) is_repeat: bool,
    /// How long ago it was taken.
    pub(super) age: Duration,
    /// Its outcome, if only the report to the app is missing.
    pub(super) outcome: Option<Outcome>,
}

/// The failure to decode a message.
pub(super) struct DecodeFailure {
    pub(super) failure: SendFailure,
    /// The channel for the outcome, as far as it can be read.
    pub(super) reply: Reply,
}

/// The state of a message that is not finished.
pub(super) struct MessageState {
    pub(super) stored_in: StoredIn,
    pub(super) reply: Reply,
    pub(super) record: Record,
    /// When it was queued.
    pub(super) since: Instant,
    /// The bytes that it takes up in memory.
    pub(super) size: usize,
}

/// A message in its lane.
pub(super) struct Job {
    pub(super) state: MessageState,
    pub(super) task: Task,
}

/// The next task for a message.
pub(super) enum Task {
    /// Make its call.
    Send(Request),
    /// Give it to the plugins.
    Pass(Event),
    /// Refuse it, with this outcome.
    Refuse(SendFailure),
}

/// An outcome that has still to be reported to the app.
pub(super) struct PendingOutcome {
    pub(super) stored_in: StoredIn,
    pub(super) reply: Reply,
    pub(super) outcome: Outcome,
    /// Whether the disk has the outcome.
    pub(super) is_noted: bool,
}

/// Slack's answer, or the failure.
pub(super) type Outcome = Result<Value, SendFailure>;

impl Message {
    /// The message that the layer gave.
    pub(super) fn received(
        delivery: Delivery,
        content: Result<Event, DecodeFailure>,
        wire: Wire,
    ) -> Self {
        Self {
            key: MessageKey::of(&delivery, wire),
            content,
            has_passed_plugins: false,
            doubt: match delivery.redelivered {
                true => Doubt::Faint(CallTime::until_now(LowerBound::Accepted(ts_of_seconds(
                    delivery.place.score,
                )))),
                false => Doubt::None,
            },
            files: Vec::new(),
            is_repeat: delivery.redelivered,
            age: Duration::ZERO,
            outcome: None,
            stored_in: StoredIn::Layer(Box::new(delivery), None),
        }
    }

    /// The message that waited on the disk, maybe since an earlier run.
    pub(super) fn loaded(entry: StoredMessage, backlog: &Backlog) -> Self {
        let is_left = entry.id.number() <= backlog.newest;
        let content = Event::parse(entry.message.clone()).map_err(|error| DecodeFailure {
            failure: SendFailure::new(
                "undecodable",
                format!("The message can't be read from the outbox: {error}."),
            ),
            reply: Reply::from(&Event::salvage(&entry.message, Reply::KEYS)),
        });
        // The calls of an earlier run ended before this one began.
        let time = |since| match is_left {
            true => CallTime {
                since,
                ended: backlog.at,
            },
            false => CallTime::until_now(since),
        };
        Self {
            stored_in: StoredIn::Outbox(entry.id),
            key: entry.key,
            content,
            has_passed_plugins: entry.passed || entry.begun.is_some(),
            doubt: match entry.begun {
                Some(since) => Doubt::Begun {
                    time: time(LowerBound::Slack(since)),
                    why: None,
                },
                None if is_left && backlog.is_in_doubt => {
                    Doubt::Faint(time(LowerBound::Accepted(entry.taken_at)))
                }
                None => Doubt::None,
            },
            files: entry.files,
            is_repeat: is_left,
            age: between(entry.taken_at, ts_now()),
            outcome: entry.outcome.and_then(|json| outcome_of(&json)),
        }
    }

    /// The bytes that it takes up in memory.
    pub(super) fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |event| event.raw().len())
    }

    /// The record of its call.
    pub(super) fn record(&self, outbox: &Outbox, max_age: Option<Duration>) -> Record {
        let left = max_age.map(|max_age| max_age.saturating_sub(self.age));
        Record {
            outbox: outbox.clone(),
            row: match self.stored_in {
                StoredIn::Outbox(row) => Some(row),
                StoredIn::Layer(..) | StoredIn::Nowhere => None,
            },
            key: self.key,
            doubt: self.doubt.clone(),
            files: self.files.clone(),
            is_repeat: self.is_repeat,
            deadline: left.and_then(|left| Instant::now().checked_add(left)),
        }
    }
}

/// An event in the form in which the outbox stores it.
pub(super) fn text(event: &Event) -> Bytes {
    let mut json = Vec::with_capacity(event.raw().len());
    event.write_json(&mut json);
    json.into()
}

/// An outcome in the form in which the outbox stores it.
pub(super) fn outcome_text(outcome: &Outcome) -> Bytes {
    let json = match outcome {
        Ok(answer) => json!({ "sent": answer }),
        Err(refusal) => json!({"error": refusal.error, "detail": refusal.detail}),
    };
    json.to_string().into()
}

/// Reads an outcome of the outbox; `None` if another version wrote it in another form.
fn outcome_of(json: &[u8]) -> Option<Outcome> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    if let Some(error) = value["error"].as_str() {
        let detail = value["detail"].as_str().unwrap_or_default();
        return Some(Err(SendFailure::new(error, detail)));
    }
    Some(Ok(value.get_mut("sent")?.take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_as_it_was_written() {
        for outcome in [
            Ok(json!({"ok": true, "ts": "1.2"})),
            Err(SendFailure::new("no_text", "It has no text.")),
        ] {
            assert_eq!(outcome_of(&outcome_text(&outcome)), Some(outcome));
        }
        assert_eq!(outcome_of(b"{}"), None);
        assert_eq!(outcome_of(b"nonsense"), None);
    }
}
