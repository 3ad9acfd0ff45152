//! Slack's clock, as the `Date` of its answers tells it.
//!
//! Where something lies in a conversation is asked in Slack's own time. This machine's clock may be wrong and may jump;
//! the one that measures how long something takes does not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use reqwest::header::{self, HeaderMap};

/// What is known of Slack's time.
#[derive(Debug, Default)]
pub(crate) struct SlackClock {
    /// The time that the last answer told, since 1970, and when that answer came.
    seen: Mutex<Option<(Duration, Instant)>>,
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
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((date, Instant::now()));
        }
    }

    /// Slack's time in Unix seconds, late by as long as that answer was under way and by what its `Date` leaves off a
    /// second; a machine that slept meanwhile makes it later still.
    pub(crate) fn now(&self) -> Option<f64> {
        let (date, came) = (*self.seen.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some((date + came.elapsed()).as_secs_f64())
    }
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
