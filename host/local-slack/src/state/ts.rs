//! Slack's message time: seconds with six decimals, as a string, unique in the workspace.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Ts(pub(crate) u64);

/// The clock of this machine, in microseconds since 1970.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    now_micros() as f64 / 1e6
}

impl Ts {
    /// Reads `"1355517523.000005"`; fewer decimals are allowed, as Slack does for `oldest` and `latest`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || decimals.len() > 6 || !digits(seconds) || !digits(decimals) {
            return None;
        }
        let micros: u64 = format!("{decimals:0<6}").parse().ok()?;
        let seconds: u64 = seconds.parse().ok()?;
        Some(Ts(seconds.checked_mul(1_000_000)?.checked_add(micros)?))
    }
}

impl fmt::Display for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_was_read() {
        let check = |input: &str, expect: Option<&str>| {
            let written = Ts::parse(input).map(|ts| ts.to_string());
            assert_eq!(written.as_deref(), expect, "{input}");
        };
        check("1355517523.000005", Some("1355517523.000005"));
        check("1355517523.5", Some("1355517523.500000"));
        check("0", Some("0.000000"));
        check("", None);
        check(".5", None);
        check("1.0000000", None);
        check("-1.0", None);
        check("99999999999999999999", None);
    }
}
