//! One answer on its way to a `response_url`, and its outcome on its way to the app.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, Delivery, Receiver};
use djangobot_slack::{ApiError, Backoff, Class, WebApi};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer::ACKNOWLEDGEMENT;
use super::pending::{Pending, Taken};
use super::questions::{Row, Token};
use crate::bridge::outcome;
use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::roster::RosterKeeper;
use crate::bridge::tap::Tap;
use crate::journal::Journal;
use crate::metrics::Metrics;

/// How often an answer is offered to an address that surely did not take it.
const TRIES: u32 = 5;
/// The longest pause that an address asks for and gets: answers behind it wait too.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What all answers of a bridge share.
pub(super) struct Parts {
    pub(super) layer: Arc<dyn ChannelLayer>,
    pub(super) api: WebApi,
    pub(super) journal: Journal,
    pub(super) roster: Arc<RosterKeeper>,
    pub(super) metrics: Metrics,
    pub(super) tap: Option<Arc<dyn Tap>>,
    /// What reads the answers, once it is open.
    pub(super) receiver: OnceLock<Arc<dyn Receiver>>,
    /// Ends all waiting.
    pub(super) stop: CancellationToken,
}

/// What became of a post.
pub(super) struct Posted {
    pub(super) token: Token,
    pub(super) pending: Pending,
    /// `None`: we stop, and Slack surely does not have it.
    pub(super) outcome: Option<Result<(), SendFailure>>,
    /// Slack does not count it.
    pub(super) is_unused: bool,
}

impl Parts {
    /// Notes in the state that an answer is begun, and posts it.
    pub(super) async fn post(
        self: Arc<Self>,
        token: Token,
        row: Row,
        url: String,
        pending: Pending,
    ) -> Posted {
        self.write(row).await;
        let (outcome, is_unused) = self.attempts(&url, &pending.body).await;
        Posted {
            token,
            pending,
            outcome,
            is_unused,
        }
    }

    /// Writes the row of an event. An answer goes out all the same where the disk does not take that.
    pub(super) async fn write(&self, row: Row) {
        if let Err(error) = self.journal.write(move |it| row.write(it)).await {
            tracing::warn!(
                "{error}; where answers to a command or an interaction go is not known after a restart"
            );
        }
    }

    async fn attempts(&self, url: &str, body: &Bytes) -> (Option<Result<(), SendFailure>>, bool) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut tries = 0;
        loop {
            let error = match self.api.respond(url, body.clone()).await {
                Ok(()) => return (Some(Ok(())), false),
                Err(error) => error,
            };
            tries += 1;
            // Shown twice is worse than not shown: only what surely was not taken is sent again.
            let pause = match error.class() {
                Class::Retry => backoff.failed(),
                Class::RateLimited { retry_after } => retry_after.min(LONGEST_PAUSE),
                _ => return (Some(Err(refused(&error))), false),
            };
            if tries == TRIES {
                return (Some(Err(refused(&error))), true);
            }
            tracing::warn!("{error}; trying again");
            let waiting = tokio::time::sleep(pause);
            if self.stop.run_until_cancelled(waiting).await.is_none() {
                return (None, true);
            }
        }
    }

    /// Tells the app what became of its answer, if it wants to hear of it, and lets the layer forget it.
    pub(super) async fn tell(
        self: Arc<Self>,
        Taken {
            delivery, reply, ..
        }: Taken,
        outcome: Result<(), SendFailure>,
    ) {
        self.count(&reply, &outcome);
        let lost = |why: &str| {
            if let Err(refusal) = &outcome {
                tracing::error!(
                    error = refusal.error,
                    "an answer to Slack is lost: {} ({why})",
                    refusal.detail
                );
            }
        };
        match &reply.channel {
            None => lost(reply.silence),
            Some(channel) => {
                let message = match &outcome {
                    Ok(()) => outcome::sent(&reply, json!({})),
                    Err(refusal) => outcome::failed(&reply, refusal),
                };
                let tap = self.tap.as_deref();
                match outcome::report(&*self.layer, tap, channel, message, &self.stop).await {
                    Ok(()) => {}
                    // What Slack has is known; only this word is lost.
                    Err(unheard) if outcome.is_ok() => {
                        tracing::warn!(
                            "an answer is with Slack, but the app can't be told: {}",
                            unheard.why()
                        );
                    }
                    Err(unheard) => lost(unheard.why()),
                }
            }
        }
        self.done(&delivery).await;
    }

    /// Lets the layer forget an answer.
    pub(super) async fn done(&self, delivery: &Delivery) {
        let Some(receiver) = self.receiver.get() else {
            return;
        };
        if let Err(error) = receiver.done(delivery).await {
            tracing::debug!(%error, "an answer stays on the layer until that answers again");
        }
    }

    fn count(&self, reply: &Reply, outcome: &Result<(), SendFailure>) {
        let label = match outcome {
            Ok(()) if reply.method == ACKNOWLEDGEMENT => "in_time",
            Ok(()) => "late",
            Err(refusal) => match &*refusal.error {
                "too_late" | "used_url" | "expired_url" | "no_response_url" => "too_late",
                _ => "refused",
            },
        };
        self.metrics.answers(label).increment(1);
    }
}

/// What Slack said, as a sentence that another can follow.
fn refused(error: &ApiError) -> SendFailure {
    let cure = match error.code() {
        "used_url" => " Slack takes five answers at one response_url.",
        "expired_url" | "invalid_url" => " Slack takes answers for half an hour.",
        _ => "",
    };
    SendFailure::new(error.code(), format!("{error}.{cure}"))
}
