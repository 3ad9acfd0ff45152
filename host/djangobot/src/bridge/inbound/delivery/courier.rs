//! A courier between a queue and the layer: one call of the layer, events read back from the disk, events settled.

use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::{ChannelLayer, LayerError, Member, SendReport, Wire};
use metrics::{Counter, Gauge, Histogram};

use super::lying::Outgoing;
use super::queue::Queue;
use crate::bridge::inbound::delivery::spool::{Entry, Spool};
use crate::config::Unread;
use crate::listener::Readiness;

/// The first pause of a courier whose channel takes nothing.
pub(super) const FIRST: Duration = Duration::from_millis(20);

/// The longest pause of a courier whose layer refuses what it is given.
pub(super) const REFUSED: Duration = Duration::from_secs(5);

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
    /// Messages that had expired in the layer.
    pub(super) expired: Counter,
    pub(super) readiness: Arc<Readiness>,
}

/// Events as they go to the layer.
pub(super) type Batch = Vec<Outgoing>;

impl Courier {
    /// One call of the layer. What had expired there is counted and told of.
    pub(super) async fn send(&self, members: &[Member]) -> Result<SendReport, LayerError> {
        let sent = self.layer.send(&self.queue.channel, members).await?;
        if sent.expired > 0 {
            self.expired.increment(sent.expired);
            let channel = &self.queue.channel;
            match self.queue.unread {
                Unread::Hold => tracing::warn!(
                    %channel, messages = sent.expired,
                    "messages lay in the channel layer for longer than its expiry and are lost: nobody read them. Is a worker running? python manage.py runworker {channel}"
                ),
                Unread::DropOldest | Unread::Drop => tracing::debug!(
                    %channel, messages = sent.expired,
                    "messages lay in the channel layer for longer than its expiry and are gone"
                ),
            }
        }
        Ok(sent)
    }

    /// The oldest events on the disk behind number `after`; `None` to look anew. Where all up to `after` is `settled`,
    /// so is what can't be delivered.
    pub(super) async fn read_back(
        &self,
        after: u64,
        (limit, bytes): (usize, usize),
        settled: bool,
    ) -> Option<Batch> {
        let channel = self.queue.channel.as_str();
        let newest = self.queue.lock().newest_on_disk;
        let entries = match self.spool.read(channel, after, limit, bytes).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(channel, "events can't be read back: {error}; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                return None;
            }
        };
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            if settled {
                // They made room for others.
                self.settled(newest).await;
            }
            return None;
        };
        let wire = self.layer.wire();
        let batch: Batch = entries
            .iter()
            .filter_map(|entry| self.member(entry, wire))
            .collect();
        if batch.is_empty() && settled {
            self.settled(last).await;
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// An event of the disk as the layer's readers take it: as it lay there, or made anew where the layer is another
    /// one or the member is too old.
    fn member(&self, entry: &Entry, wire: Wire) -> Option<Outgoing> {
        let outgoing = |member| Outgoing {
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
                "an event in the spool can't be opened, and is given up: it was written for another channel layer, with an encryption key that this one does not have"
            );
        }
        member.map(outgoing)
    }

    /// All events up to number `upto` are done with; gives how many are left.
    pub(super) async fn settled(&self, upto: u64) -> u64 {
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

/// Takes the events up to number `upto` off the disk; gives how many are left.
pub(super) async fn forget(spool: &Spool, queue: &Queue, upto: u64) -> u64 {
    let forgotten = spool.forget(queue.channel.as_str(), upto).await;
    let mut waiting = queue.lock();
    match forgotten {
        Ok(count) => {
            waiting.on_disk = waiting.on_disk.saturating_sub(count);
            waiting.unforgotten = waiting.unforgotten.filter(|more| *more > upto);
        }
        // This run does not send them again; the next one would.
        Err(error) => {
            if waiting.unforgotten.is_none() {
                tracing::warn!(
                    "delivered events stay in the spool until it can be written: {error}"
                );
            }
            waiting.unforgotten = waiting.unforgotten.max(Some(upto));
        }
    }
    waiting.left()
}
