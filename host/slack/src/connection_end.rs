//! How a connection to Slack ends, or the attempt to make one, and when the next one is due.

use std::time::Duration;

use crate::api::{ApiError, Class};
use crate::backoff::Backoff;
use crate::ws::ConnectionLoss;

/// The outcome of a connection, or of the attempt to make one.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// We are to stop, or the receiver is gone.
    Stopped,
    /// No further attempt can heal it.
    Fatal(ApiError),
    /// Another one is due.
    Ended(ConnectionEnd),
}

/// How a connection, or the attempt to make one, ended.
#[derive(Debug, Default)]
pub(crate) struct ConnectionEnd {
    /// For people: a clause without a full stop.
    pub(crate) reason: String,
    /// Slack asked us to leave and to come again, which is not a failure.
    pub(crate) is_planned: bool,
    /// Slack's `Retry-After`, or a wait of the kind.
    pub(crate) at_least: Duration,
    /// The connection is gone, so that there is nothing to close.
    pub(crate) is_dead: bool,
    /// It stayed open, but nothing came on it.
    pub(crate) is_deaf: bool,
    /// How long Slack had been there, since its hello.
    pub(crate) lived: Duration,
}

impl ConnectionEnd {
    /// It could not be made, or the server closed it.
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        ConnectionEnd {
            reason: reason.into(),
            ..ConnectionEnd::default()
        }
    }

    /// Slack asked us to leave.
    pub(crate) fn leave(why: impl Into<String>) -> Self {
        ConnectionEnd {
            is_planned: true,
            ..ConnectionEnd::because(why)
        }
    }

    /// The peer is gone, so that no close is sent.
    pub(crate) fn dead(lost: &ConnectionLoss) -> Self {
        ConnectionEnd {
            is_dead: true,
            is_deaf: matches!(lost, ConnectionLoss::Silent(_) | ConnectionLoss::NotReading),
            ..ConnectionEnd::because(lost.to_string())
        }
    }

    /// Slack closed it.
    pub(crate) fn closed(code: Option<u16>, words: &str) -> Self {
        let code = code.map_or_else(
            || "without a code".to_owned(),
            |code| format!("with code {code}"),
        );
        let words = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        ConnectionEnd::because(format!("Slack closed the connection {code}{words}"))
    }

    /// No connection could be made in time.
    pub(crate) fn slow(waited: Duration) -> Self {
        let waited = waited.as_secs_f32();
        ConnectionEnd::because(format!("no connection could be opened within {waited} s"))
    }

    /// Slack said no hello in time.
    pub(crate) fn mute(waited: Duration) -> Self {
        let waited = waited.as_secs_f32();
        ConnectionEnd::because(format!("Slack did not say hello within {waited} s"))
    }
}

/// When connections are made: the waits before the next one, which grow with failures and with nothing else.
#[derive(Debug)]
pub(crate) struct Pace {
    failures: Backoff,
    /// The wait after a connection that Slack asked to leave before it had lived for long.
    planned: Backoff,
    stable_after: Duration,
}

/// The longest wait before a connection that Slack itself asks for.
const LONGEST_PLANNED: Duration = Duration::from_secs(5);

impl Pace {
    /// Waits that double from `first` to `max`, until a connection has lived for `stable_after`.
    pub(crate) fn new(first: Duration, max: Duration, stable_after: Duration) -> Self {
        Pace {
            failures: Backoff::new(first, max),
            planned: Backoff::new(first, max.min(LONGEST_PLANNED)),
            stable_after,
        }
    }

    /// When to try again after a connection ended. After an end that Slack planned that is at once, and after short
    /// waits where Slack plans one end after another.
    pub(crate) fn retry_in(&mut self, ended: &ConnectionEnd) -> Duration {
        if ended.lived >= self.stable_after {
            self.failures.succeeded();
            self.planned.succeeded();
        }
        let wait = match ended.is_planned {
            true if self.planned.is_fresh() => {
                self.planned.failed();
                Duration::ZERO
            }
            true => self.planned.failed(),
            false => self.failures.failed(),
        };
        wait.max(ended.at_least)
    }
}

/// The outcome where Slack gave no URL for a connection. Only the codes in the table of fatal codes end the work; any
/// other error may pass, and is retried.
pub(crate) fn refused(error: ApiError) -> Outcome {
    match error.class() {
        Class::Fatal | Class::Refresh => Outcome::Fatal(error),
        Class::RateLimited { retry_after } => Outcome::Ended(ConnectionEnd {
            at_least: retry_after,
            ..ConnectionEnd::because(error.to_string())
        }),
        Class::Permanent | Class::Retry | Class::Ambiguous | Class::AlreadyDone => {
            Outcome::Ended(ConnectionEnd::because(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(
            Duration::from_millis(500),
            Duration::from_secs(10),
            Duration::from_secs(20),
        )
    }

    #[test]
    fn a_connection_that_slack_asked_to_leave_is_replaced_at_once_or_soon_however_often() {
        let mut pace = pace();
        let leave = || ConnectionEnd::leave("goodbye");
        assert_eq!(pace.retry_in(&leave()), Duration::ZERO);
        for _ in 0..100 {
            let wait = pace.retry_in(&leave());
            assert!(
                wait >= Duration::from_millis(250),
                "it is not a hot loop: {wait:?}"
            );
            assert!(wait <= LONGEST_PLANNED, "{wait:?}");
        }
        let lived = ConnectionEnd {
            lived: Duration::from_secs(20),
            ..leave()
        };
        assert_eq!(pace.retry_in(&lived), Duration::ZERO);
    }

    #[test]
    fn planned_ends_do_not_lengthen_the_wait_after_a_failure() {
        let mut pace = pace();
        for _ in 0..20 {
            pace.retry_in(&ConnectionEnd::leave("goodbye"));
        }
        let wait = pace.retry_in(&ConnectionEnd::because("the server cut the connection"));
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
    }

    #[test]
    fn the_wait_that_slack_asks_for_is_kept_however_small_the_backoff() {
        let mut pace = Pace::new(
            Duration::from_millis(1),
            Duration::from_secs(1),
            Duration::MAX,
        );
        let limited = ConnectionEnd {
            at_least: Duration::from_secs(90),
            ..ConnectionEnd::because("ratelimited")
        };
        for _ in 0..3 {
            assert_eq!(pace.retry_in(&limited), Duration::from_secs(90));
        }
    }
}
