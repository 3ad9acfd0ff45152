//! The events of several connections, merged in the order of their times before they go on.
//!
//! Slack deals an app's envelopes out to its connections, where later ones would overtake those that wait in another
//! connection's socket. So there are rounds: each connection reads all that waits in its socket, and what all of them
//! have then goes on by its time. The order within a connection is Slack's own and stays. Where there is one connection
//! alone, nothing is to be merged, and all goes on at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use djangobot_event::lock;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::transport::Incoming;
use crate::ts::Ts;

/// While events wait to go on, a connection reads until this much of its own waits, in bytes, so that a little traffic
/// does not keep it from answering pings.
const READ_AHEAD: usize = 1 << 20;

/// Events of connections that have ended are dropped beyond this many bytes: nobody can acknowledge them any more, so
/// that Slack redelivers them.
const LEFT: usize = 1 << 20;

/// How long an event waits for those before it that Slack gave another connection and that are still on their way.
const LINGER: Duration = Duration::from_millis(10);

/// The queues of all connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    out: mpsc::Sender<Incoming>,
    queues: Mutex<Queues>,
    /// Something came, or a connection has done its part of a round.
    changed: Notify,
    /// The number of the newest round.
    round: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queues {
    /// By the connections' numbers: the oldest comes first.
    of: BTreeMap<u64, Queue>,
    next: u64,
}

/// The events that a connection has read and that did not go on yet.
#[derive(Debug)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// The time of the newest event. An event without a time has that of the one before it.
    newest: Ts,
    /// The last round in which it has read all that waited.
    round: u64,
    /// It left something unread in that round, for want of room.
    leaves_some: bool,
    state: State,
    /// Notified when some of its items have gone on.
    room: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its session has not begun, before which nothing goes on.
    Arriving,
    Open,
    Ended,
}

#[derive(Debug)]
struct Item {
    at: Ts,
    read: Instant,
    bytes: usize,
    incoming: Incoming,
}

/// A connection's end of the merger. When it is dropped, what was read still goes on.
#[derive(Debug)]
pub(super) struct Lane {
    merger: Merger,
    number: u64,
    room: Arc<Notify>,
}

impl Merger {
    pub(super) fn new(out: mpsc::Sender<Incoming>) -> Self {
        Merger {
            shared: Arc::new(Shared {
                out,
                queues: Mutex::default(),
                changed: Notify::new(),
                round: watch::Sender::new(0),
            }),
        }
    }

    /// A lane for a connection that is about to arrive.
    pub(super) fn lane(&self) -> Lane {
        let room = Arc::new(Notify::new());
        let mut queues = self.queues();
        let number = queues.next;
        queues.next += 1;
        queues.of.insert(
            number,
            Queue {
                items: VecDeque::new(),
                bytes: 0,
                newest: Ts::default(),
                round: 0,
                leaves_some: false,
                state: State::Arriving,
                room: Arc::clone(&room),
            },
        );
        Lane {
            merger: self.clone(),
            number,
            room,
        }
    }

    /// The numbers of rounds, in each of which all that waits in a connection's socket is to be read.
    pub(super) fn rounds(&self) -> watch::Receiver<u64> {
        self.shared.round.subscribe()
    }

    /// Hands on what the connections read, until `cancel`; where nobody takes it any more, `cancel` is fired.
    pub(super) async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.hand_on() => cancel.cancel(),
            () = self.shared.out.closed() => cancel.cancel(),
        }
    }

    /// SlotSignals when nobody takes what is handed on.
    async fn hand_on(&self) {
        let mut round = 0;
        loop {
            let Some(oldest) = self.oldest() else {
                self.shared.changed.notified().await;
                continue;
            };
            let mut horizon = Ts::MAX;
            if self.is_merging() {
                let due = oldest + LINGER;
                tokio::time::sleep_until(due).await;
                let newest = self.newest_of(Instant::now() - LINGER);
                round += 1;
                self.shared.round.send_replace(round);
                while !self.have_all_read(round) {
                    self.shared.changed.notified().await;
                }
                horizon = self.queues().readable(newest);
            }
            loop {
                let Ok(permit) = self.shared.out.reserve().await else {
                    return;
                };
                // Sent with the queues in hand, so that nothing overtakes it.
                let mut queues = self.queues();
                let Some(incoming) = queues.first(horizon) else {
                    break;
                };
                permit.send(incoming);
            }
        }
    }

    /// When the first of all that waits was read.
    fn oldest(&self) -> Option<Instant> {
        let queues = self.queues();
        let heads = queues.going().filter_map(|queue| queue.items.front());
        heads.map(|item| item.read).min()
    }

    /// The newest time of what was read by the moment `by`.
    fn newest_of(&self, by: Instant) -> Ts {
        let queues = self.queues();
        let last = |queue: &Queue| {
            let count = queue.items.partition_point(|item| item.read <= by);
            Some(queue.items.get(count.checked_sub(1)?)?.at)
        };
        queues.going().filter_map(last).max().unwrap_or_default()
    }

    /// Whether there is more than one queue that something may come from.
    fn is_merging(&self) -> bool {
        self.queues().going().count() > 1
    }

    fn have_all_read(&self, round: u64) -> bool {
        let queues = self.queues();
        let mut open = queues.of.values().filter(|it| it.state == State::Open);
        open.all(|queue| queue.round >= round)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        lock::lock(&self.shared.queues)
    }
}

impl Queues {
    /// Those that things go on from.
    fn going(&self) -> impl Iterator<Item = &Queue> {
        let mut queues = self.of.values();
        std::iter::from_fn(move || queues.find(|queue| queue.state != State::Arriving))
    }

    /// The time up to which events may go on: `newest`, but nothing that is newer than an event that a connection left
    /// unread.
    fn readable(&self, newest: Ts) -> Ts {
        let unread = self.going().filter(|queue| queue.leaves_some);
        unread.map(|queue| queue.newest).fold(newest, Ts::min)
    }

    /// Takes the first of the waiting events that are not newer than `horizon`.
    fn first(&mut self, horizon: Ts) -> Option<Incoming> {
        let first = self
            .of
            .iter_mut()
            .filter(|(_, queue)| queue.state != State::Arriving)
            .filter_map(|(number, queue)| Some((queue.items.front()?.at, *number, queue)))
            .filter(|(at, _, _)| *at <= horizon)
            .min_by_key(|(at, number, _)| (*at, *number));
        let (_, number, queue) = first?;
        let item = queue.items.pop_front()?;
        let was_full = queue.bytes >= READ_AHEAD;
        queue.bytes -= item.bytes;
        if queue.items.is_empty() || (was_full && queue.bytes < READ_AHEAD) {
            queue.room.notify_one();
        }
        if queue.items.is_empty() && queue.state == State::Ended {
            self.of.remove(&number);
        }
        Some(item.incoming)
    }
}

impl Lane {
    /// Its session has begun: what was read goes on. It takes part in the rounds that follow.
    pub(super) fn open(&self) {
        let round = *self.merger.shared.round.borrow();
        self.change(|queue| {
            queue.state = State::Open;
            queue.round = round;
        });
    }

    /// Adds an event behind those that were read before.
    pub(super) fn push(&self, incoming: Incoming, bytes: usize) {
        let mut queues = self.merger.queues();
        let is_alone = queues.of.len() == 1;
        let Some(queue) = queues.of.get_mut(&self.number) else {
            return;
        };
        let incoming = if is_alone && queue.state == State::Open && queue.items.is_empty() {
            match self.merger.shared.out.try_send(incoming) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(incoming)
                    | mpsc::error::TrySendError::Closed(incoming),
                ) => incoming,
            }
        } else {
            incoming
        };
        queue.newest = queue.newest.max(time_of(&incoming).unwrap_or_default());
        queue.bytes += bytes;
        queue.items.push_back(Item {
            at: queue.newest,
            read: Instant::now(),
            bytes,
            incoming,
        });
        drop(queues);
        self.merger.shared.changed.notify_one();
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.look(|queue| queue.bytes < READ_AHEAD).unwrap_or(false)
    }

    /// Whether all events that were read have gone on.
    pub(super) fn is_empty(&self) -> bool {
        self.look(|queue| queue.items.is_empty()).unwrap_or(true)
    }

    /// Waits until an event has gone on.
    pub(super) async fn moved(&self) {
        self.room.notified().await;
    }

    /// Notes that everything was read in `round`, or as much as there was room for.
    pub(super) fn has_read(&self, round: u64, leaves_some: bool) {
        self.change(|queue| {
            queue.round = round;
            queue.leaves_some = leaves_some;
        });
    }

    /// Drops the events that were read and did not go on.
    pub(super) fn clear(&self) {
        self.change(|queue| {
            queue.items.clear();
            queue.bytes = 0;
            queue.leaves_some = false;
        });
    }

    /// Notes that nothing more is read, so that no round waits for this connection.
    pub(super) fn end(&self) {
        self.change(|queue| {
            queue.round = u64::MAX;
            queue.leaves_some = false;
        });
    }

    fn look<T>(&self, what: impl FnOnce(&Queue) -> T) -> Option<T> {
        self.merger.queues().of.get(&self.number).map(what)
    }

    fn change(&self, how: impl FnOnce(&mut Queue)) {
        if let Some(queue) = self.merger.queues().of.get_mut(&self.number) {
            how(queue);
        }
        self.merger.shared.changed.notify_one();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut queues = self.merger.queues();
        let ended = queues.of.values().filter(|it| it.state == State::Ended);
        let left: usize = ended.map(|queue| queue.bytes).sum();
        if let Some(queue) = queues.of.get_mut(&self.number) {
            let goes_on =
                queue.state == State::Open && !queue.items.is_empty() && left + queue.bytes <= LEFT;
            queue.state = State::Ended;
            queue.leaves_some = false;
            if !goes_on {
                queues.of.remove(&self.number);
            }
        }
        drop(queues);
        self.merger.shared.changed.notify_one();
    }
}

/// When Slack says that it happened.
fn time_of(incoming: &Incoming) -> Option<Ts> {
    match incoming {
        Incoming::Frame(frame) => Ts::parse(&frame.event.as_ref().ok()?.text("/event_ts")?),
        Incoming::Expected(_)
        | Incoming::Connected(_)
        | Incoming::Refreshed
        | Incoming::Deaf
        | Incoming::Disconnected { .. } => None,
    }
}

#[cfg(test)]
mod tests;
