//! A reader of one queue from within the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::embedded::differences;
use crate::embedded::options::DATABASE;
use crate::embedded::queues::{Queues, keyspace};
use crate::embedded::ticket::Ticket;
use crate::embedded::waiting::{From, Item, Taken, Wanted};
use crate::layer::{Delivery, LayerError, Place, Receiver};

/// A reader of one queue. Dropped, it gives back what it took and did not finish.
#[derive(Debug)]
pub(super) struct QueueReader {
    queues: Queues,
    key: Bytes,
    /// What was taken and is not done, by member.
    unfinished: Mutex<HashMap<Bytes, Taken>>,
    /// Cancelled when the reader or the layer is closed.
    closed: CancellationToken,
}

impl QueueReader {
    pub(super) fn new(queues: Queues, key: Bytes) -> Self {
        let closed = queues.closed.child_token();
        Self {
            queues,
            key,
            unfinished: Mutex::default(),
            closed,
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, HashMap<Bytes, Taken>> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there, or a place among those who wait.
    fn take(&self) -> Result<Result<Taken, Ticket>, LayerError> {
        let wanted = Wanted {
            database: DATABASE,
            keys: vec![self.key.clone()],
            from: From::Lowest,
        };
        let mut state = self.queues.shared.lock();
        let taken = wanted
            .take(&mut keyspace(&mut state))
            .map_err(|refusal| self.queues.refused(refusal))?;
        state.settle(None);
        Ok(
            taken
                .ok_or_else(|| Ticket::new(self.queues.shared.clone(), &mut state.waiting, wanted)),
        )
    }

    /// Notes what was taken as unfinished.
    fn deliver(&self, taken: Taken) -> Option<Delivery> {
        let Item::Member(member, standing) = &taken.item else {
            return None;
        };
        let payload = self.queues.codec.open(member);
        if let Some(difference) = differences::of_payload(&payload, &self.queues.options)
            && let Some(differences) = &mut self.queues.shared.lock().differences
        {
            differences.tell(difference);
        }
        let delivery = Delivery {
            member: member.clone(),
            payload,
            place: Place {
                host: 0,
                score: standing.score,
            },
            redelivered: standing.returned,
            channel: None,
        };
        self.unfinished().insert(member.clone(), taken);
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
            let taken = match self.take()? {
                Ok(taken) => taken,
                // Dropped while it waits, the ticket gives back what came at that moment.
                Err(mut ticket) => tokio::select! {
                    taken = ticket.taken() => taken,
                    () = self.closed.cancelled() => return Err(LayerError::Closed),
                },
            };
            if let Some(delivery) = self.deliver(taken) {
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
