//! What every call of Slack shares: its turn, the pause after a failure, and the end of all waiting on a stop.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use djangobot_slack::{ApiError, Class, Pacer, Rotation, WebApi};
use tokio_util::sync::CancellationToken;

use super::patience::{Patience, REMINDER};
use super::send_error::SendError;
use super::snapshots::Snapshots;
use crate::bridge::host_lease::HostLease;
use crate::bridge::outbound::outbox::Outbox;
use crate::bridge::roster::RosterKeeper;
use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;

/// A call of another kind that succeeded within this time shows that Slack is there.
const OF_LATE: Duration = Duration::from_secs(5);

/// Makes calls of Slack, one attempt or one wait at a time.
pub(crate) struct Caller {
    pub(crate) api: WebApi,
    /// Where tokens are renewed, if they are.
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
    /// Ends all waiting; a call that is under way is not cut, since Slack may carry it out.
    pub(crate) stop: CancellationToken,
    /// Keeps what is learnt of the token.
    pub(crate) state: State,
    /// Slack takes no metadata from this token, so that our posts carry no mark. Read from the state when first asked.
    pub(crate) unmarked: OnceLock<AtomicBool>,
    /// Histories that lookups have read.
    pub(crate) snapshots: Snapshots,
}

impl Caller {
    /// Waits until `call` may be made. Our own pace takes as long as it takes; a pause that Slack asked for counts.
    pub(super) async fn turn(
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
                    "Slack lets {method} not be called again before {limit} s are over, which is what send-timeout below [slack] allows"
                );
                return Err(patience.exhausted(&why));
            }
            tracing::warn!(
                method,
                channel,
                "a message for Slack waits, and with it those behind it in its conversation: {}",
                match is_paused {
                    true => "Slack limits the rate of this call",
                    false => "this call may not be made more often",
                }
            );
        }
    }

    /// Notes that a call failed, and waits before the next try; the outcome where there is none.
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
            return Err(patience.exhausted("other calls of Slack succeed meanwhile"));
        }
        // Of the first limit it has been spoken already.
        let is_told = patience.tries == 1 && matches!(error.class(), Class::RateLimited { .. });
        if patience.is_line_due() && !is_told {
            let (tries, left) = (patience.tries, patience.left());
            tracing::warn!(
                method,
                channel,
                tries,
                given_up_in_s = left.as_secs(),
                "{error}; it is tried again, and what is to follow it in its conversation waits"
            );
        }
        self.wait(tokio::time::sleep(pause)).await
    }

    /// Whether others succeed where this call fails. If none was made of late, one is, which asks who we are.
    async fn fails_alone(&self, error: &ApiError) -> bool {
        let is_there = |at: Instant| at.elapsed() < OF_LATE;
        error.may_be_the_calls()
            && (self.api.last_success().is_some_and(is_there) || self.api.auth_test().await.is_ok())
    }

    /// Slack limits the rate of a method, and of a channel where it is limited by channel.
    pub(super) fn limited(&self, method: &str, channel: Option<&str>, retry_after: Duration) {
        self.metrics.rate_limited(method).increment(1);
        tracing::warn!(
            method,
            channel,
            ?retry_after,
            "Slack limits the rate; this method and channel wait"
        );
        self.pacer.limited(method, channel, retry_after);
    }

    /// Waits for `until`, or ends with the stop.
    pub(super) async fn wait<T>(&self, until: impl Future<Output = T>) -> Result<T, SendError> {
        self.stop
            .run_until_cancelled(until)
            .await
            .ok_or(SendError::Stopped)
    }
}
