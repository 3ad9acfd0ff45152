//! A place among those who wait.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::embedded::state::Shared;
use crate::embedded::waiting::{Taken, Waiting, Wanted};

/// A place in the queue of waiters. Dropped, it is given up, and what had just been handed over goes back.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    id: u64,
    receiver: oneshot::Receiver<Taken>,
}

impl Ticket {
    /// Starts to wait. The caller has seen, under the same lock, that nothing is there now.
    pub(super) fn new(shared: Arc<Shared>, waiting: &mut Waiting, wanted: Wanted) -> Self {
        let (id, receiver) = waiting.join(wanted);
        Self {
            shared,
            id,
            receiver,
        }
    }

    /// What was waited for. It comes once; dropping the future loses nothing.
    pub(super) async fn taken(&mut self) -> Taken {
        match (&mut self.receiver).await {
            Ok(taken) => taken,
            // It came already, or the store is gone.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.waiting.leave(self.id);
        if let Ok(taken) = self.receiver.try_recv() {
            state.put_back([taken], false);
        }
    }
}
