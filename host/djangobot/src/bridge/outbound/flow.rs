//! The flow: all messages of the way out that are under way, and the bounds on how many are taken in.

use std::collections::VecDeque;
use std::time::Instant;

use djangobot_channels::Receiver;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};

use crate::bridge::lanes::Lanes;
use crate::bridge::message_key::MessageKey;
use crate::bridge::outbound::cursor::OutboxCursor;
use crate::bridge::outbound::layer_only::LayerOnlyCounts;
use crate::bridge::outbound::message::{Job, Message, StoredIn};
use crate::bridge::outbound::stage::{Stage, StoreResult};

/// The most lanes in which a job runs.
const RUNNING: usize = 256;
/// The most messages that wait behind others of their lane in memory. Further ones wait on the disk.
const BEHIND: usize = 10_000;
/// The most bytes of messages in the lanes.
const BEHIND_BYTES: usize = 64 << 20;
/// The most outcomes that wait to be reported, where reply channels are full.
const REPORTING: usize = 1_000;
/// The most messages on their way to the disk, which share its commits.
const STORING: usize = 256;
/// The most bytes of messages on the disk. Further ones wait in the layer.
const ON_DISK: u64 = 1 << 30;

/// The place in which the next message may be stored until it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    /// In the layer's processing key alone.
    Layer,
    /// None: the message is not taken yet.
    None,
}

/// The messages and the work under way.
///
/// A message goes from `storing` or `waiting_in_layer` to `lanes`, and from there to a report. `cursor` keeps the order
/// of those on the disk, of which only the next ones are in memory.
pub(super) struct Flow<'a> {
    pub(super) receiver: &'a dyn Receiver,
    pub(super) lanes: Lanes<Job>,
    /// Bytes of the messages in the lanes.
    pub(super) bytes: usize,
    pub(super) work: FuturesUnordered<BoxFuture<'a, Stage>>,
    /// How many outcomes are being reported.
    pub(super) reporting: usize,
    /// Messages on their way to the disk, in order.
    pub(super) storing: FuturesOrdered<BoxFuture<'a, (Message, StoreResult)>>,
    /// Their bytes.
    pub(super) storing_bytes: usize,
    pub(super) cursor: OutboxCursor,
    /// Layer-only messages that are not queued yet. Their place is at the cursor's barrier.
    waiting_in_layer: VecDeque<Message>,
    /// Their bytes.
    waiting_in_layer_bytes: usize,
    /// All layer-only messages that are not finished.
    layer_only: LayerOnlyCounts,
    /// Whether the disk refused a message of `storing`. It refuses those behind it too, which name it as their
    /// predecessor.
    pub(super) is_broken: bool,
    /// The last message that was given to the disk.
    newest: Option<MessageKey>,
}

impl<'a> Flow<'a> {
    /// The flow at a start: the outbox has messages up to number `newest`.
    pub(super) fn new(receiver: &'a dyn Receiver, newest: u64) -> Self {
        Self {
            receiver,
            lanes: Lanes::default(),
            bytes: 0,
            work: FuturesUnordered::new(),
            reporting: 0,
            storing: FuturesOrdered::new(),
            storing_bytes: 0,
            cursor: OutboxCursor::new(newest),
            waiting_in_layer: VecDeque::new(),
            waiting_in_layer_bytes: 0,
            layer_only: LayerOnlyCounts::default(),
            is_broken: false,
            newest: None,
        }
    }

    /// The place for the next message, with `on_disk` bytes on the disk.
    ///
    /// It goes to the disk if no message before it is layer-only, because a restart begins with the messages on the
    /// disk. If layer-only messages stay for long, it joins them.
    pub(super) fn place(&mut self, on_disk: u64) -> Place {
        // Once none of them is left, a later message has its predecessor on the disk, or waits for layer-only ones.
        self.is_broken &= !self.storing.is_empty();
        let is_in_order =
            !self.is_broken && self.waiting_in_layer.is_empty() && self.layer_only.is_over();
        if is_in_order {
            let has_room = self.storing.len() < STORING
                && self.storing_bytes < BEHIND_BYTES
                && on_disk < ON_DISK;
            return if has_room { Place::Disk } else { Place::None };
        }
        let joins = self.layer_only.lasts(Instant::now())
            && self.storing.is_empty()
            && self.waiting_in_layer.len() < BEHIND
            && self.waiting_in_layer_bytes < BEHIND_BYTES;
        if joins { Place::Layer } else { Place::None }
    }

    /// Lets a message stay in the layer until it is sent. The cursor's barrier keeps its place among those on the disk.
    pub(super) fn keep_in_layer(&mut self, mut message: Message) {
        self.cursor.set_barrier();
        if let StoredIn::Layer(_, count) = &mut message.stored_in {
            *count = Some(self.layer_only.count());
        }
        self.waiting_in_layer_bytes += message.size();
        self.waiting_in_layer.push_back(message);
    }

    /// Takes the next layer-only message to queue, once all messages that were stored before it are queued and there is
    /// room. After the last one, messages behind the barrier are read again.
    pub(super) fn next_in_layer(&mut self) -> Option<Message> {
        if self.cursor.has_waiting() || !self.has_room() {
            return None;
        }
        let message = self.waiting_in_layer.pop_front()?;
        self.waiting_in_layer_bytes -= message.size();
        if self.waiting_in_layer.is_empty() {
            self.cursor.lift_barrier();
        }
        Some(message)
    }

    /// The message that must be on the disk before this one is stored. None if no other is on its way: the last one was
    /// stored then, or it is layer-only, and nothing goes to the disk before it is finished.
    pub(super) fn predecessor(&mut self, message: &Message) -> Option<MessageKey> {
        let on_their_way = !self.storing.is_empty();
        match message.content {
            Ok(_) => self.newest.replace(message.key).filter(|_| on_their_way),
            Err(_) => None,
        }
    }

    /// Whether there is room in memory for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.lanes.running() < RUNNING
            && self.lanes.behind() < BEHIND
            && self.bytes < BEHIND_BYTES
            && self.reporting < REPORTING
    }
}
