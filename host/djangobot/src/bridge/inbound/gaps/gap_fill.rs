//! A gap that is being filled: the live frames that wait for it, and how they and the messages of history are merged.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Instant, SystemTime};

use djangobot_event::Event;
use djangobot_slack::{Frame, Origin, Ts};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::bridge::inbound::gaps::reader::ReaderReport;

/// A frame that goes on.
pub(crate) struct ReleasedFrame {
    pub(crate) frame: Frame,
    pub(crate) is_from_history: bool,
}

impl ReleasedFrame {
    /// A frame that came live.
    pub(crate) fn live(frame: Frame) -> Self {
        Self {
            frame,
            is_from_history: false,
        }
    }
}

/// A gap that is being filled.
pub(super) struct GapFill {
    /// Conversations that are still to be read. `None` until Slack has listed them: each one may be among them then.
    pub(super) pending: Option<HashSet<String>>,
    /// Conversations that are read, and up to which moment.
    pub(super) done: HashMap<String, Ts>,
    /// Until when live frames wait. `None` once they wait no longer, whatever is still to be read.
    pub(super) held_until: Option<Instant>,
    pub(super) held: HeldFrames,
    /// How many messages of history had not come live.
    pub(super) filled: usize,
    /// Tells the reader in which conversations frames wait.
    pub(super) urgent: mpsc::Sender<String>,
    pub(super) read: mpsc::Receiver<ReaderReport>,
    pub(super) _reader: AbortOnDropHandle<()>,
}

/// Live frames that wait for the history of their conversation.
#[derive(Default)]
pub(super) struct HeldFrames {
    /// By conversation, each in the order in which they came.
    by_conversation: HashMap<String, VecDeque<Frame>>,
    /// How many there are in all.
    count: usize,
}

impl HeldFrames {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a frame of `conversation`. Says whether it is the first one.
    pub(super) fn push(&mut self, conversation: &str, frame: Frame) -> bool {
        let frames = self
            .by_conversation
            .entry(conversation.to_owned())
            .or_default();
        frames.push_back(frame);
        self.count += 1;
        frames.len() == 1
    }

    /// The conversations whose frames wait.
    pub(super) fn conversations(&self) -> impl Iterator<Item = &String> {
        self.by_conversation.keys()
    }

    /// Takes the frames of `conversation`.
    pub(super) fn take(&mut self, conversation: &str) -> VecDeque<Frame> {
        let frames = self
            .by_conversation
            .remove(conversation)
            .unwrap_or_default();
        self.count -= frames.len();
        frames
    }

    /// All frames, by conversation.
    pub(super) fn into_conversations(self) -> impl Iterator<Item = (String, VecDeque<Frame>)> {
        self.by_conversation.into_iter()
    }

    /// All frames, each conversation's in their order.
    pub(super) fn into_frames(self) -> impl Iterator<Item = Frame> {
        self.by_conversation.into_values().flatten()
    }
}

impl GapFill {
    /// Whether a live frame of `conversation` has to wait for its history.
    pub(super) fn must_wait(&self, conversation: &str) -> bool {
        let is_pending = self
            .pending
            .as_ref()
            .is_none_or(|pending| pending.contains(conversation));
        self.held_until.is_some() && is_pending
    }

    /// Takes all frames that wait. Those that come later do not wait at all.
    pub(super) fn release_all(&mut self, why: &str) -> Vec<Frame> {
        self.held_until = None;
        let held = std::mem::take(&mut self.held);
        tracing::warn!(
            events = held.len(),
            "live events wait no longer for Slack's history, because {why}; older messages of the history may come after them"
        );
        held.into_frames().collect()
    }
}

/// Merges the messages that history has of a conversation with the frames that came live in it meanwhile, ordered by
/// `ts`. A message that is in both goes on as it came live. Live frames lie before and after those of history where
/// there was more than one connection.
pub(crate) fn merge(messages: Vec<Event>, live: VecDeque<Frame>) -> Vec<ReleasedFrame> {
    let came: HashSet<_> = live.iter().filter_map(history_key_of).collect();
    let found = messages
        .into_iter()
        .filter(|event| history_key(event).is_none_or(|it| !came.contains(&it)));
    let found = found.map(|event| ReleasedFrame {
        frame: frame_from_history(event),
        is_from_history: true,
    });
    let mut all: Vec<ReleasedFrame> = found
        .chain(live.into_iter().map(ReleasedFrame::live))
        .collect();
    // An event that is not a message has no place in history: it stays behind the message that came before it.
    let mut last = Ts::default();
    all.sort_by_cached_key(|released| {
        last = history_key_of(&released.frame)
            .and_then(|key| Ts::parse(&key.ts))
            .unwrap_or(last);
        last
    });
    all
}

/// A message of history as a frame that came just now.
pub(crate) fn frame_from_history(event: Event) -> Frame {
    Frame {
        event: Ok(event),
        origin: Origin {
            attempt: 2,
            retry_reason: Some("history".into()),
            ..Origin::default()
        },
        ack: None,
        received: SystemTime::now(),
        arrived: Instant::now(),
    }
}

/// The key of an event that history has too, within its conversation.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct HistoryKey {
    /// Whether it is the message itself. Otherwise it is the mention that Slack makes of one, with the same `ts`.
    is_message: bool,
    ts: String,
}

fn history_key(event: &Event) -> Option<HistoryKey> {
    let kind = event.text("/type")?;
    let is_message = &*kind == "message";
    let ts = event.text("/ts").map(Cow::into_owned)?;
    (is_message || &*kind == "app_mention").then_some(HistoryKey { is_message, ts })
}

/// The key of the event in a frame; `None` for a frame that no history has.
pub(super) fn history_key_of(frame: &Frame) -> Option<HistoryKey> {
    history_key(frame.event.as_ref().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_history_lie_between_live_ones_of_several_connections() {
        let event = |json: &'static str| Event::parse(json).unwrap();
        let live = [
            r#"{"type":"message","ts":"1.0","n":1}"#,
            r#"{"type":"reaction_added","event_ts":"9.9","n":2}"#,
            r#"{"type":"message","ts":"4.0","n":5}"#,
        ];
        let history = [
            r#"{"type":"message","ts":"1.0","n":0}"#,
            r#"{"type":"message","ts":"2.0","n":3}"#,
            r#"{"type":"message","ts":"3.0","n":4}"#,
        ];
        let live = live.map(|json| Frame {
            origin: Origin::default(),
            ..frame_from_history(event(json))
        });
        let merged = merge(history.map(event).to_vec(), VecDeque::from(live));
        let numbers: Vec<_> = merged
            .iter()
            .map(|released| {
                let event = released.frame.event.as_ref().unwrap();
                let n = event.get("/n").unwrap().as_i64().unwrap();
                (n, released.is_from_history)
            })
            .collect();
        let expect = [(1, false), (2, false), (3, true), (4, true), (5, false)];
        assert_eq!(numbers, expect);
    }
}
