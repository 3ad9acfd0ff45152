//! Events on their way into the layer: a queue for each channel, whose older part is on the disk where the layer does
//! not take it in time.
//!
//! In fair weather an event is in memory from its arrival to the layer's answer, less than a millisecond. When the
//! layer is away, slow, or a channel is full, a queue's events go to the spool, and those that follow go behind them
//! until it is empty again: order is never lost. What the layer refuses is sent in halves, and an event that it refuses
//! alone becomes a dead letter. An event counts as safe, and Slack is told that we have it, when the layer or the disk
//! has it.

mod courier;
mod courier_loop;
mod lying;
mod portion;
mod queue;
mod refused;
mod spiller;
pub(crate) mod spool;
#[cfg(test)]
mod tests;
mod unread;

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
use queue::{Held, Queue};
use spiller::Spiller;
use spool::{Left, Spool};

/// How often a stop looks whether all is safe, and how long it then waits for the layer's answers.
const LOOK: Duration = Duration::from_millis(20);
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The queues of one bridge, and the tasks that empty them.
pub(crate) struct Deliveries {
    layer: Arc<dyn ChannelLayer>,
    spool: Spool,
    metrics: Metrics,
    readiness: Arc<Readiness>,
    /// What becomes of events that a channel does not take.
    rules: UnreadRules,
    /// Events that may wait in memory for one channel.
    hold: usize,
    /// Ends all waiting for room.
    stop: CancellationToken,
    queues: HashMap<ChannelName, Arc<Queue>>,
    labels: Labels,
    tasks: JoinSet<()>,
}

impl Deliveries {
    /// The queues of a bridge; `left` is what lies in the spool.
    pub(crate) fn new(
        layer: Arc<dyn ChannelLayer>,
        (spool, left): (Spool, Vec<Left>),
        (metrics, readiness): (Metrics, Arc<Readiness>),
        (rules, hold): (UnreadRules, usize),
        stop: CancellationToken,
    ) -> Self {
        let mut deliveries = Self {
            layer,
            spool,
            metrics,
            readiness,
            rules,
            hold: hold.max(1),
            stop,
            queues: HashMap::new(),
            labels: Labels::default(),
            tasks: JoinSet::new(),
        };
        for left in left {
            match ChannelName::new(&left.channel) {
                Ok(channel) => {
                    tracing::info!(%channel, waiting = left.count, "the spool has events of an earlier run; they go first");
                    deliveries.open(&channel, Some(&left));
                }
                Err(error) => tracing::error!("events in the spool can't be delivered: {error}"),
            }
        }
        deliveries
    }

    /// Queues `message` for `channel`. Beyond the limit of memory it waits for room while the layer or the disk takes
    /// events; while neither does, it never waits: the oldest is given up, counted and told.
    pub(crate) async fn push(
        &mut self,
        channel: &ChannelName,
        message: &LayerMessage,
        arrived: Instant,
        id: Arc<str>,
        custody: Custody,
    ) {
        let member = message.encode(&*self.layer, channel);
        let event = Held {
            seq: self.spool.number(),
            id,
            member,
            sealed: Instant::now(),
            arrived,
            custody: Some(custody),
        };
        let stop = self.stop.clone();
        if !self.queues.contains_key(channel) && !self.has_room_for(channel) {
            // Its custody ends here, so that Slack gives it again.
            self.metrics.discarded("other").increment(1);
            tracing::warn!(
                %channel,
                id = &*event.id,
                "an event of an odd type is not taken now: events of {MAX_ODD} other types wait for the channel layer"
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
                // What Slack sent before the stop is little, and the stop has an end of its own.
                break;
            }
        }
        queue.push(event);
    }

    /// Empties the queues into the layer, or onto the disk, for at most `limit`, then ends; gives the number of events
    /// that are nowhere but in memory, and so are lost.
    pub(crate) async fn drain(mut self, limit: Duration) -> usize {
        for queue in self.queues.values() {
            queue.lock().closed = true;
            queue.closing.cancel();
            queue.filled.notify_one();
            queue.pressed.notify_one();
        }
        let queues = &self.queues;
        let tasks = &mut self.tasks;
        let all = async { while tasks.join_next().await.is_some() {} };
        // A layer that hangs keeps its courier; what it was given is on the disk soon.
        let in_memory = async {
            while queues.values().any(|it| !it.lock().events.is_empty()) {
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LAST_WORDS).await;
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

    fn open(&mut self, channel: &ChannelName, left: Option<&Left>) -> &Arc<Queue> {
        let name = channel.as_str();
        let unread = self.rules.of(name);
        let name = self.labels.of(name, kind_of(channel));
        let queue = Arc::new(Queue::new(
            channel,
            unread,
            self.hold,
            self.metrics.held(name),
            self.metrics.discarded(name),
        ));
        if let Some(left) = left {
            queue.found(left.newest, left.count);
            queue.held.set(left.count as f64);
        }
        let courier = Courier {
            layer: self.layer.clone(),
            spool: self.spool.clone(),
            queue: queue.clone(),
            delivered: self.metrics.delivered(name),
            full: self.metrics.layer_full(name),
            errors: self.metrics.layer_errors("send"),
            latency: self.metrics.delivery_seconds(),
            letters: self.metrics.dead_letters(),
            expired: self.metrics.expired(name),
            readiness: self.readiness.clone(),
        };
        self.tasks.spawn(courier.run());
        if unread == Unread::Hold {
            let spiller = Spiller {
                spool: self.spool.clone(),
                queue: queue.clone(),
                metrics: self.metrics.clone(),
                wire: self.layer.wire().to_string().into(),
            };
            self.tasks.spawn(spiller.run());
        }
        self.queues.entry(channel.clone()).or_insert(queue)
    }

    /// Whether one more channel may have a queue. Where there are many, those of odd types in which nothing waits are
    /// closed; one that is wanted again is made again. A type that Slack documents always has its queue.
    fn has_room_for(&mut self, channel: &ChannelName) -> bool {
        if self.queues.len() < MAX_ODD {
            return true;
        }
        self.queues.retain(|channel, queue| {
            let closes = !is_documented(kind_of(channel)) && queue.close_if_idle();
            if closes {
                queue.filled.notify_one();
                queue.pressed.notify_one();
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
