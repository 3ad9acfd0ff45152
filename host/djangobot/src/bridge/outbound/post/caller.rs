//! The caller, which all calls of Slack share: the wait for a turn, the pause after a failure, and the end of all
//! waiting at a stop.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use djangobot_slack::{ApiError, Class, Pacer, Rotation, WebApi};
use tokio_util::sync::CancellationToken;

use crate::bridge::host_lease::HostLease;
use crate::bridge::outbound::outbox::Outbox;
use crate::bridge::outbound::post::patience::{Patience, REMINDER};
use crate::bridge::outbound::post::send_error::SendError;
use crate::bridge::outbound::post::snapshots::Snapshots;
use crate::bridge::roster::RosterKeeper;
use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;

/// Another call that succeeded within this time shows that Slack serves calls.
const RECENT: Duration = Duration::from_secs(5);

/// Makes calls of Slack, one attempt or one wait at a time.
pub(crate) struct Caller {
    pub(crate) api: WebApi,
    /// Renews tokens, if they expire.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) pacer: Pacer,
    pub(crate) roster: Arc<RosterKeeper>,
    pub(crate) team: Team,
    pub(crate) outbox: Outbox,
    /// Says whether this host may call.
    pub(crate) lease: Arc<HostLease>,
    pub(crate) metrics: Metrics,
    /// How long a message is tried, from its first failure on.
    pub(crate) send_timeout: Duration,
    /// Ends all waiting. A call that is under way is not cut, because Slack may carry it out.
    pub(crate) stop: CancellationToken,
    /// Keeps facts about the token.
    pub(crate) state: State,
    /// Whether Slack takes no metadata from this token, so that our posts carry no mark.
    pub(crate) refuses_marks: OnceLock<AtomicBool>,
    /// Histories that lookups have read.
    pub(crate) snapshots: Snapshots,
}

impl Caller {
    /// Waits until a call of `method` in `channel` may be made. Waiting for our own pace does not count against the
    /// message's time, but a pause for which Slack asked does.
    ///
    /// # Errors
    ///
    /// Fails with the outcome if Slack's pause takes longer than the message's time, and without one after a stop.
    pub(super) async fn wait_for_turn(
        &self,
        method: &str,
        channel: Option<&str>,
        patience: &mut Patience,
    ) -> Result<(), SendError> {
        let mut ready = std::pin::pin!(self.pacer.ready(method, channel));
        loop {
            let is_paused = self.pacer.is_paused(method, channel);
            let wait = match is_paused || patience.since.is_some() {
                true => patience.left().min(REMINDER),
                false => REMINDER,
            };
            let came = tokio::time::timeout(wait, &mut ready);
            if self.wait(came).await?.is_ok() {
                return Ok(());
            }
            if patience.is_over() {
                let limit = patience.limit.as_secs();
                let why = format!(
                    "Slack asked for a pause of {method} that is longer than the {limit} s of slack.send-timeout"
                );
                return Err(patience.exhausted(&why));
            }
            tracing::warn!(
                method,
                channel,
                "a message for Slack waits, and so do those behind it in its conversation: {}",
                match is_paused {
                    true => "Slack limits the rate of this call",
                    false => "this call has reached the rate that Slack allows",
                }
            );
        }
    }

    /// Notes that a call failed, and waits before the next try.
    ///
    /// # Errors
    ///
    /// Fails with the outcome if there is no next try.
    pub(super) async fn pause(
        &self,
        error: &ApiError,
        patience: &mut Patience,
    ) -> Result<(), SendError> {
        let (method, channel) = (&*error.method, error.channel.as_deref());
        let Some(pause) = patience.failed(error) else {
            return Err(patience.timed_out());
        };
        if patience.is_enough_alone() && self.fails_alone(error).await {
            return Err(patience.exhausted("other calls of Slack succeeded meanwhile"));
        }
        // The first rate limit has been logged already.
        let is_logged = patience.tries == 1 && matches!(error.class(), Class::RateLimited { .. });
        if patience.is_line_due() && !is_logged {
            let (tries, left) = (patience.tries, patience.left());
            tracing::warn!(
                method,
                channel,
                tries,
                given_up_in_s = left.as_secs(),
                "a message was not sent to Slack: {error}; trying again, while those behind it in its conversation wait"
            );
        }
        self.wait(tokio::time::sleep(pause)).await
    }

    /// Whether other calls succeed while this one fails. If none was made recently, `auth.test` is called.
    async fn fails_alone(&self, error: &ApiError) -> bool {
        let is_recent = |at: Instant| at.elapsed() < RECENT;
        error.may_be_the_calls()
            && (self.api.last_success().is_some_and(is_recent)
                || self.api.auth_test().await.is_ok())
    }

    /// Notes that Slack limits the rate of a method, or of a method in a channel.
    pub(super) fn note_rate_limit(
        &self,
        method: &str,
        channel: Option<&str>,
        retry_after: Duration,
    ) {
        self.metrics.rate_limited(method).increment(1);
        tracing::warn!(
            method,
            channel,
            ?retry_after,
            "Slack limits the rate of a method; calls of it wait"
        );
        self.pacer.limited(method, channel, retry_after);
    }

    /// Waits for `until`.
    ///
    /// # Errors
    ///
    /// Fails if the stop comes first.
    pub(super) async fn wait<T>(&self, until: impl Future<Output = T>) -> Result<T, SendError> {
        self.stop
            .run_until_cancelled(until)
            .await
            .ok_or(SendError::Stopped)
    }
}
