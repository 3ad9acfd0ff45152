//! Waiting longer after each failure, with jitter, up to a limit.

use std::time::Duration;

use rand::RngExt;

/// How long to wait before the next try.
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    /// The first wait is about `first`, each one twice the one before, none over `limit`.
    pub(crate) fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            next: first,
        }
    }

    /// After a success: begin anew.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits; a random half of the time, so that many who failed together do not come back together.
    pub(crate) async fn wait(&mut self) {
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.next.mul_f64(jitter)).await;
        self.next = (self.next * 2).min(self.limit);
    }
}
