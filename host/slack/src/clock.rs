//! Slack's clock, read from the `Date` header of its answers.
//!
//! History is asked for in Slack's own time. This machine's calendar clock may be wrong and may jump; its monotonic
//! clock does not.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use djangobot_event::lock::lock;
use reqwest::header::{self, HeaderMap};
use rustix::time::{ClockId, clock_gettime};

use crate::ts::Ts;

/// Slack's time, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct SlackClock {
    seen: Mutex<Option<AnswerTime>>,
}

/// The time in the last answer.
#[derive(Clone, Copy, Debug)]
struct AnswerTime {
    date: SystemTime,
    /// The machine's uptime when it came.
    uptime: Duration,
}

impl SlackClock {
    /// Notes the time in an answer's headers, if there is one.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let date = headers
            .get(header::DATE)
            .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        if let Some(date) = date {
            let uptime = uptime();
            *lock(&self.seen) = Some(AnswerTime { date, uptime });
        }
    }

    /// Slack's time. It is late by the time that the answer was under way, and by the fraction of a second that its
    /// `Date` leaves off.
    pub(crate) fn now(&self) -> Option<Ts> {
        let seen = (*lock(&self.seen))?;
        let passed = uptime().saturating_sub(seen.uptime);
        Some(Ts::from(seen.date.checked_add(passed)?))
    }
}

/// How long the machine has been up, including sleep. Setting the calendar clock does not change it.
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
