//! How a connection to Slack ends, or the attempt to make one, and when the next one is due.

use std::time::Duration;

use crate::{
    api::{ApiError, Class},
    backoff::Backoff,
    ws::Lost,
};

/// What became of a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// We were told to stop, or nobody listens.
    Stopped,
    /// No further attempt can heal it.
    Fatal(ApiError),
    /// Another one is due.
    Ended(Ended),
}

/// How a connection, or the attempt to make one, ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// For people: a clause without a full stop.
    pub(crate) reason: String,
    /// Slack asked us to come again: no wait, unless that happens time and again.
    pub(crate) at_once: bool,
    /// Slack's `Retry-After`, or a wait of the kind.
    pub(crate) at_least: Duration,
    /// The connection is gone, so that there is nothing to close.
    pub(crate) is_dead: bool,
    /// It was open, and nothing came on it.
    pub(crate) is_deaf: bool,
    /// How long Slack had been there, since its hello.
    pub(crate) lived: Duration,
}

impl Ended {
    /// It did not come about, or the server closed it.
    pub(crate) fn because(reason: impl Into<String>) -> Ended {
        Ended {
            reason: reason.into(),
            ..Ended::default()
        }
    }

    /// Slack asked us to leave.
    pub(crate) fn leave(why: impl Into<String>) -> Ended {
        Ended {
            at_once: true,
            ..Ended::because(why)
        }
    }

    /// There is nobody left to say farewell to.
    pub(crate) fn dead(lost: &Lost) -> Ended {
        Ended {
            is_dead: true,
            is_deaf: matches!(lost, Lost::Silent(_) | Lost::NotReading),
            ..Ended::because(lost.to_string())
        }
    }

    /// Slack closed it.
    pub(crate) fn closed(code: Option<u16>, words: &str) -> Ended {
        let code = code.map_or_else(
            || "without a code".to_owned(),
            |code| format!("with code {code}"),
        );
        let words = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        Ended::because(format!("Slack closed the connection {code}{words}"))
    }

    /// Slack said no hello in time.
    pub(crate) fn mute(waited: Duration) -> Ended {
        let waited = waited.as_secs_f32();
        Ended::because(format!("Slack did not say hello within {waited} s"))
    }

    /// When to try again. A connection that lived for `stable_after` was a success.
    pub(crate) fn retry_in(&self, backoff: &mut Backoff, stable_after: Duration) -> Duration {
        if self.lived >= stable_after {
            backoff.succeeded();
        }
        let is_first = backoff.is_fresh();
        let wait = backoff.failed().max(self.at_least);
        if self.at_once && is_first {
            Duration::ZERO
        } else {
            wait
        }
    }
}

/// What it means that Slack refused to give a connection's URL. A code that we don't know may go away by itself, and is
/// retried.
pub(crate) fn refused(error: ApiError) -> Outcome {
    match error.class() {
        Class::Fatal | Class::Refresh => Outcome::Fatal(error),
        Class::RateLimited { retry_after } => Outcome::Ended(Ended {
            at_least: retry_after,
            ..Ended::because(error.to_string())
        }),
        Class::Permanent | Class::Retry | Class::Ambiguous | Class::AlreadyDone => {
            Outcome::Ended(Ended::because(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_to_leave_comes_again_at_once_but_not_time_and_again() {
        let mut backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(60));
        let stable = Duration::from_secs(20);
        let leave = || Ended::leave("goodbye");
        assert_eq!(leave().retry_in(&mut backoff, stable), Duration::ZERO);
        assert!(leave().retry_in(&mut backoff, stable) >= Duration::from_secs(4));
        let lived = Ended {
            lived: stable,
            ..leave()
        };
        assert_eq!(lived.retry_in(&mut backoff, stable), Duration::ZERO);
    }

    #[test]
    fn what_slack_asks_for_is_waited_however_small_the_backoff() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1));
        let limited = Ended {
            at_least: Duration::from_secs(90),
            ..Ended::because("ratelimited")
        };
        for _ in 0..3 {
            assert_eq!(
                limited.retry_in(&mut backoff, Duration::MAX),
                Duration::from_secs(90)
            );
        }
    }
}
