//! All messages of the way out that are under way, and the bounds of what is taken in.

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

/// Calls that may be under way, each in a lane of its own.
const RUNNING: usize = 256;
/// Messages that may wait behind others of their conversation in memory, and their bytes; the rest waits on the disk.
const BEHIND: usize = 10_000;
const BEHIND_BYTES: usize = 64 << 20;
/// Outcomes that may wait to be reported, where reply channels are full.
const REPORTING: usize = 1_000;
/// Messages that may be on their way to the disk; they share its commits.
const STORING: usize = 256;
/// Bytes of messages that may wait on the disk; the rest waits in the layer.
const ON_DISK: u64 = 1 << 30;

/// Where the next message may be stored until it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    /// In the layer's processing key alone.
    Layer,
    /// Nowhere: it is not taken yet.
    None,
}

/// All that is under way.
pub(super) struct Flow<'a> {
    pub(super) receiver: &'a dyn Receiver,
    pub(super) lanes: Lanes<Job>,
    /// Bytes of the messages in the lanes.
    pub(super) bytes: usize,
    pub(super) work: FuturesUnordered<BoxFuture<'a, Stage>>,
    /// Outcomes that are being reported.
    pub(super) reporting: usize,
    /// Messages on their way to the disk, in order, and their bytes.
    pub(super) storing: FuturesOrdered<BoxFuture<'a, (Message, StoreResult)>>,
    pub(super) storing_bytes: usize,
    pub(super) cursor: OutboxCursor,
    /// Layer-only messages that are not queued yet, in their place among those that wait on the disk, and their bytes.
    waiting_in_layer: VecDeque<Message>,
    waiting_in_layer_bytes: usize,
    /// All layer-only messages that are not finished.
    layer_only: LayerOnlyCounts,
    /// The disk refused one of those that are on their way to it, and so refuses all behind it.
    pub(super) is_broken: bool,
    /// The last one that was given to the disk.
    newest: Option<MessageKey>,
}

impl<'a> Flow<'a> {
    /// Nothing is under way; the outbox has messages up to number `newest`.
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

    /// Where the next message may be stored, with so many bytes on the disk.
    ///
    /// It goes to the disk where no message that came before it is layer-only: after a restart, messages on the disk go
    /// before those that the layer gives. Where layer-only messages stay for long, it joins them.
    pub(super) fn place(&mut self, on_disk: u64) -> Place {
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

    /// Lets a message stay in the layer until it is sent, in its place among those on the disk.
    pub(super) fn keep_in_layer(&mut self, mut message: Message) {
        self.cursor.bar();
        if let StoredIn::Layer(_, count) = &mut message.stored_in {
            *count = Some(self.layer_only.count());
        }
        self.waiting_in_layer_bytes += message.size();
        self.waiting_in_layer.push_back(message);
    }

    /// The next layer-only message to queue, once all that was stored before it is queued and there is room. Behind the
    /// last one, messages on the disk may be read again.
    pub(super) fn next_in_layer(&mut self) -> Option<Message> {
        if self.cursor.waits() || !self.has_room() {
            return None;
        }
        let message = self.waiting_in_layer.pop_front()?;
        self.waiting_in_layer_bytes -= message.size();
        if self.waiting_in_layer.is_empty() {
            self.cursor.lift();
        }
        Some(message)
    }

    /// The message that the disk must have before it takes this one.
    pub(super) fn predecessor(&mut self, message: &Message) -> Option<MessageKey> {
        let on_their_way = !self.storing.is_empty();
        match message.content {
            Ok(_) => self.newest.replace(message.key).filter(|_| on_their_way),
            Err(_) => None,
        }
    }

    /// Whether more may be taken into memory.
    pub(super) fn has_room(&self) -> bool {
        self.lanes.running() < RUNNING
            && self.lanes.behind() < BEHIND
            && self.bytes < BEHIND_BYTES
            && self.reporting < REPORTING
    }
}
