//! The patience for one message: how often and how long it is tried, and the growing pauses between the tries.

use std::time::{Duration, Instant};

use djangobot_event::Reminder;
use djangobot_slack::{ApiError, Backoff};

use crate::bridge::outbound::post::send_error::{SendError, refused};
use crate::bridge::reply::SendFailure;

/// The tries of a call that fails while others succeed. Such a call most likely never succeeds, and the messages behind
/// it wait.
const ALONE: u32 = 8;
/// Such a call is given up after this time as well, however few tries it had beyond [`ALONE_AT_LEAST`]: each may take
/// long to fail.
const ALONE_FOR: Duration = Duration::from_secs(60);
/// The fewest tries of such a call.
const ALONE_AT_LEAST: u32 = 3;
/// The most tries of a message, whatever time the config gives it.
const TRIES: u32 = 1_000;
/// How often the log says for what a message waits.
pub(super) const REMINDER: Duration = Duration::from_secs(60);

/// The tries of a message. Its clock starts with the first failure, or with the first pause for which Slack asks, so
/// that waiting for its turn does not count.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(super) limit: Duration,
    /// How long it waited for Slack's lists before its clock started.
    waited: Duration,
    backoff: Backoff,
    pub(super) since: Option<Instant>,
    pub(super) tries: u32,
    /// The last failure.
    last: Option<ApiError>,
    reminder: Reminder,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waited: Duration::ZERO,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            since: None,
            tries: 0,
            last: None,
            reminder: Reminder::new(REMINDER),
        }
    }

    /// Starts the clock, if it does not run yet. Gives the rest of the time.
    pub(super) fn left(&mut self) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        self.rest()
    }

    /// The rest of the time, whether the clock runs or not.
    pub(super) fn rest(&self) -> Duration {
        self.limit.saturating_sub(self.took())
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.since.is_some() && self.rest().is_zero()
    }

    /// Counts the wait for one of Slack's lists since `began`.
    pub(super) fn count_wait(&mut self, began: Instant) {
        // Once the clock runs, it counts the wait by itself.
        if self.since.is_none() {
            self.waited += began.elapsed();
        }
    }

    /// Notes a failure. Gives the pause before the next try, or `None` if there is no next try.
    pub(super) fn failed(&mut self, error: &ApiError) -> Option<Duration> {
        self.tries += 1;
        self.last = Some(error.clone());
        let pause = self.backoff.failed();
        let left = self.left();
        (!left.is_zero() && self.tries < TRIES).then(|| pause.min(left))
    }

    fn took(&self) -> Duration {
        let running = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.waited + running
    }

    /// Whether a call that fails by itself has been tried enough.
    pub(super) fn is_enough_alone(&self) -> bool {
        self.tries >= ALONE || (self.tries >= ALONE_AT_LEAST && self.took() >= ALONE_FOR)
    }

    /// Asks whether the log's line about the failure is due now; the caller then writes it.
    pub(super) fn is_line_due(&mut self) -> bool {
        self.reminder.due().is_some()
    }

    /// The outcome of a message whose time is over.
    pub(super) fn timed_out(&self) -> SendError {
        self.exhausted("slack.send-timeout allows no more")
    }

    /// The outcome of a message that is not tried any more. `why` is a clause.
    pub(super) fn exhausted(&self, why: &str) -> SendError {
        let Some(error) = &self.last else {
            return SendFailure::new("ratelimited", format!("{why}.")).into();
        };
        let mut refusal = refused(error);
        let (tries, seconds) = (self.tries, self.took().as_secs());
        refusal.detail.push_str(&format!(
            " It failed {tries} times within {seconds} s and was given up: {why}."
        ));
        refusal.into()
    }
}

#[cfg(test)]
mod tests {
    use djangobot_slack::api::Failure;

    use super::*;

    fn error() -> ApiError {
        ApiError {
            method: "chat.update".into(),
            channel: Some("C1".into()),
            failure: Failure::Status(500),
        }
    }

    #[test]
    fn pauses_grow_and_end_with_the_limit() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        let pauses: Vec<_> = (0..20).map_while(|_| patience.failed(&error())).collect();
        assert_eq!(pauses.len(), 20);
        assert!(pauses[0] <= Duration::from_millis(500) && pauses[19] >= Duration::from_secs(15));
        let mut patience = Patience::new(Duration::from_millis(10));
        assert!(
            patience
                .failed(&error())
                .is_some_and(|pause| pause <= Duration::from_millis(10))
        );
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(patience.failed(&error()), None);
        let SendError::Failed(refusal) = patience.exhausted("it is late") else {
            panic!("it is an outcome");
        };
        assert_eq!(refusal.error, "http_status");
        assert!(refusal.detail.contains("2 times") && refusal.detail.ends_with("it is late."));
    }

    #[test]
    fn tries_are_bounded_whatever_the_limit() {
        let mut patience = Patience::new(Duration::from_secs(1 << 40));
        let tries = (0..2 * TRIES).take_while(|_| patience.failed(&error()).is_some());
        assert_eq!(tries.count() as u32, TRIES - 1);
    }

    #[test]
    fn a_call_that_fails_alone_is_tried_some_times() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        for _ in 1..ALONE {
            patience.failed(&error());
            assert!(!patience.is_enough_alone());
        }
        patience.failed(&error());
        assert!(patience.is_enough_alone());
    }

    #[test]
    fn waiting_for_a_list_counts_once() {
        let began = Instant::now() - Duration::from_secs(30);
        let mut patience = Patience::new(Duration::from_secs(100));
        patience.count_wait(began);
        assert!(!patience.is_over() && patience.rest() <= Duration::from_secs(70));
        assert!(patience.left() > Duration::from_secs(60));
        // The clock runs, and counts by itself.
        patience.count_wait(began);
        assert!(patience.rest() > Duration::from_secs(60));
        let mut patience = Patience::new(Duration::from_secs(20));
        patience.count_wait(began);
        assert_eq!(patience.failed(&error()), None);
        assert!(patience.is_over());
    }

    #[test]
    fn the_line_of_the_log_is_due_at_first_and_then_once_in_a_while() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        assert!(patience.is_line_due() && !patience.is_line_due());
    }
}
