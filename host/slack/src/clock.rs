//! Slack's clock, as the `Date` of its answers tells it.
//!
//! Where something lies in a conversation is asked in Slack's own time. This machine's clock may be wrong and may jump;
//! the one that measures how long something takes does not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap};
use rustix::time::{ClockId, clock_gettime};

use crate::ts::Ts;

/// What is known of Slack's time.
#[derive(Debug, Default)]
pub(crate) struct SlackClock {
    seen: Mutex<Option<Seen>>,
}

/// What the last answer said.
#[derive(Clone, Copy, Debug)]
struct Seen {
    date: SystemTime,
    /// The machine's uptime when it came.
    uptime: Duration,
}

impl SlackClock {
    /// Notes the time that an answer tells, if it does.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        if let Some(date) = date {
            let uptime = uptime();
            // It is replaced as a whole, so that a poisoned lock is as good as a sound one.
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { date, uptime });
        }
    }

    /// Slack's time, late by as long as that answer was under way and by what its `Date` leaves off a
    /// second.
    pub(crate) fn now(&self) -> Option<Ts> {
        let seen = (*self.seen.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = uptime().saturating_sub(seen.uptime);
        Some(Ts::from(seen.date.checked_add(passed)?))
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
        assert!(first >= Ts::from_micros(784_111_777_000_000), "{first}");
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
