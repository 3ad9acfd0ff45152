//! A channel that nobody reads: its events wait on the disk, and not in the layer, where they would expire.
//!
//! While a reader takes what comes, all goes to the layer at once. What lies there for half of the layer's expiry is taken
//! back to the disk, and from then on only one event lies there, put there again before it expires. When a reader takes
//! it, two follow, then four, and so on: no more than was taken of late. Until it is taken an event stays on the disk too,
//! so that whatever ends this process loses none.

use std::time::{Duration, Instant};

use djangobot_slack::Backoff;

use super::courier::{Batch, Courier};
use super::lying::{Lying, Outgoing};
use crate::bridge::inbound::delivery::spool::Entry;
use crate::config::Unread;

/// As many events as go to a channel in one call: who takes so many is as good as any reader.
const ENOUGH: usize = 512;
/// How soon it is looked whether a reader took something: at first, and at most.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(1);

/// How a channel is read.
pub(super) struct Reading {
    lying: Lying,
    /// How many events may lie in the layer; `None` while a reader takes all.
    pub(super) window: Option<usize>,
    /// Events that were counted as delivered and taken back.
    counted: usize,
    looked: Instant,
    pause: Backoff,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            lying: Lying::default(),
            window: None,
            counted: 0,
            looked: Instant::now(),
            pause: Backoff::new(SOON, LATE),
        }
    }

    /// Whether events wait on the disk until a reader takes those before them.
    pub(super) fn is_unread(&self) -> bool {
        self.window.is_some()
    }
}

impl Courier {
    /// How long an event may lie in the layer before it is taken back; `None` where none is.
    fn patience(&self) -> Option<Duration> {
        let expiry = self.layer.expiry()?;
        (self.queue.unread == Unread::Hold).then_some(expiry / 2)
    }

    /// When to look whether what lies in the layer was taken.
    pub(super) fn due(&self, reading: &Reading) -> Option<Duration> {
        let patience = self.patience()?;
        let rest = patience.saturating_sub(reading.lying.age()?);
        let rest = if reading.lying.is_too_much() {
            Duration::ZERO
        } else {
            rest
        };
        // A look that failed is not made again at once.
        let again = (patience / 8).min(LATE);
        Some(rest.max(again.saturating_sub(reading.looked.elapsed())))
    }

    /// Notes that the layer took `events`, and that `waiting` messages lie there now.
    pub(super) async fn put(
        &self,
        reading: &mut Reading,
        events: &[Outgoing],
        waiting: Option<u64>,
    ) {
        let Some(last) = events.last() else { return };
        if !reading.is_unread() {
            self.count(reading, events.len());
            self.settled(last.seq).await;
        }
        if self.patience().is_some() {
            reading.lying.sent(events.iter().cloned());
            if let Some(waiting) = waiting {
                self.seen(reading, waiting).await;
            }
        }
    }

    /// Looks what was taken, and takes back what lies there for too long. Says whether a reader took anything.
    pub(super) async fn look(&self, reading: &mut Reading) -> bool {
        reading.looked = Instant::now();
        let took = match self.send(&[]).await {
            Ok(sent) => self.seen(reading, sent.waiting.unwrap_or(0)).await,
            Err(error) => {
                tracing::debug!(channel = %self.queue.channel, "{error}; what was taken can't be seen");
                return false;
            }
        };
        let is_late = self
            .patience()
            .zip(reading.lying.age())
            .is_some_and(|(patience, age)| age >= patience);
        if is_late || reading.lying.is_too_much() {
            return self.take_back(reading).await || took;
        }
        took
    }

    /// The next events of a channel that counts as unread; `None` to look anew.
    pub(super) async fn front_unread(
        &self,
        reading: &mut Reading,
        window: usize,
        (limit, bytes): (usize, usize),
    ) -> Option<Batch> {
        let (is_spooling, settled) = {
            let waiting = self.queue.lock();
            (waiting.is_spooling(), waiting.settled)
        };
        if !is_spooling || window >= ENOUGH {
            tracing::info!(channel = %self.queue.channel, "a worker reads the channel again");
            // What lies in the layer counts as delivered, as it does while a reader takes what comes.
            if let Some((_, newest)) = reading.lying.ends() {
                self.count(reading, reading.lying.len());
                self.settled(newest).await;
            }
            reading.window = None;
            return None;
        }
        let room = window.saturating_sub(reading.lying.len());
        if room > 0 {
            let lies = reading.lying.ends();
            let after = lies.map_or(settled, |(_, newest)| newest);
            let batch = self
                .read_back(after, (limit.min(room), bytes), lies.is_none())
                .await;
            if batch.is_some() {
                return batch;
            }
        }
        let pause = reading.pause.wait();
        self.queue.closing.run_until_cancelled(pause).await;
        if self.look(reading).await {
            reading.pause.succeeded();
        }
        None
    }

    /// For a stop: what lies in an unread channel is taken back, and the next start puts it there again.
    pub(super) async fn leave(&self, reading: &mut Reading) {
        if reading.is_unread() && self.look(reading).await {
            tracing::debug!(channel = %self.queue.channel, "a worker reads the channel again");
        }
        if reading.is_unread() {
            self.take_back(reading).await;
        }
    }

    /// Notes that `waiting` messages lie in the layer. Says whether a reader took anything.
    async fn seen(&self, reading: &mut Reading, waiting: u64) -> bool {
        let newest = reading.lying.ends().map(|(_, newest)| newest);
        let taken = reading.lying.waiting(waiting);
        if let Some(newest) = newest.filter(|_| taken > 0) {
            let oldest = reading.lying.ends().map(|(oldest, _)| oldest);
            self.taken(reading, taken, oldest.map_or(newest, |oldest| oldest - 1))
                .await;
        }
        taken > 0
    }

    /// Of an unread channel, a reader took `count` events, and all up to number `upto`: as many more may follow.
    async fn taken(&self, reading: &mut Reading, count: usize, upto: u64) {
        if let Some(window) = &mut reading.window {
            *window = window.saturating_add(count);
            self.count(reading, count);
            self.settled(upto).await;
        }
    }

    /// Brings what lies in the layer to the disk and takes it out of the layer: from then on the channel counts as unread.
    /// Says whether a reader took some of it meanwhile.
    async fn take_back(&self, reading: &mut Reading) -> bool {
        let channel = self.queue.channel.as_str();
        let Some((first, last)) = reading.lying.ends() else {
            return false;
        };
        let events = reading.lying.events();
        let was_unread = reading.is_unread();
        if !was_unread {
            let wire: std::sync::Arc<str> = self.layer.wire().to_string().into();
            let entry = |event: &Outgoing| Entry {
                seq: event.seq,
                id: event.id.clone(),
                wire: wire.clone(),
                member: event.member.clone(),
            };
            let entries = events.iter().map(entry).collect();
            if let Err(error) = self.spool.append(channel, entries).await {
                tracing::error!(
                    channel,
                    "events that nobody reads can't be brought to the disk: {error}; they expire in the channel layer unless a worker reads them"
                );
                return false;
            }
        }
        let members: Vec<_> = events.iter().map(|event| event.member.clone()).collect();
        let removed = match self.layer.withdraw(&self.queue.channel, &members).await {
            Ok(removed) => removed,
            // It is tried again soon. What is on the disk too does no harm.
            Err(error) => {
                tracing::debug!(
                    channel,
                    "{error}; events that nobody reads stay in the layer"
                );
                return false;
            }
        };
        reading.lying.take();
        if !was_unread {
            self.queue.take_back(first, last, events.len() as u64);
        }
        let (left, read): (Vec<_>, Vec<_>) = events
            .iter()
            .zip(removed)
            .partition(|(_, removed)| *removed);
        // Readers take the oldest first; those that were taken behind others are forgotten one by one.
        let upto = left.first().map_or(last, |(event, _)| event.seq - 1);
        let behind = read.iter().map(|(event, _)| event.seq);
        let behind: Vec<u64> = behind.filter(|seq| *seq > upto).collect();
        match self.spool.remove(channel, behind).await {
            Ok(count) => {
                let mut waiting = self.queue.lock();
                waiting.on_disk = waiting.on_disk.saturating_sub(count);
            }
            Err(error) => {
                tracing::warn!(channel, "events that were read stay on the disk: {error}")
            }
        }
        if was_unread {
            self.taken(reading, read.len(), upto).await;
        } else {
            self.settled(upto).await;
            reading.counted += left.len();
        }
        if left.is_empty() {
            return true;
        }
        match reading.window {
            None => {
                reading.window = Some(1);
                tracing::warn!(
                    channel,
                    events = left.len(),
                    "no worker reads the channel, or not fast enough; its events wait on the disk, where they do not expire. Is one running? python manage.py runworker {channel}. If the app does not want them: \"{channel}\" = \"drop\" below [layer.unread]"
                );
            }
            Some(window) if read.is_empty() => reading.window = Some((window / 2).max(1)),
            Some(_) => {}
        }
        !read.is_empty()
    }

    /// Counts events as delivered, unless they were before they were taken back.
    fn count(&self, reading: &mut Reading, count: usize) {
        let before = reading.counted.min(count);
        reading.counted -= before;
        self.delivered.increment((count - before) as u64);
    }
}
