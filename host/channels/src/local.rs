//! Process-local channels: one queue for all of a process's names, and each reader gets its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use djangobot_event::Value;
use tokio::sync::Notify;

use crate::dialect::Dialect;
use crate::layer::{Delivery, LayerError, Receiver, ReceiverId, Serializer};
use crate::name::ChannelName;
use crate::queues::{CHANNEL_KEY, Shared};
use crate::receiver::QueueReceiver;

/// How many names may have messages waiting before those that nobody reads are dropped.
const MAX_BOXES: usize = 1000;

/// The queues of process-local names that are read now, by their names.
pub(crate) struct LocalQueues<D: Dialect> {
    shared: Arc<Shared>,
    queues: Mutex<HashMap<String, Weak<LocalQueue<D>>>>,
}

impl<D: Dialect> LocalQueues<D> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            queues: Mutex::default(),
        }
    }

    /// A reader of `channel`; the first of its queue gives the queue its id.
    pub(crate) fn receiver(&self, channel: &ChannelName, id: &ReceiverId) -> Arc<dyn Receiver> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = queues
            .get(channel.queue())
            .and_then(Weak::upgrade)
            .unwrap_or_else(|| {
                let queue = Arc::new(LocalQueue {
                    // Channels_redis's own senders hash the full name, so replies may lie on any host:
                    // all are read.
                    reader: QueueReceiver::open(self.shared.clone(), channel.queue(), id),
                    boxes: Mutex::default(),
                    arrived: Notify::new(),
                    reading: tokio::sync::Mutex::default(),
                    serializer: self.shared.config.serializer,
                    capacity: self.shared.config.capacities.of(channel.as_str()).max(1),
                });
                queues.insert(channel.queue().to_owned(), Arc::downgrade(&queue));
                queue
            });
        queue
            .boxes()
            .entry(channel.as_str().to_owned())
            .or_default()
            .readers += 1;
        Arc::new(LocalReceiver {
            queue,
            channel: channel.clone(),
        })
    }
}

struct LocalQueue<D: Dialect> {
    reader: QueueReceiver<D>,
    boxes: Mutex<HashMap<String, Mailbox>>,
    /// Told when something was put into a box.
    arrived: Notify,
    /// Held by the one reader that waits for the queue on behalf of all.
    reading: tokio::sync::Mutex<()>,
    serializer: Serializer,
    capacity: usize,
}

/// What has come for one name.
#[derive(Default)]
struct Mailbox {
    deliveries: VecDeque<Delivery>,
    readers: usize,
}

impl<D: Dialect> LocalQueue<D> {
    /// Puts a message into the boxes of the names that it is for. One that names nobody goes to
    /// `asking`. Answers what has to leave: a box that nobody empties keeps the newest.
    fn sort(&self, delivery: Delivery, asking: &ChannelName) -> Vec<Delivery> {
        let mut names = self.names(&delivery);
        if names.is_empty() {
            names.push(asking.as_str().to_owned());
        }
        let mut boxes = self.boxes();
        let mut leaving = Vec::new();
        if boxes.len() > MAX_BOXES {
            // Names that nobody reads: replies that came too late, most likely.
            let unread = boxes.extract_if(|_, mailbox| mailbox.readers == 0);
            leaving.extend(unread.flat_map(|(_, mailbox)| mailbox.deliveries));
        }
        for name in names {
            let deliveries = &mut boxes.entry(name).or_default().deliveries;
            deliveries.push_back(delivery.clone());
            if deliveries.len() > self.capacity {
                leaving.extend(deliveries.pop_front());
            }
        }
        self.arrived.notify_waiters();
        leaving
    }

    /// The full names in a message: a text from `send`, a list from `group_send`.
    fn names(&self, delivery: &Delivery) -> Vec<String> {
        let Ok(payload) = &delivery.payload else {
            return Vec::new();
        };
        let Ok(message) = self.serializer.read(payload) else {
            return Vec::new();
        };
        match message.field(CHANNEL_KEY) {
            Some(Value::Text(name)) => vec![name.into_owned()],
            Some(Value::Json(list)) => serde_json::from_str(list.as_ref()).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn boxes(&self) -> MutexGuard<'_, HashMap<String, Mailbox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct LocalReceiver<D: Dialect> {
    queue: Arc<LocalQueue<D>>,
    channel: ChannelName,
}

impl<D: Dialect> LocalReceiver<D> {
    fn pop(&self) -> Option<Delivery> {
        self.queue
            .boxes()
            .get_mut(self.channel.as_str())?
            .deliveries
            .pop_front()
    }
}

#[async_trait]
impl<D: Dialect> Receiver for LocalReceiver<D> {
    async fn next(&self) -> Result<Delivery, LayerError> {
        loop {
            let mut arrived = std::pin::pin!(self.queue.arrived.notified());
            // Listening starts before looking, so that nothing falls between.
            arrived.as_mut().enable();
            if let Some(delivery) = self.pop() {
                return Ok(delivery);
            }
            let _turn = tokio::select! {
                () = arrived => continue,
                turn = self.queue.reading.lock() => turn,
            };
            if let Some(delivery) = self.pop() {
                return Ok(delivery);
            }
            let delivery = self.queue.reader.next().await?;
            // It is in its box before anything is waited for, so a caller that gives up loses nothing.
            for old in self.queue.sort(delivery, &self.channel) {
                self.queue.reader.done(&old).await?;
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        self.queue.reader.done(delivery).await
    }

    /// Ends this name; the queue is given back when its last reader closes.
    async fn close(&self) -> Result<(), LayerError> {
        let last = {
            let mut boxes = self.queue.boxes();
            if let Some(mailbox) = boxes.get_mut(self.channel.as_str()) {
                mailbox.readers = mailbox.readers.saturating_sub(1);
            }
            boxes.values().all(|mailbox| mailbox.readers == 0)
        };
        if last {
            self.queue.reader.close().await
        } else {
            Ok(())
        }
    }
}
