//! A waiter's place among [`Waiters`].

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::embedded::state::SharedState;
use crate::embedded::waiters::{PopRequest, QueueItem, Waiters};

/// A place among the waiters. Dropping it gives the place up, and an item that was just delivered goes back to its
/// queue.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<SharedState>,
    id: u64,
    receiver: oneshot::Receiver<QueueItem>,
}

impl Ticket {
    /// Starts to wait. The caller must have seen, under the same lock, that no item is there now.
    pub(super) fn new(
        shared: Arc<SharedState>,
        waiters: &mut Waiters,
        request: PopRequest,
    ) -> Self {
        let (id, receiver) = waiters.join(request);
        Self {
            shared,
            id,
            receiver,
        }
    }

    /// The item, which comes once. Dropping the future loses nothing.
    pub(super) async fn item(&mut self) -> QueueItem {
        match (&mut self.receiver).await {
            Ok(item) => item,
            // The item has come already, or the store is gone.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.waiters.leave(self.id);
        if let Ok(item) = self.receiver.try_recv() {
            state.put_back([item], false);
        }
    }
}
