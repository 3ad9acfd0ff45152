//! Process-local channels: one queue carries all of a process's names, and each reader gets its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, Value};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::layer::{CHANNEL_KEY, Queues};
use super::reader::QueueReader;
use crate::layer::{Delivery, LayerError, Receiver};
use crate::name::ChannelName;

/// Most names without a reader that messages are kept for.
const MAX_UNREAD_NAMES: usize = 1000;

/// The queues of process-local names that have readers, by key.
#[derive(Debug, Default)]
pub(super) struct LocalQueues(Mutex<HashMap<Bytes, Weak<LocalQueue>>>);

impl LocalQueues {
    /// Opens a reader of one name.
    pub(super) fn receiver(&self, queues: &Queues, channel: &ChannelName) -> LocalReader {
        let key = queues.key(channel);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, queue| queue.strong_count() > 0);
        let queue = known.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let queue = Arc::new(LocalQueue {
                reader: QueueReader::new(queues.clone(), key.clone()),
                boxes: Mutex::default(),
                arrived: Notify::new(),
                capacity: queues.options.capacities.of(channel.as_str()).max(1),
            });
            known.insert(key, Arc::downgrade(&queue));
            queue
        });
        queue
            .boxes()
            .entry(channel.as_str().to_owned())
            .or_default()
            .readers += 1;
        LocalReader {
            queue,
            channel: channel.clone(),
            held: Mutex::default(),
            closed: queues.closed.child_token(),
        }
    }
}

/// One queue and what was taken from it for each name. When the last reader goes, what is unfinished goes back.
#[derive(Debug)]
struct LocalQueue {
    reader: QueueReader,
    boxes: Mutex<HashMap<String, Mailbox>>,
    /// Told when something was put into a box.
    arrived: Notify,
    /// How many messages a box holds; of more, the oldest go, as in channels_redis.
    capacity: usize,
}

#[derive(Debug, Default)]
struct Mailbox {
    deliveries: VecDeque<Delivery>,
    readers: usize,
}

impl LocalQueue {
    fn boxes(&self) -> MutexGuard<'_, HashMap<String, Mailbox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into the boxes of the names that it is for, or of the asker where it names none.
    /// Gives what had to leave for it.
    fn sort(&self, delivery: Delivery, asker: &ChannelName) -> Vec<Delivery> {
        let mut names = addressees(&delivery);
        if names.is_empty() {
            names.insert(asker.as_str().to_owned());
        }
        let mut boxes = self.boxes();
        let mut leaving = Vec::new();
        for name in names {
            if !boxes.contains_key(&name) && boxes.len() >= MAX_UNREAD_NAMES {
                tracing::debug!(
                    channel = name,
                    "a message for a process-local channel that nobody reads is dropped"
                );
                leaving.push(delivery.clone());
                continue;
            }
            let deliveries = &mut boxes.entry(name).or_default().deliveries;
            if deliveries.len() >= self.capacity {
                leaving.extend(deliveries.pop_front());
            }
            deliveries.push_back(delivery.clone());
        }
        drop(boxes);
        self.arrived.notify_waiters();
        leaving
    }
}

/// The names in a message: a text from a send, a list from a group's.
fn addressees(delivery: &Delivery) -> HashSet<String> {
    let message = delivery
        .payload
        .as_ref()
        .ok()
        .and_then(|payload| Event::from_msgpack(payload).ok());
    match message
        .as_ref()
        .and_then(|message| message.field(CHANNEL_KEY))
    {
        Some(Value::Text(name)) => HashSet::from([name.into_owned()]),
        Some(Value::Json(list)) => serde_json::from_str(&list).unwrap_or_default(),
        _ => HashSet::new(),
    }
}

/// A reader of one process-local name.
#[derive(Debug)]
pub(super) struct LocalReader {
    queue: Arc<LocalQueue>,
    channel: ChannelName,
    /// What it gave out and is not done.
    held: Mutex<Vec<Delivery>>,
    closed: CancellationToken,
}

impl LocalReader {
    fn held(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<Delivery> {
        let delivery = self
            .queue
            .boxes()
            .get_mut(self.channel.as_str())?
            .deliveries
            .pop_front()?;
        self.held().push(delivery.clone());
        Some(delivery)
    }

    /// Leaves what is unfinished in the box for the name's next reader.
    fn give_back(&self) {
        let held = std::mem::take(&mut *self.held());
        let mut boxes = self.queue.boxes();
        let mailbox = boxes.entry(self.channel.as_str().to_owned()).or_default();
        for delivery in held.into_iter().rev() {
            mailbox.deliveries.push_front(Delivery {
                redelivered: true,
                ..delivery
            });
        }
        if !self.closed.is_cancelled() {
            mailbox.readers = mailbox.readers.saturating_sub(1);
        }
        if mailbox.readers == 0 && mailbox.deliveries.is_empty() {
            boxes.remove(self.channel.as_str());
        }
        drop(boxes);
        self.queue.arrived.notify_waiters();
    }
}

#[async_trait]
impl Receiver for LocalReader {
    async fn next(&self) -> Result<Delivery, LayerError> {
        loop {
            let mut arrived = std::pin::pin!(self.queue.arrived.notified());
            // Listens before it looks, so that nothing comes in between.
            arrived.as_mut().enable();
            if self.closed.is_cancelled() {
                return Err(LayerError::Closed);
            }
            if let Some(delivery) = self.pop() {
                return Ok(delivery);
            }
            tokio::select! {
                () = self.closed.cancelled() => return Err(LayerError::Closed),
                () = arrived => {}
                delivery = self.queue.reader.next() => {
                    for leaving in self.queue.sort(delivery?, &self.channel) {
                        self.queue.reader.done(&leaving).await?;
                    }
                }
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        self.held().retain(|held| held.member != delivery.member);
        self.queue.reader.done(delivery).await
    }

    async fn close(&self) -> Result<(), LayerError> {
        self.give_back();
        self.closed.cancel();
        Ok(())
    }
}

impl Drop for LocalReader {
    fn drop(&mut self) {
        if !self.closed.is_cancelled() {
            self.give_back();
        }
    }
}
