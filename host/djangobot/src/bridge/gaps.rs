//! Gaps in what came on RTM, filled from Slack's history.
//!
//! RTM acknowledges nothing and repeats nothing: what is said while nobody is connected is only in the history. So after
//! each connection the conversations that the bot is in are read from the last moment up to which all is known to be
//! safe. Until a conversation is read, what comes live in it waits, so that the order within it is kept; one in which
//! something waits is read before others.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use djangobot_event::Event;
use djangobot_slack::history::{Gap, History, HistoryError};
use djangobot_slack::{Frame, Origin};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::custody::{Ledger, Micros};
use super::inbound::micros_of;
use super::passage;
use crate::config::HistorySettings;
use crate::metrics::Metrics;

/// Events that may wait for their conversation's history; beyond it they go on, order or not.
const HELD: usize = 10_000;
/// Without an earlier moment that is known, the first connection's counts from so long before our clock's time: clocks
/// differ.
const MARGIN: Duration = Duration::from_secs(60);
/// Slack's events come nearly in the order of their times: how far one may be behind another.
const OVERLAP: Duration = Duration::from_secs(5);

/// Follows connections, and fills what lies between them.
pub(crate) struct Gaps {
    history: History,
    settings: HistorySettings,
    ledger: Ledger,
    metrics: Metrics,
    filling: Option<Filling>,
}

/// A gap that is being filled.
struct Filling {
    /// Conversations that are not read yet, once they are known; until then, it may be any.
    pending: Option<HashSet<String>>,
    /// What came live, by conversation.
    held: HashMap<String, VecDeque<Frame>>,
    count: usize,
    filled: usize,
    /// Conversations in which something waits.
    urgent: mpsc::Sender<String>,
    read: mpsc::Receiver<Read>,
    _reader: AbortOnDropHandle<()>,
}

/// What the reader tells.
enum Read {
    /// The conversations that it will read.
    Joined(Vec<String>),
    /// One of them, whether it could be read or not.
    Conversation(String, Vec<Event>),
    /// It is done; or Slack can't be asked now, and the gap stays for the next connection.
    Over { is_whole: bool },
}

/// A frame, and whether it is from history.
pub(crate) type Found = (Frame, bool);

impl Gaps {
    pub(crate) fn new(
        history: History,
        settings: HistorySettings,
        ledger: Ledger,
        metrics: Metrics,
    ) -> Self {
        Self {
            history,
            settings,
            ledger,
            metrics,
            filling: None,
        }
    }

    /// A session has begun: what came before it and after the last moment that is known is a gap.
    pub(crate) fn connected(&mut self) {
        if self.settings.reach.is_zero() {
            return;
        }
        let now = self.now();
        let Some(since) = self.ledger.freeze() else {
            self.ledger
                .set_mark(now.saturating_sub(MARGIN.as_micros() as Micros));
            return;
        };
        let reach = self.settings.reach.as_micros() as Micros;
        let since = since.saturating_sub(OVERLAP.as_micros() as Micros);
        let since = since.max(now.saturating_sub(reach));
        // What waited for the last reader waits for this one.
        let (held, count) = self
            .filling
            .take()
            .map_or_else(Default::default, |it| (it.held, it.count));
        let (urgent, wanted) = mpsc::channel(64);
        let (out, read) = mpsc::channel(8);
        let reader = Reader {
            history: self.history.clone(),
            settings: self.settings,
            since: ts_of(since),
            threads_since: ts_of(since.saturating_sub(reach)),
            wanted,
            out,
        };
        self.filling = Some(Filling {
            pending: None,
            held,
            count,
            filled: 0,
            urgent,
            read,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())),
        });
    }

    /// Keeps a frame that has to wait for its conversation's history; gives back what does not.
    pub(crate) fn hold(&mut self, frame: Frame) -> Vec<Frame> {
        let Some(filling) = &mut self.filling else {
            return vec![frame];
        };
        let conversation = frame
            .event
            .as_ref()
            .map(passage::conversation)
            .unwrap_or_default();
        if conversation.is_empty() || !filling.waits(&conversation) {
            return vec![frame];
        }
        if filling.count >= HELD {
            tracing::warn!(
                events = filling.count,
                "too many events wait for Slack's history: they go on, and what the history has may come behind them"
            );
            let mut all = self.give_up();
            all.push(frame);
            return all;
        }
        filling.count += 1;
        let held = filling.held.entry(conversation.clone()).or_default();
        held.push_back(frame);
        if held.len() == 1 {
            // Where many are wanted, one more is read in its turn.
            let _ = filling.urgent.try_send(conversation);
        }
        Vec::new()
    }

    /// What history has, and what waited for it; never, while there is no gap.
    pub(crate) async fn next(&mut self) -> Vec<Found> {
        let read = match &mut self.filling {
            Some(filling) => filling.read.recv().await,
            None => std::future::pending().await,
        };
        let Some(filling) = &mut self.filling else {
            return Vec::new();
        };
        match read {
            Some(Read::Joined(ids)) => {
                let pending: HashSet<String> = ids.into_iter().collect();
                let free: Vec<String> = filling
                    .held
                    .keys()
                    .filter(|id| !pending.contains(*id))
                    .cloned()
                    .collect();
                filling.pending = Some(pending);
                let freed = free.iter().flat_map(|id| filling.release(id));
                freed.map(|frame| (frame, false)).collect()
            }
            Some(Read::Conversation(id, messages)) => {
                if let Some(pending) = &mut filling.pending {
                    pending.remove(&id);
                }
                let live = filling.release(&id);
                merge(messages, live)
            }
            Some(Read::Over { is_whole: true }) => {
                if filling.filled > 0 {
                    tracing::info!(
                        messages = filling.filled,
                        "messages that came while nobody was connected were read from Slack's history"
                    );
                }
                let rest = self.give_up();
                self.ledger.thaw();
                rest.into_iter().map(|frame| (frame, false)).collect()
            }
            Some(Read::Over { is_whole: false }) | None => {
                let rest = self.give_up();
                rest.into_iter().map(|frame| (frame, false)).collect()
            }
        }
    }

    /// Counts a message of history that had not come before.
    pub(crate) fn found(&mut self) {
        self.metrics.history().increment(1);
        if let Some(filling) = &mut self.filling {
            filling.filled += 1;
        }
    }

    /// Ends the filling for a stop; gives what is nowhere but here. A message of a conversation that was going to be read
    /// is not: it comes again, behind those before it, when the gap is filled after the next start.
    pub(crate) fn stop(&mut self) -> Vec<Frame> {
        let Some(filling) = self.filling.take() else {
            return Vec::new();
        };
        let Filling { pending, held, .. } = filling;
        let comes_again = |id: &str, frame: &Frame| {
            let is_pending = pending.as_ref().is_some_and(|pending| pending.contains(id));
            is_pending && ts_of_frame(frame).is_some()
        };
        let held = held.into_iter().flat_map(|(id, mut frames)| {
            frames.retain(|frame| !comes_again(&id, frame));
            frames
        });
        held.collect()
    }

    /// The time, in Slack's words where it has told it: what is looked for lies in its history.
    fn now(&self) -> Micros {
        let slacks = self.history.slack_time();
        slacks.map_or_else(micros_now, |seconds| (seconds * 1e6) as Micros)
    }

    /// Ends the filling; gives what waited for it. The gap stays open until a later one is filled.
    pub(crate) fn give_up(&mut self) -> Vec<Frame> {
        let held = self.filling.take().map(|filling| filling.held);
        held.into_iter()
            .flatten()
            .flat_map(|(_, frames)| frames)
            .collect()
    }
}

impl Filling {
    fn waits(&self, conversation: &str) -> bool {
        self.pending
            .as_ref()
            .is_none_or(|pending| pending.contains(conversation))
    }

    fn release(&mut self, conversation: &str) -> VecDeque<Frame> {
        let frames = self.held.remove(conversation).unwrap_or_default();
        self.count -= frames.len();
        frames
    }
}

/// Reads the history of one gap, conversation by conversation.
struct Reader {
    history: History,
    settings: HistorySettings,
    since: String,
    threads_since: String,
    wanted: mpsc::Receiver<String>,
    out: mpsc::Sender<Read>,
}

impl Reader {
    async fn run(mut self) {
        let is_whole = self.read().await;
        // Nobody listens any more where another connection was made since.
        let _ = self.out.send(Read::Over { is_whole }).await;
    }

    /// Whether all was read that can be.
    async fn read(&mut self) -> bool {
        let joined = match self.history.joined().await {
            Ok(joined) => joined,
            Err(error) => {
                tracing::warn!(
                    "what was said while nobody was connected can't be read from Slack's history: {error}"
                );
                return matches!(error, HistoryError::NotPossible(_));
            }
        };
        for (kind, error) in &joined.not_listed {
            tracing::warn!(
                kind,
                "conversations of a kind are left out of gaps: {error}"
            );
        }
        let mut ids = joined.ids;
        if ids.len() > self.settings.conversations {
            tracing::warn!(
                conversations = ids.len(),
                read = self.settings.conversations,
                "the bot is in more conversations than are read after a gap; history.conversations below [slack] allows more"
            );
            ids.truncate(self.settings.conversations);
        }
        if self.out.send(Read::Joined(ids.clone())).await.is_err() {
            return false;
        }
        let mut waiting: VecDeque<String> = ids.into();
        let mut unreadable = 0;
        while !waiting.is_empty() {
            while let Ok(wanted) = self.wanted.try_recv() {
                if let Some(at) = waiting.iter().position(|id| *id == wanted) {
                    waiting.swap(0, at);
                }
            }
            let Some(channel) = waiting.pop_front() else {
                break;
            };
            let gap = Gap {
                channel: &channel,
                after: &self.since,
                until: None,
                threads_since: Some(&self.threads_since),
                at_most: self.settings.messages,
            };
            let messages = match self.history.fill(&gap).await {
                Ok(filled) => {
                    if !filled.is_whole {
                        tracing::warn!(
                            channel,
                            read = filled.messages.len(),
                            "more was said while nobody was connected than is read; history.messages below [slack] allows more"
                        );
                    }
                    filled.messages
                }
                Err(HistoryError::NotPossible(error)) => {
                    if unreadable == 0 {
                        tracing::warn!("a conversation's history can't be read: {error}");
                    }
                    unreadable += 1;
                    Vec::new()
                }
                Err(HistoryError::Failed(error)) => {
                    tracing::warn!("Slack's history can't be read now: {error}");
                    return false;
                }
            };
            let read = Read::Conversation(channel, messages);
            if self.out.send(read).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// What history has of a conversation and what came live in it meanwhile, in one order. What was said since a connection
/// was made is in both; and where there was more than one, what history has lies between what came live.
fn merge(messages: Vec<Event>, live: VecDeque<Frame>) -> Vec<Found> {
    let came: HashSet<String> = live.iter().filter_map(ts_of_frame).collect();
    let is_missing = |event: &Event| event.text("/ts").is_none_or(|ts| !came.contains(&*ts));
    let found = messages.into_iter().filter(is_missing);
    let found = found.map(|event| (old(event), true));
    let mut all: Vec<Found> = found
        .chain(live.into_iter().map(|frame| (frame, false)))
        .collect();
    // What is no message stays behind what came before it.
    let mut last = 0;
    all.sort_by_cached_key(|(frame, _)| {
        last = ts_of_frame(frame)
            .and_then(|ts| micros_of(&ts))
            .unwrap_or(last);
        last
    });
    all
}

/// A message of history as a frame that came just now.
fn old(event: Event) -> Frame {
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

/// The `ts` of a message that came live.
fn ts_of_frame(frame: &Frame) -> Option<String> {
    let event = frame.event.as_ref().ok()?;
    let is_message = event.text("/type")? == "message";
    is_message
        .then(|| event.text("/ts").map(Cow::into_owned))
        .flatten()
}

/// A moment as Slack writes it.
fn ts_of(micros: Micros) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn micros_now() -> Micros {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_micros() as Micros
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
