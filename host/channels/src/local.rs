//! Process-local channels: one queue for all of a process's names, and each reader gets its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use djangobot_event::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::layer::{Delivery, LayerError, Receiver, Serializer};
use crate::name::ChannelName;
use crate::queues::CHANNEL_KEY;

/// How many names may have messages waiting before those that nobody reads are dropped.
const MAX_BOXES: usize = 1000;

/// The queues of process-local names that are read now, by their names.
#[derive(Debug, Default)]
pub(crate) struct LocalQueues(Mutex<HashMap<String, Weak<LocalQueue>>>);

/// What a layer knows of the queues.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) serializer: Serializer,
    /// How many messages a name may have waiting.
    pub(crate) capacity: usize,
    /// Cancelled when the layer is closed.
    pub(crate) closed: &'a CancellationToken,
}

impl LocalQueues {
    /// A reader of `channel`; `open` opens one of its whole queue where there is none.
    pub(crate) fn receiver(
        &self,
        channel: &ChannelName,
        settings: &Settings<'_>,
        open: impl FnOnce() -> Arc<dyn Receiver>,
    ) -> Arc<dyn Receiver> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let known = queues.get(channel.queue()).and_then(Weak::upgrade);
        let queue = known
            .filter(|queue| queue.join(channel))
            .unwrap_or_else(|| {
                let queue = Arc::new(LocalQueue {
                    reader: open(),
                    boxes: Mutex::default(),
                    arrived: Notify::new(),
                    serializer: settings.serializer,
                    capacity: settings.capacity.max(1),
                });
                queue.join(channel);
                queues.insert(channel.queue().to_owned(), Arc::downgrade(&queue));
                queue
            });
        Arc::new(LocalReceiver {
            queue,
            channel: channel.clone(),
            held: Mutex::default(),
            closed: settings.closed.child_token(),
        })
    }
}

/// One queue, and what was taken from it for each name.
struct LocalQueue {
    reader: Arc<dyn Receiver>,
    boxes: Mutex<Boxes>,
    /// Told when something was put into a box.
    arrived: Notify,
    serializer: Serializer,
    capacity: usize,
}

#[derive(Default)]
struct Boxes {
    by_name: HashMap<String, Mailbox>,
    /// Whether the last reader has closed, and the queue is given back.
    is_over: bool,
}

/// What has come for one name.
#[derive(Default)]
struct Mailbox {
    deliveries: VecDeque<Delivery>,
    readers: usize,
}

impl LocalQueue {
    /// Counts a reader of `channel`, unless the queue is over.
    fn join(&self, channel: &ChannelName) -> bool {
        let mut boxes = self.boxes();
        if !boxes.is_over {
            let name = channel.as_str().to_owned();
            boxes.by_name.entry(name).or_default().readers += 1;
        }
        !boxes.is_over
    }

    /// Puts a message into the boxes of the names that it is for. One that names nobody goes to
    /// `asking`. Answers what has to leave: a box that nobody empties keeps the newest.
    fn sort(&self, delivery: Delivery, asking: &ChannelName) -> Vec<Delivery> {
        let mut names = addressees(&delivery, self.serializer);
        if names.is_empty() {
            names.insert(asking.as_str().to_owned());
        }
        let boxes = &mut self.boxes().by_name;
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

    fn boxes(&self) -> MutexGuard<'_, Boxes> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The full names in a message of a queue: a text from `send`, a list from `group_send`.
pub(crate) fn addressees(delivery: &Delivery, serializer: Serializer) -> HashSet<String> {
    let Ok(payload) = &delivery.payload else {
        return HashSet::new();
    };
    let Ok(message) = serializer.read(payload) else {
        return HashSet::new();
    };
    match message.field(CHANNEL_KEY) {
        Some(Value::Text(name)) => HashSet::from([name.into_owned()]),
        Some(Value::Json(list)) => serde_json::from_str(list.as_ref()).unwrap_or_default(),
        _ => HashSet::new(),
    }
}

struct LocalReceiver {
    queue: Arc<LocalQueue>,
    channel: ChannelName,
    /// What it gave out and is not done.
    held: Mutex<Vec<Delivery>>,
    /// Cancelled when it or the layer is closed.
    closed: CancellationToken,
}

impl LocalReceiver {
    fn held(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<Delivery> {
        let boxes = &mut self.queue.boxes().by_name;
        let delivery = boxes
            .get_mut(self.channel.as_str())?
            .deliveries
            .pop_front()?;
        self.held().push(delivery.clone());
        Some(delivery)
    }

    /// Leaves what is unfinished in the box for the name's next reader; says whether this was the queue's last one.
    fn end(&self) -> bool {
        let mut boxes = self.queue.boxes();
        if self.closed.is_cancelled() {
            return false;
        }
        self.closed.cancel();
        let name = self.channel.as_str();
        let mailbox = boxes.by_name.entry(name.to_owned()).or_default();
        for delivery in self.held().drain(..).rev() {
            mailbox.deliveries.push_front(Delivery {
                redelivered: true,
                ..delivery
            });
        }
        mailbox.readers = mailbox.readers.saturating_sub(1);
        if mailbox.readers == 0 && mailbox.deliveries.is_empty() {
            boxes.by_name.remove(name);
        }
        boxes.is_over = boxes.by_name.values().all(|mailbox| mailbox.readers == 0);
        self.queue.arrived.notify_waiters();
        boxes.is_over
    }
}

#[async_trait]
impl Receiver for LocalReceiver {
    async fn next(&self) -> Result<Delivery, LayerError> {
        loop {
            let mut arrived = std::pin::pin!(self.queue.arrived.notified());
            // Listening starts before looking, so that nothing falls between.
            arrived.as_mut().enable();
            if self.closed.is_cancelled() {
                return Err(LayerError::Closed);
            }
            if let Some(delivery) = self.pop() {
                return Ok(delivery);
            }
            let delivery = tokio::select! {
                () = self.closed.cancelled() => return Err(LayerError::Closed),
                () = arrived => continue,
                delivery = self.queue.reader.next() => delivery?,
            };
            // It is in its box before anything is waited for, so a caller that gives up loses nothing.
            for old in self.queue.sort(delivery, &self.channel) {
                self.queue.reader.done(&old).await?;
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        self.held().retain(|held| held.member != delivery.member);
        self.queue.reader.done(delivery).await
    }

    /// Ends this name; the queue is given back when its last reader closes.
    async fn close(&self) -> Result<(), LayerError> {
        if self.end() {
            self.queue.reader.close().await
        } else {
            Ok(())
        }
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        self.end();
    }
}
