//! A reader of one queue from within the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::lock::lock;
use tokio_util::sync::CancellationToken;

use crate::embedded::differences;
use crate::embedded::options::DATABASE;
use crate::embedded::queues::{EmbeddedQueues, keyspace};
use crate::embedded::ticket::Ticket;
use crate::embedded::waiters::{ItemValue, PopFrom, PopRequest, QueueItem};
use crate::layer::{Delivery, LayerError, Place, Receiver};

/// A reader of one queue. Dropping it gives unfinished messages back.
#[derive(Debug)]
pub(super) struct QueueReader {
    queues: EmbeddedQueues,
    key: Bytes,
    /// The items that were delivered and are not finished, by member.
    unfinished: Mutex<HashMap<Bytes, QueueItem>>,
    /// Cancelled when the reader or the layer is closed.
    closed: CancellationToken,
}

/// The first step of a read: an item, or a place among the waiters.
enum Turn {
    Item(QueueItem),
    Wait(Ticket),
}

impl QueueReader {
    pub(super) fn new(queues: EmbeddedQueues, key: Bytes) -> Self {
        let closed = queues.closed.child_token();
        Self {
            queues,
            key,
            unfinished: Mutex::default(),
            closed,
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<Bytes, QueueItem>> {
        lock(&self.unfinished)
    }

    /// Pops an item if there is one, or else joins the waiters, under one lock.
    fn pop_or_wait(&self) -> Result<Turn, LayerError> {
        let request = PopRequest {
            database: DATABASE,
            keys: vec![self.key.clone()],
            from: PopFrom::LowestMember,
        };
        let mut state = self.queues.shared.lock();
        let item = request
            .pop(&mut keyspace(&mut state))
            .map_err(|error| self.queues.refused(error))?;
        state.settle(None);
        Ok(match item {
            Some(item) => Turn::Item(item),
            None => Turn::Wait(Ticket::new(
                self.queues.shared.clone(),
                &mut state.waiters,
                request,
            )),
        })
    }

    /// Opens an item, and notes it as unfinished.
    fn deliver(&self, item: QueueItem) -> Option<Delivery> {
        let ItemValue::Member(member, state) = &item.value else {
            return None;
        };
        let payload = self.queues.codec.open(member);
        if let Some(difference) = differences::of_payload(&payload, &self.queues.options)
            && let Some(differences) = &mut self.queues.shared.lock().differences
        {
            differences.report(difference);
        }
        let delivery = Delivery {
            member: member.clone(),
            payload,
            place: Place {
                host: 0,
                score: state.score,
            },
            redelivered: state.returned,
            channel: None,
        };
        self.unfinished().insert(member.clone(), item);
        Some(delivery)
    }

    fn give_back(&self) {
        let unfinished = std::mem::take(&mut *self.unfinished());
        self.queues
            .shared
            .lock()
            .put_back(unfinished.into_values(), true);
    }
}

#[async_trait]
impl Receiver for QueueReader {
    async fn next(&self) -> Result<Delivery, LayerError> {
        loop {
            if self.closed.is_cancelled() {
                return Err(LayerError::Closed);
            }
            let item = match self.pop_or_wait()? {
                Turn::Item(item) => item,
                // If this future is dropped, the ticket gives back an item that came at that moment.
                Turn::Wait(mut ticket) => tokio::select! {
                    item = ticket.item() => item,
                    () = self.closed.cancelled() => return Err(LayerError::Closed),
                },
            };
            if let Some(delivery) = self.deliver(item) {
                return Ok(delivery);
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        self.unfinished().remove(&delivery.member);
        Ok(())
    }

    async fn close(&self) -> Result<(), LayerError> {
        self.closed.cancel();
        self.give_back();
        Ok(())
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.give_back();
    }
}
