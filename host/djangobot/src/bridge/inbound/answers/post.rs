//! The post of one answer to a `response_url`, and the report of its outcome to the app.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use djangobot_channels::{Delivery, Receiver};
use djangobot_slack::{ApiError, Backoff, Class};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::answers::answer::ACKNOWLEDGEMENT;
use crate::bridge::inbound::answers::parts::Parts;
use crate::bridge::inbound::answers::pending::{AnswerDelivery, PendingAnswer};
use crate::bridge::inbound::answers::questions::{QuestionRow, Token};
use crate::bridge::outcome;
use crate::bridge::reply::{Reply, SendFailure};

/// How often an answer is posted while the address surely does not take it.
const TRIES: u32 = 5;
/// The longest pause that Slack's `Retry-After` gets, because later answers of the event wait as well.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Posts answers and reports their outcomes. All answers under way share it.
pub(super) struct Poster {
    pub(super) parts: Parts,
    /// The reader of the queue, once it is open.
    pub(super) receiver: OnceLock<Arc<dyn Receiver>>,
    /// Ends all waiting.
    pub(super) stop: CancellationToken,
}

/// The result of a post.
pub(super) struct PostResult {
    pub(super) token: Token,
    pub(super) pending: PendingAnswer,
    pub(super) outcome: PostOutcome,
}

/// The end of all tries to post an answer.
pub(super) enum PostOutcome {
    /// Slack has it.
    Posted,
    /// It failed, and Slack may have counted it as one of the five that an address takes.
    Failed(SendFailure),
    /// It failed, and Slack surely did not take it.
    NotTaken(SendFailure),
    /// A stop ended the tries, and Slack surely did not take it: it comes again at the next start.
    Stopped,
}

impl PostOutcome {
    /// Whether Slack surely did not take it, so that it is not one of the five.
    pub(super) fn is_unused(&self) -> bool {
        matches!(self, Self::NotTaken(_) | Self::Stopped)
    }
}

impl Poster {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            receiver: OnceLock::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Notes in the state that an answer is begun, and posts it.
    pub(super) async fn post(
        self: Arc<Self>,
        token: Token,
        row: QuestionRow,
        url: String,
        pending: PendingAnswer,
    ) -> PostResult {
        self.write(row).await;
        let outcome = self.attempt(&url, &pending.body).await;
        PostResult {
            token,
            pending,
            outcome,
        }
    }

    /// Writes the row of a question. If the disk fails, the answer is posted all the same: its user waits for it.
    pub(super) async fn write(&self, row: QuestionRow) {
        if let Err(error) = self.parts.journal.write(move |it| row.write(it)).await {
            tracing::warn!(
                "the response_url of a command or an interaction was not written: {error}; if djangobot restarts within half an hour, answers to it fail with expired_url"
            );
        }
    }

    /// Posts `body`, and again after a failure that surely had no effect.
    async fn attempt(&self, url: &str, body: &Bytes) -> PostOutcome {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut tries = 0;
        loop {
            let error = match self.parts.api.respond(url, body.clone()).await {
                Ok(()) => return PostOutcome::Posted,
                Err(error) => error,
            };
            tries += 1;
            // An answer that is shown twice is worse than one that is not shown. So only one that Slack surely did not
            // take is posted again.
            let pause = match error.class() {
                Class::Retry => backoff.failed(),
                Class::RateLimited { retry_after } => retry_after.min(LONGEST_PAUSE),
                // Slack refuses it for good, or may have taken it.
                _ => return PostOutcome::Failed(refused(&error)),
            };
            if tries == TRIES {
                return PostOutcome::NotTaken(refused(&error));
            }
            tracing::warn!("an answer was not taken by Slack: {error}; trying again");
            let waiting = tokio::time::sleep(pause);
            if self.stop.run_until_cancelled(waiting).await.is_none() {
                return PostOutcome::Stopped;
            }
        }
    }

    /// Reports the outcome of an answer to the app if it gave a `reply_channel`, and lets the layer forget the answer.
    pub(super) async fn report(
        self: Arc<Self>,
        AnswerDelivery {
            delivery, reply, ..
        }: AnswerDelivery,
        outcome: Result<(), SendFailure>,
    ) {
        self.count(&reply, &outcome);
        let lost = |why: &str| {
            if let Err(refusal) = &outcome {
                tracing::error!(
                    error = refusal.error,
                    "an answer was not sent to Slack: {} The app was not told, because {why}",
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
                let tap = self.parts.tap.as_deref();
                match outcome::report(&*self.parts.layer, tap, channel, message, &self.stop).await {
                    Ok(()) => {}
                    // Slack has the answer; only the report is lost.
                    Err(error) if outcome.is_ok() => {
                        tracing::warn!(
                            "an answer was sent to Slack, but the app was not told, because {}",
                            error.why()
                        );
                    }
                    Err(error) => lost(error.why()),
                }
            }
        }
        self.forget(&delivery).await;
    }

    /// Lets the layer forget an answer.
    pub(super) async fn forget(&self, delivery: &Delivery) {
        let Some(receiver) = self.receiver.get() else {
            return;
        };
        if let Err(error) = receiver.done(delivery).await {
            tracing::debug!(%error, "an answer stays in the channel layer until the layer can be reached again");
        }
    }

    /// Counts an answer by its outcome.
    fn count(&self, reply: &Reply, outcome: &Result<(), SendFailure>) {
        let label = match outcome {
            Ok(()) if reply.method == ACKNOWLEDGEMENT => "in_time",
            Ok(()) => "late",
            Err(refusal) => match &*refusal.error {
                "too_late" | "used_url" | "expired_url" | "no_response_url" => "too_late",
                _ => "refused",
            },
        };
        self.parts.metrics.answers(label).increment(1);
    }
}

/// The failure of a post that Slack refused, with the reason where Slack's code is not plain.
fn refused(error: &ApiError) -> SendFailure {
    let cure = match error.code() {
        "used_url" => " Slack takes five answers at one response_url.",
        "expired_url" | "invalid_url" => " Slack takes answers for half an hour.",
        _ => "",
    };
    SendFailure::new(error.code(), format!("{error}.{cure}"))
}
