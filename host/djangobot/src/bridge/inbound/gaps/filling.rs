//! A gap that is being filled: what waits for it, and how what came live and what history has become one.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Instant, SystemTime};

use djangobot_event::Event;
use djangobot_slack::{Frame, Origin, Ts};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::reader::Read;
use crate::bridge::moment::Micros;

/// A frame, and whether it is from history.
pub(crate) type Found = (Frame, bool);

/// A gap that is being filled.
pub(super) struct Filling {
    /// Conversations that are not read yet, once they are known; until then, it may be any.
    pub(super) pending: Option<HashSet<String>>,
    /// Those that are read, and up to when.
    pub(super) done: HashMap<String, Micros>,
    /// When what comes live goes on whatever is read; `None` once it does.
    pub(super) held_until: Option<Instant>,
    /// What came live, by conversation.
    pub(super) held: HashMap<String, VecDeque<Frame>>,
    pub(super) count: usize,
    pub(super) filled: usize,
    /// Conversations in which something waits.
    pub(super) urgent: mpsc::Sender<String>,
    pub(super) read: mpsc::Receiver<Read>,
    pub(super) _reader: AbortOnDropHandle<()>,
}

impl Filling {
    pub(super) fn waits(&self, conversation: &str) -> bool {
        let is_pending = self
            .pending
            .as_ref()
            .is_none_or(|pending| pending.contains(conversation));
        self.held_until.is_some() && is_pending
    }

    pub(super) fn release(&mut self, conversation: &str) -> VecDeque<Frame> {
        let frames = self.held.remove(conversation).unwrap_or_default();
        self.count -= frames.len();
        frames
    }

    /// Lets all go on that waits, and all that comes from here on.
    pub(super) fn release_all(&mut self, why: &str) -> Vec<Frame> {
        self.held_until = None;
        self.count = 0;
        let held = std::mem::take(&mut self.held);
        tracing::warn!(
            events = held.values().map(VecDeque::len).sum::<usize>(),
            "live events wait no longer for Slack's history, since {why}: what the history has may come behind them"
        );
        held.into_values().flatten().collect()
    }
}

/// What history has of a conversation and what came live in it meanwhile, in one order. What was said since a connection
/// was made is in both; and where there was more than one, what history has lies between what came live.
pub(crate) fn merge(messages: Vec<Event>, live: VecDeque<Frame>) -> Vec<Found> {
    let came: HashSet<_> = live.iter().filter_map(said_in).collect();
    let found = messages
        .into_iter()
        .filter(|event| said(event).is_none_or(|it| !came.contains(&it)));
    let found = found.map(|event| (old(event), true));
    let mut all: Vec<Found> = found
        .chain(live.into_iter().map(|frame| (frame, false)))
        .collect();
    // What is no message stays behind what came before it.
    let mut last = Ts::default();
    all.sort_by_cached_key(|(frame, _)| {
        last = said_in(frame)
            .and_then(|(_, ts)| Ts::parse(&ts))
            .unwrap_or(last);
        last
    });
    all
}

/// A message of history as a frame that came just now.
pub(crate) fn old(event: Event) -> Frame {
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

/// What history has too: a message, or a mention made of it, with its `ts`.
fn said(event: &Event) -> Option<(bool, String)> {
    let kind = event.text("/type")?;
    let is_message = &*kind == "message";
    let ts = event.text("/ts").map(Cow::into_owned)?;
    (is_message || &*kind == "app_mention").then_some((is_message, ts))
}

pub(super) fn said_in(frame: &Frame) -> Option<(bool, String)> {
    said(frame.event.as_ref().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_history_has_lies_between_what_came_live_over_several_connections() {
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
            ..old(event(json))
        });
        let merged = merge(history.map(event).to_vec(), VecDeque::from(live));
        let numbers: Vec<_> = merged
            .iter()
            .map(|(frame, is_old)| {
                let n = frame.event.as_ref().unwrap().get("/n").unwrap();
                (n.as_i64().unwrap(), *is_old)
            })
            .collect();
        let expect = [(1, false), (2, false), (3, true), (4, true), (5, false)];
        assert_eq!(numbers, expect);
    }
}
