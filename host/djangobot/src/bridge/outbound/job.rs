//! A message on its way out: where it is kept meanwhile, what is known of it, what is to be done with it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use djangobot_channels::{Delivery, Wire};
use djangobot_event::Event;
use serde_json::{Value, json};

use crate::bridge::message_key::MessageKey;
use crate::bridge::outbound::outbox::{Entry, Left, Outbox, RowId};
use crate::bridge::outbound::post::{Doubt, Record};
use crate::bridge::outbound::request::Request;
use crate::bridge::reply::{Refusal, Reply};

/// Where a message is kept until it is finished.
#[derive(Debug)]
pub(super) enum Held {
    Outbox(RowId),
    /// The layer alone has it; it is counted where the disk could not take it, so that it stays there.
    Layer(Box<Delivery>, Option<Counted>),
    /// What plugins made beside a message while the disk could not take it.
    Nowhere,
}

/// How long nothing is taken while messages stay in the layer: mostly, all are sent by then, and the disk has what follows.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages that stay in the layer until they are sent.
#[derive(Debug, Default)]
pub(super) struct Staying {
    newer: Counted,
    /// Those that were there when it was found that some stay for long.
    older: Counted,
    /// When some were there first, with none of the older ones.
    since: Option<Instant>,
}

/// One of them, for as long as this lives.
type Counted = Arc<()>;

impl Staying {
    /// Counts a message, if the layer has it.
    pub(super) fn mark(&self, mut message: Message) -> Message {
        if let Held::Layer(_, counted) = &mut message.held {
            *counted = Some(self.newer.clone());
        }
        message
    }

    /// Whether all of them are finished.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = is_single(&self.newer) && is_single(&self.older);
        if is_over {
            self.since = None;
        }
        is_over
    }

    /// Whether others have to join them, lest these expire on their channel: some have been there for longer than
    /// [`PATIENCE`], as those do that follow a call which fails for minutes.
    pub(super) fn lasts(&mut self, now: Instant) -> bool {
        if !is_single(&self.older) {
            return true;
        }
        if self.is_over() {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return false;
        }
        self.older = std::mem::take(&mut self.newer);
        self.since = None;
        true
    }
}

fn is_single(counted: &Counted) -> bool {
    Arc::strong_count(counted) == 1
}

/// A message that was taken, before anybody looked what it asks for.
pub(super) struct Message {
    pub(super) held: Held,
    pub(super) key: MessageKey,
    pub(super) content: Result<Event, Undecodable>,
    /// It has been through the plugins.
    pub(super) is_passed: bool,
    pub(super) doubt: Doubt,
    /// The ids of the files that an earlier run was about to share.
    pub(super) files: Vec<String>,
    /// It may have been called before, in an earlier life.
    pub(super) is_repeat: bool,
    /// How long ago it was taken.
    pub(super) age: Duration,
    /// What came of it already: only the app has to be told.
    pub(super) outcome: Option<Outcome>,
}

/// A message that can't be decoded whole.
pub(super) struct Undecodable {
    pub(super) refusal: Refusal,
    /// Where that goes, as far as it can be read.
    pub(super) reply: Reply,
}

/// A message that is not finished.
pub(super) struct Taken {
    pub(super) held: Held,
    pub(super) reply: Reply,
    pub(super) record: Record,
    pub(super) at: Instant,
    /// Bytes that it takes up here.
    pub(super) size: usize,
}

/// A message that has a lane.
pub(super) struct Job {
    pub(super) taken: Taken,
    pub(super) task: Task,
}

/// What is to be done with a message.
pub(super) enum Task {
    /// It can be sent as it is.
    Send(Request),
    /// It goes through the plugins first.
    Pass(Event),
    /// It can't be sent.
    Refuse(Refusal),
}

/// An outcome that the app has still to be told.
pub(super) struct Untold {
    pub(super) held: Held,
    pub(super) reply: Reply,
    pub(super) outcome: Outcome,
    /// The disk has it.
    pub(super) is_noted: bool,
}

/// Slack's answer, or why there is none.
pub(super) type Outcome = Result<Value, Refusal>;

impl Message {
    /// One that the layer gave.
    pub(super) fn given(
        delivery: Delivery,
        content: Result<Event, Undecodable>,
        wire: Wire,
    ) -> Self {
        Self {
            key: MessageKey::of(&delivery, wire),
            content,
            is_passed: false,
            doubt: match delivery.redelivered {
                true => Doubt::Faint { since: 0.0 },
                false => Doubt::None,
            },
            files: Vec::new(),
            is_repeat: delivery.redelivered,
            age: Duration::ZERO,
            outcome: None,
            held: Held::Layer(Box::new(delivery), None),
        }
    }

    /// One that waited on the disk, perhaps since an earlier run.
    pub(super) fn of(entry: Entry, left: &Left) -> Self {
        let is_left = entry.id.number() <= left.newest;
        let content = Event::parse(entry.message.clone()).map_err(|error| Undecodable {
            refusal: Refusal::new(
                "undecodable",
                format!("The message can't be read from the outbox: {error}."),
            ),
            reply: Reply::from(&Event::salvage(&entry.message, Reply::KEYS)),
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = now.unwrap_or_default().as_secs_f64() - entry.at;
        Self {
            held: Held::Outbox(entry.id),
            key: entry.key,
            content,
            is_passed: entry.passed || entry.begun.is_some(),
            doubt: match entry.begun {
                Some(since) => Doubt::Begun { since, why: None },
                None if is_left && left.is_in_doubt => Doubt::Faint { since: 0.0 },
                None => Doubt::None,
            },
            files: entry.files,
            is_repeat: is_left,
            age: Duration::try_from_secs_f64(age).unwrap_or_default(),
            outcome: entry.outcome.and_then(|json| outcome_of(&json)),
        }
    }

    /// Bytes that it takes up here.
    pub(super) fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |event| event.raw().len())
    }

    /// What is known of its call.
    pub(super) fn record(&self, outbox: &Outbox, max_age: Option<Duration>) -> Record {
        let left = max_age.map(|max_age| max_age.saturating_sub(self.age));
        Record {
            outbox: outbox.clone(),
            row: match self.held {
                Held::Outbox(row) => Some(row),
                Held::Layer(..) | Held::Nowhere => None,
            },
            key: self.key,
            doubt: self.doubt.clone(),
            files: self.files.clone(),
            is_repeat: self.is_repeat,
            deadline: left.and_then(|left| Instant::now().checked_add(left)),
        }
    }
}

/// An event as it lies in the outbox.
pub(super) fn text(event: &Event) -> Bytes {
    let mut json = Vec::with_capacity(event.raw().len());
    event.write_json(&mut json);
    json.into()
}

/// An outcome as it lies in the outbox.
pub(super) fn outcome_text(outcome: &Outcome) -> Bytes {
    let json = match outcome {
        Ok(answer) => json!({ "sent": answer }),
        Err(refusal) => json!({"error": refusal.error, "detail": refusal.detail}),
    };
    json.to_string().into()
}

fn outcome_of(json: &[u8]) -> Option<Outcome> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    if let Some(error) = value["error"].as_str() {
        let detail = value["detail"].as_str().unwrap_or_default();
        return Some(Err(Refusal::new(error, detail)));
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
            Err(Refusal::new("no_text", "It has no text.")),
        ] {
            assert_eq!(outcome_of(&outcome_text(&outcome)), Some(outcome));
        }
        assert_eq!(outcome_of(b"{}"), None);
        assert_eq!(outcome_of(b"nonsense"), None);
    }
    #[test]
    fn those_that_stay_for_long_are_joined_until_they_are_finished() {
        let (mut staying, start) = (Staying::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(staying.is_over() && !staying.lasts(at(0)));
        let first = staying.newer.clone();
        assert!(!staying.is_over());
        assert!(!staying.lasts(at(0)) && !staying.lasts(at(9)));
        assert!(staying.lasts(at(10)));
        let second = staying.newer.clone();
        assert!(staying.lasts(at(11)));
        drop(first);
        // What joined it has its own time to be sent.
        assert!(!staying.is_over() && !staying.lasts(at(12)));
        drop(second);
        assert!(staying.is_over());
        // The next ones have their own, too.
        let _third = staying.newer.clone();
        assert!(!staying.lasts(at(100)) && staying.lasts(at(110)));
    }
}
