//! The clock by which gaps are measured: Slack's where it is known, else ours; and how moments and their distances are
//! written.
//!
//! Moments are [`Ts`], as Slack's own timestamps are, because they are compared with those of messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_slack::Ts;
use djangobot_slack::history::History;

/// The present by our own clock.
pub(crate) fn ts_now() -> Ts {
    Ts::from(SystemTime::now())
}

/// The present by Slack's clock, where an answer of Slack's has told it, else by ours. A clock of ours that is wrong
/// would shift a gap against the messages in it.
pub(crate) fn slack_now(history: &History) -> Ts {
    history.slack_time().unwrap_or_else(ts_now)
}

/// A moment for a log line.
pub(crate) fn http_date(ts: Ts) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_micros(ts.micros()))
}

/// How long it is from `from` to `until`; zero if `until` is the earlier one.
pub(crate) fn between(from: Ts, until: Ts) -> Duration {
    Duration::from_micros(until.micros().saturating_sub(from.micros()))
}

/// The present in Unix seconds, as the tables of the state have them.
pub(crate) fn unix_seconds_now() -> f64 {
    ts_now().as_secs_f64()
}

/// The moment of so many Unix seconds, as the tables of the state have them: 2^32 seconds keep their microseconds in a
/// double. Values that no table of ours has become 1970.
pub(crate) fn ts_of_seconds(seconds: f64) -> Ts {
    // A cast of a float saturates, and makes 0 of a NaN.
    Ts::from_micros((seconds * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_after_a_way_through_seconds() {
        for micros in [0, 1, 1_795_345_843_830_001, 4_294_967_295_999_999] {
            let ts = Ts::from_micros(micros);
            assert_eq!(ts_of_seconds(ts.as_secs_f64()), ts);
        }
        assert_eq!(ts_of_seconds(-1.0), Ts::default());
        assert_eq!(ts_of_seconds(f64::NAN), Ts::default());
    }
}
