//! Delivery of events to the layer: a queue for each channel, whose older part is on the disk if the layer does not
//! take it in time.
//!
//! Usually an event is in memory from its arrival to the layer's answer, for less than a millisecond. When the layer is
//! away or slow, or a channel is full, the events of a queue go to the spool. Those that follow go behind them until
//! the spool has none of the queue's any more, so that order is never lost. A batch that the layer refuses is halved,
//! and an event that it refuses alone becomes a dead letter. An event is safe, and Slack gets its acknowledgement, when
//! the layer or the disk has it.

mod courier;
mod courier_loop;
mod layer_contents;
mod portion;
mod queue;
mod refusal;
mod spiller;
pub(crate) mod spool;
#[cfg(test)]
mod tests;
mod unread_channel;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelLayer, ChannelName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::custody::Custody;
use crate::bridge::inbound::envelope::LayerMessage;
use crate::bridge::inbound::types::{Labels, MAX_ODD, is_documented};
use crate::config::{Unread, UnreadRules};
use crate::listener::Readiness;
use crate::metrics::Metrics;

use courier::Courier;
use queue::{Queue, QueuedEvent};
use spiller::Spiller;
use spool::{Backlog, Spool};

/// How often a stop checks whether all events are safe.
const CHECK_EVERY: Duration = Duration::from_millis(20);
/// How long a stop then waits for the layer's answers to calls that are under way: events whose answer comes in time
/// are not sent again by the next start.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The parts of the bridge that deliveries use, and their settings.
pub(crate) struct Parts {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) spool: Spool,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Arc<Readiness>,
    /// The policies for channels that take no events.
    pub(crate) rules: UnreadRules,
    /// The most events that wait in memory for one channel.
    pub(crate) hold: usize,
    /// Ends all waiting for room.
    pub(crate) stop: CancellationToken,
}

/// The queues of one bridge, and the tasks that empty them.
pub(crate) struct Deliveries {
    parts: Parts,
    queues: HashMap<ChannelName, Arc<Queue>>,
    labels: Labels,
    tasks: JoinSet<()>,
}

impl Deliveries {
    /// Makes the queues of a bridge. Those for which an earlier run left events in the spool are made at once.
    pub(crate) fn new(parts: Parts, backlogs: Vec<Backlog>) -> Self {
        let mut deliveries = Self {
            parts,
            queues: HashMap::new(),
            labels: Labels::default(),
            tasks: JoinSet::new(),
        };
        for backlog in backlogs {
            match ChannelName::new(&backlog.channel) {
                Ok(channel) => {
                    tracing::info!(%channel, waiting = backlog.count, "the spool has events of an earlier run; they are delivered first");
                    deliveries.open(&channel, Some(&backlog));
                }
                Err(error) => tracing::error!(
                    "events in the spool can't be delivered, because their channel has no valid name: {error}"
                ),
            }
        }
        deliveries
    }

    /// Queues `message` for `channel`. If memory is full, it waits for room while the layer or the disk takes events.
    /// While neither does, it does not wait: the queue gives up its oldest event, counts it, and acknowledges it to
    /// Slack.
    pub(crate) async fn push(
        &mut self,
        channel: &ChannelName,
        message: &LayerMessage,
        arrived: Instant,
        id: Arc<str>,
        custody: Custody,
    ) {
        let member = message.encode(&*self.parts.layer, channel);
        // Numbered before it waits for room: one task pushes all events, so the order of the numbers is that of the
        // calls.
        let event = QueuedEvent {
            seq: self.parts.spool.number(),
            id,
            member,
            sealed: Instant::now(),
            arrived,
            custody: Some(custody),
        };
        let stop = self.parts.stop.clone();
        if !self.queues.contains_key(channel) && !self.has_room_for(channel) {
            // The custody is dropped, so that Slack redelivers the event.
            self.parts.metrics.discarded("other").increment(1);
            tracing::warn!(
                %channel,
                id = &*event.id,
                "an event of a type that Slack does not document was not taken now, because events of {MAX_ODD} other types wait for the channel layer; Slack redelivers it"
            );
            return;
        }
        let queue = match self.queues.get(channel) {
            Some(queue) => queue,
            None => self.open(channel, None),
        };
        while queue.must_wait() {
            let room = queue.room.notified();
            if stop.run_until_cancelled(room).await.is_none() {
                // The few events that came before the stop fit into memory, and the drain has a time limit.
                break;
            }
        }
        queue.push(event);
    }

    /// Empties the queues into the layer or onto the disk, for at most `limit`. Gives the number of events that are
    /// still in memory alone: Slack redelivers those that it can.
    pub(crate) async fn drain(mut self, limit: Duration) -> usize {
        for queue in self.queues.values() {
            queue.lock().is_closed = true;
            queue.closing.cancel();
            queue.layer_work.notify_one();
            queue.disk_work.notify_one();
        }
        let queues = &self.queues;
        let tasks = &mut self.tasks;
        let all = async { while tasks.join_next().await.is_some() {} };
        // If the layer hangs, its courier does not end. Its events are soon on the disk, which is enough.
        let in_memory = async {
            while queues.values().any(|it| !it.lock().events.is_empty()) {
                tokio::time::sleep(CHECK_EVERY).await;
            }
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        let either = async {
            tokio::select! {
                () = all => {}
                () = in_memory => {}
            }
        };
        let _ = tokio::time::timeout(limit, either).await;
        self.tasks.shutdown().await;
        let spooled: u64 = self.queues.values().map(|it| it.lock().on_disk).sum();
        if spooled > 0 {
            tracing::info!(
                events = spooled,
                "events stay in the spool; the next start delivers them"
            );
        }
        self.queues.values().map(|it| it.lock().events.len()).sum()
    }

    /// Makes the queue of a channel and starts its tasks.
    fn open(&mut self, channel: &ChannelName, backlog: Option<&Backlog>) -> &Arc<Queue> {
        let name = channel.as_str();
        let unread = self.parts.rules.of(name);
        let name = self.labels.of(name, kind_of(channel));
        let queue = Arc::new(Queue::new(
            channel,
            unread,
            self.parts.hold.max(1),
            self.parts.metrics.held(name),
            self.parts.metrics.discarded(name),
        ));
        if let Some(backlog) = backlog {
            queue.adopt_backlog(backlog.newest, backlog.count);
            queue.held.set(backlog.count as f64);
        }
        let courier = Courier {
            layer: self.parts.layer.clone(),
            spool: self.parts.spool.clone(),
            queue: queue.clone(),
            delivered: self.parts.metrics.delivered(name),
            full: self.parts.metrics.layer_full(name),
            errors: self.parts.metrics.layer_errors("send"),
            latency: self.parts.metrics.delivery_seconds(),
            letters: self.parts.metrics.dead_letters(),
            expired: self.parts.metrics.expired(name),
            readiness: self.parts.readiness.clone(),
        };
        self.tasks.spawn(courier.run());
        if unread == Unread::Hold {
            let spiller = Spiller {
                spool: self.parts.spool.clone(),
                queue: queue.clone(),
                metrics: self.parts.metrics.clone(),
                wire: self.parts.layer.wire().to_string().into(),
            };
            self.tasks.spawn(spiller.run());
        }
        self.queues.entry(channel.clone()).or_insert(queue)
    }

    /// Whether `channel` may have a queue. If there are many, idle queues of odd types are closed to make room; they
    /// are made again when they are needed. A type that Slack documents always gets its queue.
    fn has_room_for(&mut self, channel: &ChannelName) -> bool {
        if self.queues.len() < MAX_ODD {
            return true;
        }
        self.queues.retain(|channel, queue| {
            let closes = !is_documented(kind_of(channel)) && queue.close_if_idle();
            if closes {
                queue.layer_work.notify_one();
                queue.disk_work.notify_one();
            }
            !closes
        });
        while self.tasks.try_join_next().is_some() {}
        self.queues.len() < MAX_ODD || is_documented(kind_of(channel))
    }
}

/// The type of the events that go to `channel`.
fn kind_of(channel: &ChannelName) -> &str {
    let name = channel.as_str();
    name.strip_prefix("slack.").unwrap_or(name)
}
