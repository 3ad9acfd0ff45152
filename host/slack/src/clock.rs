//! Slack's clock, as the `Date` of its answers tells it.
//!
//! Where something lies in a conversation is asked in Slack's own time. This machine's clock may be wrong and may jump;
//! the one that measures how long something takes does not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{self, HeaderMap};
use rustix::time::{ClockId, clock_gettime};

/// What is known of Slack's time.
#[derive(Debug, Default)]
pub(crate) struct SlackClock {
    /// The time that the last answer told, since 1970, and when that answer came.
    seen: Mutex<Option<(Duration, Duration)>>,
}

impl SlackClock {
    /// Notes the time that an answer tells, if it does.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        if let Some(date) = date {
            // A whole pair is written at once, so that a poisoned lock is as good as a sound one.
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, uptime()));
        }
    }

    /// Slack's time in Unix seconds, late by as long as that answer was under way and by what its `Date` leaves off a
    /// second.
    pub(crate) fn now(&self) -> Option<f64> {
        let (date, came) = (*self.seen.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some((date + uptime().saturating_sub(came)).as_secs_f64())
    }
}

/// How long the machine has been up, what it slept included: no clock that is set moves this.
fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(date: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::DATE, header::HeaderValue::from_static(date))])
    }

    #[test]
    fn slacks_time_is_that_of_its_last_answer_and_goes_on_from_there() {
        let clock = SlackClock::default();
        assert_eq!(clock.now(), None);
        clock.note(&answered("Sun, 06 Nov 1994 08:49:37 GMT"));
        let first = clock.now().unwrap();
        assert!(first >= 784_111_777.0, "{first}");
        assert!(clock.now().unwrap() >= first);
        clock.note(&answered("the day before yesterday"));
        clock.note(&HeaderMap::new());
        assert!(
            clock.now().unwrap() >= first,
            "what tells no time changes none"
        );
        clock.note(&answered("Sun, 06 Nov 1994 07:00:00 GMT"));
        assert!(clock.now().unwrap() < first);
    }
}
