//! What waits for one channel of the layer: the older part on the disk, the newer in memory, in one order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelName, Member};
use djangobot_event::lock::lock;
use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::lying::Outgoing;
use crate::bridge::inbound::custody::Custody;
use crate::config::Unread;

/// Bytes that go to the layer in one call, unless a single event has more: half of the smallest limit on requests that
/// hosted servers are known to have.
pub(super) const BATCH_BYTES: usize = 512 << 10;
/// Bytes that may wait in memory for one channel, beside the number of events that the config allows.
const HOLD_BYTES: usize = 16 << 20;

/// The queue of one channel.
pub(super) struct Queue {
    pub(super) channel: ChannelName,
    /// What becomes of events that the channel does not take.
    pub(super) unread: Unread,
    /// Events that may wait in memory.
    hold: usize,
    waiting: Mutex<Waiting>,
    /// Told when there is something for the layer.
    pub(super) filled: Notify,
    /// Told when there may be something for the disk.
    pub(super) pressed: Notify,
    /// Told when there may be room again, or none can be hoped for.
    pub(super) room: Notify,
    /// Cancelled when no more events come.
    pub(super) closing: CancellationToken,
    pub(super) held: Gauge,
    pub(super) discarded: Counter,
}

/// Numbers grow with each event, and those on the disk are older than those in memory.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) events: VecDeque<Held>,
    bytes: usize,
    /// No more events come.
    pub(super) closed: bool,
    /// How many of the front are being sent, and so are not the ones to give up.
    sending: usize,
    /// The layer took less than it was given, the last time.
    pub(super) stuck: bool,
    /// The disk took nothing, the last time.
    pub(super) disk_failed: bool,
    /// How many events are on the disk.
    pub(super) on_disk: u64,
    /// The number of the newest event on the disk.
    pub(super) newest_on_disk: u64,
    /// The number of the newest event that was handed to the disk, which may not have it yet.
    pub(super) handed: u64,
    /// All events up to this number are in the layer, or were given up.
    pub(super) settled: u64,
    /// All events up to this number are off the disk, or were to be.
    forgotten: u64,
    /// Up to this number the disk would not let go of events that are settled.
    pub(super) unforgotten: Option<u64>,
}

/// An event in memory.
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) id: Arc<str>,
    pub(super) member: Member,
    pub(super) sealed: Instant,
    pub(super) arrived: Instant,
    /// Taken once it counts as safe.
    pub(super) custody: Option<Custody>,
}

impl Held {
    /// Says that the event needs nothing more from Slack.
    pub(super) fn mark_safe(&mut self) {
        if let Some(custody) = self.custody.take() {
            custody.mark_safe();
        }
    }
}

/// What an event that no longer waits in memory has become.
pub(super) struct Settled {
    pub(super) gone: Vec<Held>,
    /// Up to which number the disk has something to forget.
    pub(super) forget: Option<u64>,
    /// How many wait still.
    pub(super) left: u64,
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
            filled: Notify::new(),
            pressed: Notify::new(),
            room: Notify::new(),
            closing: CancellationToken::new(),
            held,
            discarded,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Says that an earlier run left `count` events on the disk, the newest of them with number `newest`.
    pub(super) fn found(&self, newest: u64, count: u64) {
        let mut waiting = self.lock();
        waiting.newest_on_disk = newest;
        waiting.handed = newest;
        waiting.on_disk = count;
    }

    /// Closes it, if nothing waits in it; says whether it did.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut waiting = self.lock();
        let is_idle = waiting.events.is_empty()
            && waiting.on_disk == 0
            && waiting.handed <= waiting.settled
            && waiting.unforgotten.is_none();
        waiting.closed |= is_idle;
        is_idle
    }

    /// Whether there is no room in memory, and will be soon: the layer or the disk takes events.
    pub(super) fn must_wait(&self) -> bool {
        let waiting = self.lock();
        let is_full = waiting.events.len() >= self.hold || waiting.bytes >= HOLD_BYTES;
        let moves = match self.unread {
            Unread::Hold => !waiting.stuck || !waiting.disk_failed,
            Unread::DropOldest | Unread::Drop => !waiting.stuck,
        };
        is_full && moves
    }

    /// Takes an event. What there is no room for is given up, the oldest first.
    pub(super) fn push(&self, mut event: Held) {
        let mut waiting = self.lock();
        if waiting.stuck && self.unread != Unread::Hold {
            // It may be given up at any time, which is as it should be.
            event.mark_safe();
        }
        waiting.bytes += event.member.0.len();
        waiting.events.push_back(event);
        let bound = self.bound(&waiting);
        let given_up = waiting.make_room(bound);
        let first = waiting.events.len() == 1;
        let presses = first || waiting.stuck || waiting.is_spooling();
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        if presses && self.unread == Unread::Hold {
            self.pressed.notify_one();
        }
        self.give_up(given_up);
    }

    /// Says that the layer takes nothing just now, or that it does again.
    pub(super) fn set_stuck(&self, stuck: bool) {
        let mut waiting = self.lock();
        waiting.sending = 0;
        if waiting.stuck == stuck {
            return;
        }
        waiting.stuck = stuck;
        if stuck && self.unread != Unread::Hold {
            waiting.events.iter_mut().for_each(Held::mark_safe);
        }
        let bound = self.bound(&waiting);
        let given_up = waiting.make_room(bound);
        drop(waiting);
        self.pressed.notify_one();
        self.room.notify_one();
        self.give_up(given_up);
    }

    /// How many events may stay in memory. While something moves, whoever brings them has waited for room.
    fn bound(&self, waiting: &Waiting) -> usize {
        match self.unread {
            _ if !waiting.stuck => usize::MAX,
            Unread::Hold if !waiting.disk_failed => usize::MAX,
            Unread::Hold | Unread::DropOldest => self.hold,
            // The newest stays, to try the channel with.
            Unread::Drop => 1,
        }
    }

    /// Gives up what a closed queue has in memory, where its policy is not to keep it.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.sending = 0;
        let given_up = waiting.make_room(0);
        drop(waiting);
        self.give_up(given_up);
    }

    /// Events that the policy gives up are finished with: Slack is not to give them again.
    fn give_up(&self, events: Vec<Held>) {
        if events.is_empty() {
            return;
        }
        self.discarded.increment(events.len() as u64);
        for mut event in events {
            tracing::debug!(channel = %self.channel, id = &*event.id, "event given up: the channel takes none");
            event.mark_safe();
        }
    }

    /// Up to `limit` events at the front of those in memory, with up to `most` bytes unless the first has more, each
    /// made ready by `freshen`.
    pub(super) fn front(
        waiting: &mut Waiting,
        (limit, most): (usize, usize),
        freshen: impl Fn(&mut Held),
    ) -> Vec<Outgoing> {
        let mut bytes = 0;
        let batch: Vec<_> = waiting
            .events
            .iter_mut()
            .take(limit)
            .take_while(|event| {
                let fits = bytes == 0 || bytes + event.member.0.len() <= most;
                bytes += event.member.0.len();
                fits
            })
            .map(|event| {
                freshen(event);
                Outgoing {
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
    pub(super) fn settle(&self, upto: u64) -> Settled {
        let mut waiting = self.lock();
        let gone = waiting.take_up_to(upto);
        waiting.sending = 0;
        waiting.settled = waiting.settled.max(upto);
        let forget = (waiting.handed > waiting.forgotten).then_some(upto);
        if forget.is_some() {
            waiting.forgotten = upto;
        }
        let left = waiting.left();
        drop(waiting);
        self.room.notify_one();
        Settled { gone, forget, left }
    }

    /// Notes that the disk has the events from number `first` to `upto`, which are `count`; gives those that were in
    /// memory, and up to which number the layer took them while they were being written.
    pub(super) fn spilled(&self, first: u64, upto: u64, count: u64) -> (Vec<Held>, Option<u64>) {
        let mut waiting = self.lock();
        waiting.disk_failed = false;
        let gone = waiting.take_up_to(upto);
        waiting.sending = waiting.sending.saturating_sub(gone.len());
        waiting.on_disk += count;
        waiting.newest_on_disk = upto;
        let settled = (waiting.settled >= first).then_some(waiting.settled.min(upto));
        drop(waiting);
        self.room.notify_one();
        self.filled.notify_one();
        (gone, settled)
    }

    /// Notes that `count` events with the numbers from `first` to `last`, which had gone to the layer, are on the disk
    /// again, before all that waits.
    pub(super) fn take_back(&self, first: u64, last: u64, count: u64) {
        let mut waiting = self.lock();
        let before = first.saturating_sub(1);
        waiting.settled = waiting.settled.min(before);
        waiting.forgotten = waiting.forgotten.min(before);
        waiting.handed = waiting.handed.max(last);
        waiting.newest_on_disk = waiting.newest_on_disk.max(last);
        waiting.on_disk += count;
        drop(waiting);
        self.pressed.notify_one();
    }

    /// Notes that the disk took nothing.
    pub(super) fn not_spilled(&self) {
        let mut waiting = self.lock();
        waiting.disk_failed = true;
        drop(waiting);
        self.room.notify_one();
    }
}

impl Waiting {
    /// Whether older events are on the disk, so that those in memory have to wait behind them.
    pub(super) fn is_spooling(&self) -> bool {
        self.newest_on_disk > self.settled
    }

    /// How many events wait, wherever they are.
    pub(super) fn left(&self) -> u64 {
        self.on_disk + self.events.len() as u64
    }

    /// How long the oldest event in memory has waited.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(self.events.front()?.arrived.elapsed())
    }

    fn take_up_to(&mut self, upto: u64) -> Vec<Held> {
        let count = self.events.partition_point(|event| event.seq <= upto);
        let gone: Vec<Held> = self.events.drain(..count).collect();
        self.bytes -= gone.iter().map(|it| it.member.0.len()).sum::<usize>();
        gone
    }

    /// Takes out the oldest events that nobody is sending, until `bound` are left.
    fn make_room(&mut self, bound: usize) -> Vec<Held> {
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
