//! The count of open connections: the first one begins a session, and the last one ends it.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::transport::{Frame, Incoming, Session};

/// The count of open connections, and the receiver that learns when it leaves zero and comes back to it.
///
/// The lock is held while that is sent, so that no frame comes out before the session that it belongs to.
#[derive(Debug)]
pub(super) struct Presence {
    session: Session,
    out: mpsc::Sender<Incoming>,
    cancel: CancellationToken,
    count: Mutex<usize>,
}

impl Presence {
    pub(super) fn new(
        session: Session,
        out: mpsc::Sender<Incoming>,
        cancel: CancellationToken,
    ) -> Self {
        Presence {
            session,
            out,
            cancel,
            count: Mutex::new(0),
        }
    }

    /// Notes one more connection, on which Slack said `hello`; false when nobody waits for it any more. With the first
    /// one a session begins, and the hello is handed out; for each further one, [`Incoming::Refreshed`] is.
    pub(super) async fn arrived(&self, hello: Frame) -> bool {
        let mut count = self.count.lock().await;
        if *count == 0 {
            tracing::info!(
                team = self.session.team_name,
                user = self.session.self_name,
                "connected to Slack with Socket Mode"
            );
            if !self.tell(Incoming::Connected(self.session.clone())).await
                || !self.tell(Incoming::Frame(hello)).await
            {
                return false;
            }
        } else if !self.tell(Incoming::Refreshed).await {
            return false;
        }
        *count += 1;
        true
    }

    /// Notes that an open connection is gone.
    pub(super) async fn left(&self, reason: &str, retry_in: Duration) {
        let mut count = self.count.lock().await;
        *count = count.saturating_sub(1);
        self.none_if(*count, reason, retry_in).await;
    }

    /// Notes that a lost connection had been silent for a while.
    pub(super) async fn was_deaf(&self) {
        let _ = self.tell(Incoming::Deaf).await;
    }

    /// Notes that a connection could not be made.
    pub(super) async fn did_not_come(&self, reason: &str, retry_in: Duration) {
        let count = self.count.lock().await;
        self.none_if(*count, reason, retry_in).await;
    }

    async fn none_if(&self, count: usize, reason: &str, retry_in: Duration) {
        let retry_in_ms = retry_in.as_millis() as u64;
        if count == 0 {
            tracing::warn!(reason, retry_in_ms, "disconnected from Slack");
            let reason = reason.to_owned();
            self.tell(Incoming::Disconnected { reason, retry_in }).await;
        } else {
            tracing::warn!(
                reason,
                retry_in_ms,
                others = count,
                "a Socket Mode connection is missing; others are open"
            );
        }
    }

    async fn tell(&self, incoming: Incoming) -> bool {
        tokio::select! {
            sent = self.out.send(incoming) => sent.is_ok(),
            () = self.cancel.cancelled() => false,
        }
    }
}
