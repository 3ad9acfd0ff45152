//! Moments in microseconds, by our clock or by Slack's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_slack::Ts;
use djangobot_slack::history::History;

/// A moment in Slack's time: microseconds since 1970, as its `ts` has them.
pub(crate) type Micros = u64;

/// This moment by our own clock.
pub(crate) fn micros_now() -> Micros {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_micros() as Micros
}

/// A moment for people.
pub(crate) fn time_of(micros: Micros) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_micros(micros))
}

pub(crate) fn between(from: Micros, until: Micros) -> Duration {
    Duration::from_micros(until.saturating_sub(from))
}

/// The time, in Slack's words where it has told it: what is looked for lies in its history.
pub(crate) fn now_of(history: &History) -> Micros {
    let slacks = history.slack_time();
    slacks.map_or_else(micros_now, Ts::micros)
}
