//! The queue of one channel of the layer: the older events are on the disk, the newer ones in memory, in one order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelName, Member};
use djangobot_event::lock::lock;
use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::custody::Custody;
use crate::bridge::inbound::delivery::layer_contents::OutgoingEvent;
use crate::config::Unread;

/// The most bytes that go to the layer in one call, unless a single event has more. It is half of the smallest limit on
/// requests that hosted servers are known to have.
pub(super) const BATCH_BYTES: usize = 512 << 10;
/// The most events that go to the layer in one call.
pub(super) const BATCH_EVENTS: usize = 512;
/// The most bytes that wait in memory for one channel. The config bounds the number of events as well.
const HOLD_BYTES: usize = 16 << 20;

/// The most that goes to the layer in one call. A single event may have more bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// The queue of one channel.
pub(super) struct Queue {
    pub(super) channel: ChannelName,
    /// The policy while the channel takes no events.
    pub(super) unread: Unread,
    /// The most events that wait in memory.
    hold: usize,
    waiting: Mutex<QueueState>,
    /// Notified when there may be something for the layer.
    pub(super) layer_work: Notify,
    /// Notified when there may be something for the disk.
    pub(super) disk_work: Notify,
    /// Notified when there may be room again, or when waiting for it has become useless.
    pub(super) room: Notify,
    /// Cancelled when no more events come.
    pub(super) closing: CancellationToken,
    pub(super) held: Gauge,
    pub(super) discarded: Counter,
}

/// The events of a queue, and its watermarks.
///
/// Each event has a number, and numbers grow. A queue is cut by its watermarks into events that the layer has (up to
/// `settled`), events on the disk (up to `newest_on_disk`) and events in memory (`events`), in this order:
///
/// - `newest_on_disk <= handed_to_disk`: the spiller hands events over first, and the disk has them later. Only events
///   up to `handed_to_disk` can be on the disk.
/// - `newest_on_disk` < the number of each event in `events`, since an event leaves memory when the disk has it.
/// - While `newest_on_disk > settled`, older events lie on the disk, and those in memory wait behind them.
/// - `settled` only grows, except when events are taken back from the layer to the disk.
/// - `forgotten <= settled`: an event is deleted from the disk once the layer has it, and only if something was handed
///   to the disk since the last time (`handed_to_disk > forgotten`).
///
/// So the courier, which moves `settled`, and the spiller, which moves the other two, need no agreement about single
/// events: an event that both take at the same time is in the layer and on the disk, and is deleted from the disk.
#[derive(Default)]
pub(super) struct QueueState {
    pub(super) events: VecDeque<QueuedEvent>,
    bytes: usize,
    /// Whether no more events come.
    pub(super) is_closed: bool,
    /// How many of the oldest in `events` are being sent: these are not given up, because the layer may have them.
    sending: usize,
    /// Whether the layer took less than it was given, the last time.
    pub(super) is_stuck: bool,
    /// Whether the disk failed, the last time.
    pub(super) disk_failed: bool,
    /// How many events are on the disk.
    pub(super) on_disk: u64,
    /// The number of the newest event on the disk.
    pub(super) newest_on_disk: u64,
    /// The number of the newest event that was handed to the disk, which may not have taken it yet.
    pub(super) handed_to_disk: u64,
    /// All events up to this number are in the layer, or were given up.
    pub(super) settled: u64,
    /// All events up to this number were deleted from the disk, or were tried to be.
    forgotten: u64,
    /// The number up to which deleting settled events failed. It is tried again.
    pub(super) forget_failed: Option<u64>,
}

/// An event in memory.
pub(super) struct QueuedEvent {
    pub(super) seq: u64,
    /// `djangobot.id`.
    pub(super) id: Arc<str>,
    pub(super) member: Member,
    /// When the member was made. Readers refuse one that was encrypted too long ago.
    pub(super) sealed: Instant,
    pub(super) arrived: Instant,
    /// `None` once the event is marked as safe.
    pub(super) custody: Option<Custody>,
}

impl QueuedEvent {
    /// Marks the event as safe, once.
    pub(super) fn mark_safe(&mut self) {
        if let Some(custody) = self.custody.take() {
            custody.mark_safe();
        }
    }
}

/// The result of settling events.
pub(super) struct SettleResult {
    /// The settled events that were in memory.
    pub(super) gone: Vec<QueuedEvent>,
    /// The number up to which events have to be deleted from the disk, if it may have any.
    pub(super) forget: Option<u64>,
    /// How many events still wait.
    pub(super) left: u64,
}

/// The result of writing events to the disk.
pub(super) struct SpillResult {
    /// The written events, which were in memory.
    pub(super) gone: Vec<QueuedEvent>,
    /// The number up to which the layer took them while they were written, so that they have to be deleted from the
    /// disk.
    pub(super) forget: Option<u64>,
}

impl Queue {
    pub(super) fn new(
        channel: &ChannelName,
        unread: Unread,
        hold: usize,
        held: Gauge,
        discarded: Counter,
    ) -> Self {
        Self {
            channel: channel.clone(),
            unread,
            hold,
            waiting: Mutex::default(),
            layer_work: Notify::new(),
            disk_work: Notify::new(),
            room: Notify::new(),
            closing: CancellationToken::new(),
            held,
            discarded,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.waiting)
    }

    /// Takes over the `count` events that an earlier run left on the disk, the newest of which has the number `newest`.
    pub(super) fn adopt_backlog(&self, newest: u64, count: u64) {
        let mut waiting = self.lock();
        waiting.newest_on_disk = newest;
        waiting.handed_to_disk = newest;
        waiting.on_disk = count;
    }

    /// Closes the queue if nothing waits in it. Says whether it did.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut waiting = self.lock();
        let is_idle = waiting.events.is_empty()
            && waiting.on_disk == 0
            && waiting.handed_to_disk <= waiting.settled
            && waiting.forget_failed.is_none();
        waiting.is_closed |= is_idle;
        is_idle
    }

    /// Whether memory is full, but there will be room soon, because the layer or the disk takes events.
    pub(super) fn must_wait(&self) -> bool {
        let waiting = self.lock();
        let is_full = waiting.events.len() >= self.hold || waiting.bytes >= HOLD_BYTES;
        let moves = match self.unread {
            Unread::Hold => !waiting.is_stuck || !waiting.disk_failed,
            Unread::DropOldest | Unread::Drop => !waiting.is_stuck,
        };
        is_full && moves
    }

    /// Takes an event. If there is too little room, the oldest events are given up.
    pub(super) fn push(&self, mut event: QueuedEvent) {
        let mut waiting = self.lock();
        if waiting.is_stuck && self.unread != Unread::Hold {
            // The policy may drop it at any time, so Slack must not redeliver it.
            event.mark_safe();
        }
        waiting.bytes += event.member.0.len();
        waiting.events.push_back(event);
        let bound = self.bound(&waiting);
        let given_up = waiting.make_room(bound);
        // A task sleeps because the queue was empty, or, the spiller, because no event had to go to the disk yet. So
        // they hear of the first event, and the spiller of each one that has to go there at once.
        let first = waiting.events.len() == 1;
        let presses = first || waiting.is_stuck || waiting.is_spooling();
        drop(waiting);
        if first {
            self.layer_work.notify_one();
        }
        if presses && self.unread == Unread::Hold {
            self.disk_work.notify_one();
        }
        self.give_up(given_up);
    }

    /// Sets whether the layer takes events now.
    pub(super) fn set_stuck(&self, stuck: bool) {
        let mut waiting = self.lock();
        waiting.sending = 0;
        if waiting.is_stuck == stuck {
            return;
        }
        waiting.is_stuck = stuck;
        if stuck && self.unread != Unread::Hold {
            waiting.events.iter_mut().for_each(QueuedEvent::mark_safe);
        }
        let bound = self.bound(&waiting);
        let given_up = waiting.make_room(bound);
        drop(waiting);
        self.disk_work.notify_one();
        self.room.notify_one();
        self.give_up(given_up);
    }

    /// The most events that may stay in memory. While the queue moves there is no bound here, because
    /// [`Queue::must_wait`] has made the way in wait for room.
    fn bound(&self, waiting: &QueueState) -> usize {
        match self.unread {
            _ if !waiting.is_stuck => usize::MAX,
            Unread::Hold if !waiting.disk_failed => usize::MAX,
            Unread::Hold | Unread::DropOldest => self.hold,
            // The newest one stays, so that there is an event to try the channel with.
            Unread::Drop => 1,
        }
    }

    /// Gives up the events in memory of a closed queue whose policy keeps nothing.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.sending = 0;
        let given_up = waiting.make_room(0);
        drop(waiting);
        self.give_up(given_up);
    }

    /// Counts events that were given up, and marks them as safe: Slack must not redeliver them.
    fn give_up(&self, events: Vec<QueuedEvent>) {
        if events.is_empty() {
            return;
        }
        self.discarded.increment(events.len() as u64);
        for mut event in events {
            tracing::debug!(channel = %self.channel, id = &*event.id, "event given up, because the channel takes no events");
            event.mark_safe();
        }
    }

    /// Copies the oldest events in memory for a call, within `limit`. `freshen` prepares each.
    pub(super) fn prepare_batch(
        waiting: &mut QueueState,
        limit: BatchLimit,
        freshen: impl Fn(&mut QueuedEvent),
    ) -> Vec<OutgoingEvent> {
        let mut bytes = 0;
        let batch: Vec<_> = waiting
            .events
            .iter_mut()
            .take(limit.events)
            .take_while(|event| {
                let fits = bytes == 0 || bytes + event.member.0.len() <= limit.bytes;
                bytes += event.member.0.len();
                fits
            })
            .map(|event| {
                freshen(event);
                OutgoingEvent {
                    seq: event.seq,
                    id: event.id.clone(),
                    member: event.member.clone(),
                }
            })
            .collect();
        waiting.sending = batch.len();
        batch
    }

    /// Notes that all events up to number `upto` are in the layer.
    pub(super) fn settle(&self, upto: u64) -> SettleResult {
        let mut waiting = self.lock();
        let gone = waiting.take_up_to(upto);
        waiting.sending = 0;
        waiting.settled = waiting.settled.max(upto);
        // Events that were handed to the disk may be written after this. Then `note_spilled` sees that it is settled.
        let forget = (waiting.handed_to_disk > waiting.forgotten).then_some(upto);
        if forget.is_some() {
            waiting.forgotten = upto;
        }
        let left = waiting.left();
        drop(waiting);
        self.room.notify_one();
        SettleResult { gone, forget, left }
    }

    /// Notes that the disk has the `count` events from number `first` to `upto`.
    pub(super) fn note_spilled(&self, first: u64, upto: u64, count: u64) -> SpillResult {
        let mut waiting = self.lock();
        waiting.disk_failed = false;
        let gone = waiting.take_up_to(upto);
        waiting.sending = waiting.sending.saturating_sub(gone.len());
        waiting.on_disk += count;
        waiting.newest_on_disk = upto;
        let forget = (waiting.settled >= first).then_some(waiting.settled.min(upto));
        drop(waiting);
        self.room.notify_one();
        self.layer_work.notify_one();
        SpillResult { gone, forget }
    }

    /// Notes that `count` events with the numbers from `first` to `last` are on the disk again, before all others. They
    /// had gone to the layer, so `settled` goes back to before them.
    pub(super) fn note_taken_back(&self, first: u64, last: u64, count: u64) {
        let mut waiting = self.lock();
        let before = first.saturating_sub(1);
        waiting.settled = waiting.settled.min(before);
        waiting.forgotten = waiting.forgotten.min(before);
        waiting.handed_to_disk = waiting.handed_to_disk.max(last);
        waiting.newest_on_disk = waiting.newest_on_disk.max(last);
        waiting.on_disk += count;
        drop(waiting);
        self.disk_work.notify_one();
    }

    /// Notes that the disk failed.
    pub(super) fn note_spill_failure(&self) {
        let mut waiting = self.lock();
        waiting.disk_failed = true;
        drop(waiting);
        self.room.notify_one();
    }
}

impl QueueState {
    /// Whether older events are on the disk, so that those in memory have to wait behind them.
    pub(super) fn is_spooling(&self) -> bool {
        self.newest_on_disk > self.settled
    }

    /// How many events wait, on the disk and in memory.
    pub(super) fn left(&self) -> u64 {
        self.on_disk + self.events.len() as u64
    }

    /// How long the oldest event in memory has waited.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(self.events.front()?.arrived.elapsed())
    }

    /// Takes the events up to number `upto` out of memory.
    fn take_up_to(&mut self, upto: u64) -> Vec<QueuedEvent> {
        let count = self.events.partition_point(|event| event.seq <= upto);
        let gone: Vec<QueuedEvent> = self.events.drain(..count).collect();
        self.bytes -= gone.iter().map(|it| it.member.0.len()).sum::<usize>();
        gone
    }

    /// Takes the oldest events that are not being sent out of memory, until `bound` are left and their bytes are within
    /// [`HOLD_BYTES`].
    fn make_room(&mut self, bound: usize) -> Vec<QueuedEvent> {
        let mut given_up = Vec::new();
        let is_bounded = bound < usize::MAX;
        while is_bounded
            && (self.events.len() > bound || self.bytes > HOLD_BYTES)
            && self.events.len() > self.sending
            && let Some(oldest) = self.events.remove(self.sending)
        {
            self.bytes -= oldest.member.0.len();
            given_up.push(oldest);
        }
        given_up
    }
}
