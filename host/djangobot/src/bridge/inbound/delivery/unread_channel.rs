//! Channels that nobody reads: their events wait on the disk, and not in the layer, where they would expire.
//!
//! While a reader takes events, all go to the layer at once. Events that lie there for half of the layer's expiry are
//! taken back to the disk, and the channel counts as unread. From then on only a window of one event lies in the layer,
//! and is put there again before it expires. When a reader takes it, two events follow, then four, and so on, so that
//! no more lie there than were taken recently. Events in the window stay on the disk until they are taken, so that a
//! kill of this process loses none.

use std::time::{Duration, Instant};

use djangobot_slack::Backoff;

use crate::bridge::inbound::delivery::courier::{Batch, Courier};
use crate::bridge::inbound::delivery::layer_contents::{Bounds, LayerContents, OutgoingEvent};
use crate::bridge::inbound::delivery::queue::{BATCH_EVENTS, BatchLimit};
use crate::bridge::inbound::delivery::spool::Entry;
use crate::config::Unread;

/// The window from which on the channel counts as read: it bounds nothing any more where a whole batch fits into it.
const FULL_WINDOW: usize = BATCH_EVENTS;
/// The first pause between two checks whether a reader took something.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The state of a channel's readers, as far as the layer's answers show it.
pub(super) struct ReaderState {
    contents: LayerContents,
    /// How many events may lie in the layer while the channel counts as unread; `None` while a reader takes them.
    pub(super) window: Option<usize>,
    /// How many events were counted as delivered before they were taken back: they are not counted a second time.
    counted: usize,
    /// When the layer was last asked.
    looked: Instant,
    pause: Backoff,
}

impl ReaderState {
    pub(super) fn new() -> Self {
        Self {
            contents: LayerContents::default(),
            window: None,
            counted: 0,
            looked: Instant::now(),
            pause: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// Whether the channel counts as unread: events wait on the disk until a reader takes those before them.
    pub(super) fn is_unread(&self) -> bool {
        self.window.is_some()
    }
}

impl Courier {
    /// How long an event may lie in the layer before it is taken back; `None` if none is.
    fn patience(&self) -> Option<Duration> {
        let expiry = self.layer.expiry()?;
        (self.queue.unread == Unread::Hold).then_some(expiry / 2)
    }

    /// How long to wait before the next check whether events in the layer were taken; `None` if none lie there.
    pub(super) fn next_check(&self, reader: &ReaderState) -> Option<Duration> {
        let patience = self.patience()?;
        let rest = patience.saturating_sub(reader.contents.age()?);
        let rest = if reader.contents.is_over_limit() {
            Duration::ZERO
        } else {
            rest
        };
        // A check that failed is not made again at once, but several times in the half of the expiry that is left.
        let again = (patience / 8).min(LONGEST_PAUSE);
        Some(rest.max(again.saturating_sub(reader.looked.elapsed())))
    }

    /// Notes that the layer took `events`, and that `waiting` messages lie there now.
    pub(super) async fn note_sent(
        &self,
        reader: &mut ReaderState,
        events: &[OutgoingEvent],
        waiting: Option<u64>,
    ) {
        let Some(last) = events.last() else { return };
        if !reader.is_unread() {
            self.count(reader, events.len());
            self.settle(last.seq).await;
        }
        if self.patience().is_some() {
            reader.contents.add(events.iter().cloned());
            if let Some(waiting) = waiting {
                self.note_waiting(reader, waiting).await;
            }
        }
    }

    /// Asks the layer how many events were taken, and takes back those that lie there for too long. Says whether a
    /// reader took any.
    pub(super) async fn check(&self, reader: &mut ReaderState) -> bool {
        reader.looked = Instant::now();
        let took = match self.send(&[]).await {
            Ok(sent) => self.note_waiting(reader, sent.waiting.unwrap_or(0)).await,
            Err(error) => {
                tracing::debug!(channel = %self.queue.channel, "the layer can't say which events readers took: {error}");
                return false;
            }
        };
        let is_late = self
            .patience()
            .zip(reader.contents.age())
            .is_some_and(|(patience, age)| age >= patience);
        if is_late || reader.contents.is_over_limit() {
            return self.take_back(reader).await || took;
        }
        took
    }

    /// The next events of an unread channel. `None` says that the caller has to find out again what to do.
    pub(super) async fn next_of_unread(
        &self,
        reader: &mut ReaderState,
        window: usize,
        limit: BatchLimit,
    ) -> Option<Batch> {
        let (is_spooling, settled) = {
            let waiting = self.queue.lock();
            (waiting.is_spooling(), waiting.settled)
        };
        if !is_spooling || window >= FULL_WINDOW {
            tracing::info!(channel = %self.queue.channel, "a worker reads the channel again");
            // Events in the layer count as delivered, as they do for any channel that is read.
            if let Some(Bounds { newest, .. }) = reader.contents.bounds() {
                self.count(reader, reader.contents.len());
                self.settle(newest).await;
            }
            reader.window = None;
            return None;
        }
        let room = window.saturating_sub(reader.contents.len());
        if room > 0 {
            let lies = reader.contents.bounds();
            let after = lies.map_or(settled, |lies| lies.newest);
            let limit = BatchLimit {
                events: limit.events.min(room),
                ..limit
            };
            let batch = self.read_back(after, limit, lies.is_none()).await;
            if batch.is_some() {
                return batch;
            }
        }
        let pause = reader.pause.wait();
        self.queue.closing.run_until_cancelled(pause).await;
        if self.check(reader).await {
            reader.pause.succeeded();
        }
        None
    }

    /// Prepares a stop: takes back the window of an unread channel. The next start puts it there again.
    pub(super) async fn prepare_stop(&self, reader: &mut ReaderState) {
        if reader.is_unread() && self.check(reader).await {
            tracing::debug!(channel = %self.queue.channel, "a worker reads the channel again");
        }
        if reader.is_unread() {
            self.take_back(reader).await;
        }
    }

    /// Notes that `waiting` messages lie in the layer. Says whether a reader took any.
    async fn note_waiting(&self, reader: &mut ReaderState, waiting: u64) -> bool {
        let before = reader.contents.bounds();
        let taken = reader.contents.remove_taken(waiting);
        if let Some(before) = before.filter(|_| taken > 0) {
            // All before the oldest that is left were taken; all of them if none is left.
            let left = reader.contents.bounds();
            let upto = left.map_or(before.newest, |left| left.oldest - 1);
            self.note_taken(reader, taken, upto).await;
        }
        taken > 0
    }

    /// Notes that a reader of an unread channel took `count` events, which are all up to number `upto`. The window
    /// grows by as many.
    async fn note_taken(&self, reader: &mut ReaderState, count: usize, upto: u64) {
        if let Some(window) = &mut reader.window {
            *window = window.saturating_add(count);
            self.count(reader, count);
            self.settle(upto).await;
        }
    }

    /// Writes the events that lie in the layer to the disk, and removes them from the layer. From then on the channel
    /// counts as unread. Says whether a reader took some of them meanwhile.
    async fn take_back(&self, reader: &mut ReaderState) -> bool {
        let channel = self.queue.channel.as_str();
        let Some(Bounds { oldest, newest }) = reader.contents.bounds() else {
            return false;
        };
        let events = reader.contents.events();
        let was_unread = reader.is_unread();
        if !was_unread {
            let wire: std::sync::Arc<str> = self.layer.wire().to_string().into();
            let entry = |event: &OutgoingEvent| Entry {
                seq: event.seq,
                id: event.id.clone(),
                wire: wire.clone(),
                member: event.member.clone(),
            };
            let entries = events.iter().map(entry).collect();
            if let Err(error) = self.spool.append(channel, entries).await {
                tracing::error!(
                    channel,
                    "events that nobody reads can't be written to the disk: {error}; they expire in the channel layer unless a worker reads them"
                );
                return false;
            }
        }
        // Written before they are removed: a crash in between leaves them in both places, and a member that is sent
        // again is in the queue once.
        let members: Vec<_> = events.iter().map(|event| event.member.clone()).collect();
        let removed = match self.layer.withdraw(&self.queue.channel, &members).await {
            Ok(removed) => removed,
            // It is tried again soon. It does no harm that the events are on the disk too.
            Err(error) => {
                tracing::debug!(
                    channel,
                    "events that nobody reads stay in the layer: {error}; trying again"
                );
                return false;
            }
        };
        reader.contents.clear();
        if !was_unread {
            self.queue
                .note_taken_back(oldest, newest, events.len() as u64);
        }
        let (left, read): (Vec<_>, Vec<_>) = events
            .iter()
            .zip(removed)
            .partition(|(_, removed)| *removed);
        // Readers take the oldest events first, so all before the first one that is left were taken. Those that were
        // taken from behind it are deleted one by one.
        let upto = left.first().map_or(newest, |(event, _)| event.seq - 1);
        let behind = read.iter().map(|(event, _)| event.seq);
        let behind: Vec<u64> = behind.filter(|seq| *seq > upto).collect();
        match self.spool.remove(channel, behind).await {
            Ok(count) => {
                let mut waiting = self.queue.lock();
                waiting.on_disk = waiting.on_disk.saturating_sub(count);
            }
            Err(error) => {
                tracing::warn!(
                    channel,
                    "events that a worker has read stay on the disk: {error}; they may be delivered again"
                )
            }
        }
        if was_unread {
            self.note_taken(reader, read.len(), upto).await;
        } else {
            self.settle(upto).await;
            reader.counted += left.len();
        }
        if left.is_empty() {
            return true;
        }
        match reader.window {
            None => {
                reader.window = Some(1);
                tracing::warn!(
                    channel,
                    events = left.len(),
                    "no worker reads the channel fast enough; its events wait on the disk, where they do not expire; is one running? python manage.py runworker {channel}; if the app does not want them, set \"{channel}\" = \"drop\" below [layer.unread]"
                );
            }
            // The reader has become slower, or is gone.
            Some(window) if read.is_empty() => reader.window = Some((window / 2).max(1)),
            Some(_) => {}
        }
        !read.is_empty()
    }

    /// Counts events as delivered, except those that were counted before they were taken back.
    fn count(&self, reader: &mut ReaderState, count: usize) {
        let before = reader.counted.min(count);
        reader.counted -= before;
        self.delivered.increment((count - before) as u64);
    }
}
