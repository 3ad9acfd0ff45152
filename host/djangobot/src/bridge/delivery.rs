//! The last step of the way in: a queue in memory for each channel, emptied into the layer in order.
//!
//! While the layer is away or a channel is full, events wait here and the connection to Slack goes on, and when too
//! many wait the oldest are given up. A layer that takes events, if not as fast as Slack sends them, loses none: then
//! Slack's socket waits.
//! All that waits for a channel goes to the layer in one call, so a burst costs few of them; an event
//! that comes alone waits for nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelLayer, ChannelName, LayerError, Member};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::envelope::Message;
use crate::metrics::Metrics;
use djangobot_slack::Backoff;

/// Events that go to the layer in one call, at most.
const BATCH: usize = 512;
/// Bytes that go to the layer in one call, unless a single event has more.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes that may wait for one channel, beside the number of events that the config allows.
const HOLD_BYTES: usize = 64 << 20;
/// How often a channel that stays full or away is spoken of again.
const REMINDER: Duration = Duration::from_secs(60);

/// The queues of one bridge, and the tasks that empty them.
pub(crate) struct Deliveries {
    layer: Arc<dyn ChannelLayer>,
    metrics: Metrics,
    /// Events that may wait for one channel.
    hold: usize,
    /// Ends all waiting for room.
    stop: CancellationToken,
    queues: HashMap<ChannelName, Arc<Queue>>,
    tasks: JoinSet<()>,
}

/// What waits for one channel.
struct Queue {
    channel: ChannelName,
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Told when the layer has taken events, or has begun to take none.
    room: Notify,
    held: Gauge,
    discarded: Counter,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Held>,
    bytes: usize,
    closed: bool,
    /// How many of the front are being sent just now, and so are not the ones to give up.
    sending: usize,
    /// Whether the layer took less than it was given, the last time.
    stuck: bool,
}

struct Held {
    member: Member,
    /// What the member was made of, kept where it has to be made anew when it gets old.
    payload: Option<Vec<u8>>,
    sealed: Instant,
    arrived: Instant,
    id: String,
}

impl Held {
    /// Makes the member anew where readers would soon refuse it for its age.
    fn freshen(&mut self, layer: &dyn ChannelLayer) {
        let lifetime = layer.seal_lifetime();
        if let (Some(payload), Some(lifetime)) = (&self.payload, lifetime)
            && self.sealed.elapsed() > lifetime / 2
        {
            self.member = layer.seal(payload);
            self.sealed = Instant::now();
        }
    }
}

impl Deliveries {
    pub(crate) fn new(
        layer: Arc<dyn ChannelLayer>,
        metrics: Metrics,
        hold: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            layer,
            metrics,
            hold: hold.max(1),
            stop,
            queues: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Queues `message` for `channel`. Beyond the limit it waits for room while the layer takes events; while the layer
    /// takes none, it never waits: the oldest is given up, counted and told.
    pub(crate) async fn push(
        &mut self,
        channel: &ChannelName,
        message: &Message,
        arrived: Instant,
        id: String,
    ) {
        let layer = &*self.layer;
        let (member, payload) = match layer.seal_lifetime() {
            None => (message.encode(layer, channel), None),
            Some(_) => {
                let payload = message.payload(layer.serializer());
                (layer.seal(&payload), Some(payload))
            }
        };
        let sealed = Instant::now();
        let event = Held {
            member,
            payload,
            sealed,
            arrived,
            id,
        };
        let (hold, stop) = (self.hold, self.stop.clone());
        let queue = match self.queues.get(channel) {
            Some(queue) => queue,
            None => self.open(channel),
        };
        while queue.is_full_and_moves(hold) {
            if stop
                .run_until_cancelled(queue.room.notified())
                .await
                .is_none()
            {
                // What Slack sent before the stop is little, and the stop has an end of its own.
                return queue.push(event, usize::MAX);
            }
        }
        queue.push(event, hold);
    }

    /// Empties the queues into the layer for at most `limit`, then ends; gives the number of events that were left.
    pub(crate) async fn drain(mut self, limit: Duration) -> usize {
        for queue in self.queues.values() {
            queue.lock().closed = true;
            queue.changed.notify_one();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, all).await;
        self.tasks.shutdown().await;
        self.queues
            .values()
            .map(|queue| queue.lock().events.len())
            .sum()
    }

    fn open(&mut self, channel: &ChannelName) -> &Arc<Queue> {
        let queue = Arc::new(Queue {
            channel: channel.clone(),
            waiting: Mutex::default(),
            changed: Notify::new(),
            room: Notify::new(),
            held: self.metrics.held(channel.as_str()),
            discarded: self.metrics.discarded(channel.as_str()),
        });
        let courier = Courier {
            layer: self.layer.clone(),
            queue: queue.clone(),
            delivered: self.metrics.delivered(channel.as_str()),
            full: self.metrics.layer_full(channel.as_str()),
            errors: self.metrics.layer_errors("send"),
            latency: self.metrics.delivery_seconds(),
        };
        self.tasks.spawn(courier.run());
        self.queues.entry(channel.clone()).or_insert(queue)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no room, and will be soon.
    fn is_full_and_moves(&self, hold: usize) -> bool {
        let waiting = self.lock();
        let is_full = waiting.events.len() >= hold || waiting.bytes >= HOLD_BYTES;
        is_full && !waiting.stuck
    }

    fn push(&self, event: Held, hold: usize) {
        let mut waiting = self.lock();
        waiting.bytes += event.member.0.len();
        waiting.events.push_back(event);
        while (waiting.events.len() > hold || waiting.bytes > HOLD_BYTES)
            && waiting.events.len() > waiting.sending + 1
        {
            let oldest = waiting.sending;
            if let Some(given_up) = waiting.events.remove(oldest) {
                waiting.bytes -= given_up.member.0.len();
                self.discarded.increment(1);
                tracing::debug!(channel = %self.channel, id = given_up.id, "event given up: too many wait");
            }
        }
        let first = waiting.events.len() == 1;
        drop(waiting);
        if first {
            self.changed.notify_one();
        }
    }

    /// Up to `limit` events at the front, once there are any, each made ready by `freshen`; `None` when the queue is
    /// closed and empty.
    async fn front(&self, limit: usize, freshen: impl Fn(&mut Held)) -> Option<Vec<Member>> {
        loop {
            {
                let mut waiting = self.lock();
                let mut bytes = 0;
                let batch: Vec<Member> = waiting
                    .events
                    .iter_mut()
                    .take(limit)
                    .take_while(|event| {
                        let fits = bytes == 0 || bytes + event.member.0.len() <= BATCH_BYTES;
                        bytes += event.member.0.len();
                        fits
                    })
                    .map(|event| {
                        freshen(event);
                        event.member.clone()
                    })
                    .collect();
                waiting.sending = batch.len();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Forgets the first `count`, which are in the layer, and tells of each; `stuck` says whether there were more.
    fn forget(&self, count: usize, stuck: bool, tell: impl FnMut(Held)) -> usize {
        let (gone, left): (Vec<Held>, usize) = {
            let mut waiting = self.lock();
            let count = count.min(waiting.events.len());
            let gone: Vec<Held> = waiting.events.drain(..count).collect();
            waiting.bytes -= gone.iter().map(|event| event.member.0.len()).sum::<usize>();
            waiting.sending = 0;
            waiting.stuck = stuck;
            (gone, waiting.events.len())
        };
        self.room.notify_one();
        gone.into_iter().for_each(tell);
        left
    }
}

/// Empties one queue into the layer. The one place that tries a send to the layer again.
struct Courier {
    layer: Arc<dyn ChannelLayer>,
    queue: Arc<Queue>,
    delivered: Counter,
    full: Counter,
    errors: Counter,
    latency: Histogram,
}

/// Why a queue does not move.
#[derive(PartialEq)]
enum Stuck {
    Full,
    Nobody,
    Away,
}

impl Courier {
    async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut stuck: Option<(Stuck, Instant)> = None;
        let mut limit = BATCH;
        while let Some(batch) = self
            .queue
            .front(limit, |event| event.freshen(&*self.layer))
            .await
        {
            let outcome = self.layer.send(&self.queue.channel, &batch).await;
            let (accepted, now_stuck) = match &outcome {
                Ok(sent) if sent.receivers == Some(0) => (0, Some(Stuck::Nobody)),
                Ok(sent) if sent.accepted < batch.len() => (sent.accepted, Some(Stuck::Full)),
                Ok(sent) => (sent.accepted, None),
                Err(_) => (0, Some(Stuck::Away)),
            };
            let left = self.delivered(accepted, now_stuck.is_some());
            // Of several events a broadcast says only that one of them reached nobody; of one it says all.
            limit = if now_stuck == Some(Stuck::Nobody) {
                1
            } else {
                BATCH
            };
            let Some(reason) = now_stuck else {
                if stuck.take().is_some() {
                    tracing::info!(channel = %self.queue.channel, waiting = left, "the channel takes events again");
                }
                self.queue.held.set(left as f64);
                backoff.succeeded();
                continue;
            };
            self.queue.held.set(left as f64);
            match reason {
                Stuck::Full => self.full.increment(1),
                Stuck::Away => self.errors.increment(1),
                Stuck::Nobody => {}
            }
            if accepted > 0 {
                backoff.succeeded();
            }
            let told = stuck
                .as_ref()
                .is_some_and(|(before, at)| *before == reason && at.elapsed() < REMINDER);
            if !told {
                self.tell(&reason, outcome.as_ref().err(), left);
                stuck = Some((reason, Instant::now()));
            }
            backoff.wait().await;
        }
    }

    fn delivered(&self, count: usize, stuck: bool) -> usize {
        self.delivered.increment(count as u64);
        self.queue.forget(count, stuck, |event| {
            self.latency.record(event.arrived.elapsed().as_secs_f64());
            tracing::debug!(id = event.id, channel = %self.queue.channel, "event delivered");
        })
    }

    fn tell(&self, reason: &Stuck, error: Option<&LayerError>, waiting: usize) {
        let channel = &self.queue.channel;
        match (reason, error) {
            (Stuck::Away, Some(error)) => {
                tracing::error!(%channel, waiting, "{error}; events wait in memory until it takes them");
            }
            (Stuck::Nobody, _) => tracing::warn!(
                %channel, waiting,
                "nobody is subscribed to the channel, and a broadcast layer keeps nothing; events wait in memory. Is a worker running? python manage.py runworker {channel}"
            ),
            _ => tracing::warn!(
                %channel, waiting,
                "the channel is full: no worker reads it, or not fast enough; events wait in memory. Is one running? python manage.py runworker {channel}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn queue() -> Queue {
        let metrics = Metrics::new();
        Queue {
            channel: ChannelName::new("slack.message").unwrap(),
            waiting: Mutex::default(),
            changed: Notify::new(),
            room: Notify::new(),
            held: metrics.held("slack.message"),
            discarded: metrics.discarded("slack.message"),
        }
    }

    fn event(text: &'static str) -> Held {
        Held {
            member: Member(Bytes::from_static(text.as_bytes())),
            payload: None,
            sealed: Instant::now(),
            arrived: Instant::now(),
            id: text.into(),
        }
    }

    fn texts(batch: &[Member]) -> Vec<&str> {
        batch
            .iter()
            .map(|member| std::str::from_utf8(&member.0).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn what_is_being_sent_is_not_given_up_and_the_rest_keeps_its_order() {
        let queue = queue();
        queue.push(event("a"), 3);
        queue.push(event("b"), 3);
        assert_eq!(
            texts(&queue.front(BATCH, |_| {}).await.unwrap()),
            ["a", "b"]
        );
        for more in ["c", "d", "e"] {
            queue.push(event(more), 3);
        }
        assert_eq!(queue.forget(1, false, |_| {}), 2);
        assert_eq!(
            texts(&queue.front(BATCH, |_| {}).await.unwrap()),
            ["b", "e"]
        );
    }

    #[test]
    fn a_full_queue_is_waited_for_only_while_the_layer_takes_events() {
        let queue = queue();
        queue.push(event("a"), 2);
        assert!(!queue.is_full_and_moves(2));
        queue.push(event("b"), 2);
        assert!(queue.is_full_and_moves(2));
        assert_eq!(queue.forget(0, true, |_| {}), 2);
        assert!(
            !queue.is_full_and_moves(2),
            "the layer is away: the oldest is given up instead"
        );
        queue.push(event("c"), 2);
        assert_eq!(queue.forget(1, false, |gone| assert_eq!(gone.id, "b")), 1);
        assert!(!queue.is_full_and_moves(2));
    }

    #[tokio::test]
    async fn a_closed_queue_ends_when_it_is_empty() {
        let queue = queue();
        queue.push(event("a"), 3);
        queue.lock().closed = true;
        assert!(queue.front(BATCH, |_| {}).await.is_some());
        queue.forget(1, false, |_| {});
        assert!(queue.front(BATCH, |_| {}).await.is_none());
    }
}
