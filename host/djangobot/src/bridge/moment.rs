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
