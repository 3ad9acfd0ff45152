//! The courier's steps: one call of the layer, reading events back from the disk, and settling events.

use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::{ChannelLayer, LayerError, Member, SendReport, Wire};
use metrics::{Counter, Gauge, Histogram};

use crate::bridge::inbound::delivery::layer_contents::OutgoingEvent;
use crate::bridge::inbound::delivery::queue::{BatchLimit, Queue};
use crate::bridge::inbound::delivery::spool::{Entry, Spool};
use crate::config::Unread;
use crate::listener::Readiness;

/// The courier's first pause while its channel takes nothing.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The courier's longest pause while the layer refuses its calls.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Empties one queue into the layer.
pub(super) struct Courier {
    pub(super) layer: Arc<dyn ChannelLayer>,
    pub(super) spool: Spool,
    pub(super) queue: Arc<Queue>,
    pub(super) delivered: Counter,
    pub(super) full: Counter,
    pub(super) errors: Counter,
    pub(super) latency: Histogram,
    pub(super) letters: Gauge,
    /// Counts messages that had expired in the layer.
    pub(super) expired: Counter,
    pub(super) readiness: Arc<Readiness>,
}

/// Events that go to the layer in one call.
pub(super) type Batch = Vec<OutgoingEvent>;

impl Courier {
    /// Makes one call of the layer. Counts and logs messages that had expired there.
    ///
    /// # Errors
    ///
    /// Fails if the layer takes none of the members.
    pub(super) async fn send(&self, members: &[Member]) -> Result<SendReport, LayerError> {
        let sent = self.layer.send(&self.queue.channel, members).await?;
        if sent.expired > 0 {
            self.expired.increment(sent.expired);
            let channel = &self.queue.channel;
            match self.queue.unread {
                Unread::Hold => tracing::warn!(
                    %channel, messages = sent.expired,
                    "messages expired in the channel layer and are lost, because nobody read them; is a worker running? python manage.py runworker {channel}"
                ),
                Unread::DropOldest | Unread::Drop => tracing::debug!(
                    %channel, messages = sent.expired,
                    "messages expired in the channel layer, because nobody read them"
                ),
            }
        }
        Ok(sent)
    }

    /// Reads the oldest events on the disk behind number `after`. `None` says that there are none, or that the disk
    /// failed: the caller finds out again what to do. If all up to `after` is settled (`is_settled`), events that can't
    /// be delivered are settled here.
    pub(super) async fn read_back(
        &self,
        after: u64,
        limit: BatchLimit,
        is_settled: bool,
    ) -> Option<Batch> {
        let channel = self.queue.channel.as_str();
        // Read before the entries: events that are spilled meanwhile are not among those that were evicted.
        let newest = self.queue.lock().newest_on_disk;
        let entries = match self
            .spool
            .read(channel, after, limit.events, limit.bytes)
            .await
        {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(
                    channel,
                    "events can't be read from the spool: {error}; trying again"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
                return None;
            }
        };
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            if is_settled {
                // The spool evicted them to make room for others.
                self.settle(newest).await;
            }
            return None;
        };
        let wire = self.layer.wire();
        let batch: Batch = entries
            .iter()
            .filter_map(|entry| self.reseal(entry, wire))
            .collect();
        if batch.is_empty() && is_settled {
            self.settle(last).await;
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Makes the member of an event on the disk: it is the one that lies there, or a new one if the layer is another
    /// one or the sealed member may be too old for readers.
    fn reseal(&self, entry: &Entry, wire: Wire) -> Option<OutgoingEvent> {
        let outgoing = |member| OutgoingEvent {
            seq: entry.seq,
            id: entry.id.clone(),
            member,
        };
        let layer = &*self.layer;
        let written = entry.wire.parse::<Wire>().ok();
        if written == Some(wire) && layer.seal_lifetime().is_none() {
            return Some(outgoing(entry.member.clone()));
        }
        let payload = match written {
            Some(written) if written == wire => layer.unseal(&entry.member).ok(),
            Some(written) => written.payload(&entry.member),
            None => None,
        };
        let member = match (payload, written) {
            (Some(payload), Some(written)) if written.serializer == wire.serializer => {
                Some(layer.seal(&payload))
            }
            (Some(payload), Some(written)) => {
                let message = written.serializer.read(&payload).ok();
                message.map(|message| layer.encode(&self.queue.channel, &message))
            }
            _ => None,
        };
        if member.is_none() {
            self.queue.discarded.increment(1);
            tracing::error!(
                channel = %self.queue.channel,
                id = &*entry.id,
                "an event in the spool was given up, because it was encrypted with a key that this channel layer does not have; keep the old key in symmetric_encryption_keys until the spool is empty"
            );
        }
        member.map(outgoing)
    }

    /// Settles all events up to number `upto`: they are in the layer, or were given up. Gives how many still wait.
    pub(super) async fn settle(&self, upto: u64) -> u64 {
        let settled = self.queue.settle(upto);
        for mut event in settled.gone {
            self.latency.record(event.arrived.elapsed().as_secs_f64());
            tracing::debug!(id = &*event.id, channel = %self.queue.channel, "event delivered");
            event.mark_safe();
        }
        match settled.forget {
            Some(upto) => forget(&self.spool, &self.queue, upto).await,
            None => settled.left,
        }
    }
}

/// Deletes the events up to number `upto` from the disk. Gives how many still wait.
pub(super) async fn forget(spool: &Spool, queue: &Queue, upto: u64) -> u64 {
    let forgotten = spool.forget(queue.channel.as_str(), upto).await;
    let mut waiting = queue.lock();
    match forgotten {
        Ok(count) => {
            waiting.on_disk = waiting.on_disk.saturating_sub(count);
            waiting.forget_failed = waiting.forget_failed.filter(|more| *more > upto);
        }
        // This run does not send them again, because they are settled. The next one would.
        Err(error) => {
            if waiting.forget_failed.is_none() {
                tracing::warn!(
                    "delivered events stay in the spool, because it can't be written: {error}; trying again"
                );
            }
            waiting.forget_failed = waiting.forget_failed.max(Some(upto));
        }
    }
    waiting.left()
}
