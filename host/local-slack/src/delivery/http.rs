//! Delivery by signed requests to the app's URL
//! (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).
//!
//! Deliveries of the same lane, such as a conversation, are posted one after another; retries may come between.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use crate::delivery::pending::Pending;
use crate::lock::lock;

mod line;
mod request;

pub(crate) use line::post_and_leave;
pub(crate) use line::{AppResponse, Line, RequestError};
pub(crate) use request::{Content, Endpoint, Target};

/// So many requests are under way at a time.
pub(crate) const LANES: usize = 16;
/// The app's side of HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) endpoint: Endpoint,
    lanes: Vec<Lane>,
    queued: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lane {
    queue: Mutex<VecDeque<Pending>>,
    pushed: Notify,
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum PostOutcome {
    Taken {
        status: u16,
        body: Option<Value>,
    },
    Failed {
        reason: &'static str,
        status: Option<u16>,
        /// Whether it is to be tried again; the app can forbid it.
        again: bool,
    },
}

impl Http {
    pub(super) fn new(secret: &str, timeout: Duration) -> Self {
        Self {
            endpoint: Endpoint::new(secret, timeout),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            queued: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.endpoint.is_used()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, pending: Pending) {
        let lane = &self.lanes[(pending.parcel.lane_number() % LANES as u64) as usize];
        self.queued.fetch_add(1, Ordering::Relaxed);
        lock(&lane.queue).push_back(pending);
        lane.pushed.notify_one();
    }

    pub(super) async fn next(&self, lane: usize) -> Pending {
        let lane = &self.lanes[lane];
        loop {
            if let Some(pending) = lock(&lane.queue).pop_front() {
                return pending;
            }
            lane.pushed.notified().await;
        }
    }

    /// Notes that a request that [`Http::next`] gave is over.
    pub(super) fn done(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PostOutcome {
    /// The meaning of an answer for the delivery.
    pub(super) fn of(answered: Result<AppResponse, RequestError>) -> Self {
        let answer = match answered {
            Ok(answer) => answer,
            Err(refused) => {
                return PostOutcome::Failed {
                    reason: refused.reason(),
                    status: None,
                    again: true,
                };
            }
        };
        if !(200..300).contains(&answer.status) {
            return PostOutcome::Failed {
                reason: "http_error",
                status: Some(answer.status),
                again: !answer.no_retry,
            };
        }
        let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
        PostOutcome::Taken {
            status: answer.status,
            body: (!answer.body.is_empty())
                .then(|| serde_json::from_slice(&answer.body).unwrap_or_else(|_| text())),
        }
    }
}
