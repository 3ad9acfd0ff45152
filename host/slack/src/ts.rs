//! Slack's timestamps, such as `1355517523.000005`: seconds since 1970 with six decimals, which name a message within its
//! conversation.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as Slack counts it, in microseconds since 1970. Timestamps are ordered by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ts(u64);

impl Ts {
    /// Later than any timestamp that Slack writes.
    pub const MAX: Self = Self(u64::MAX);

    /// The timestamp of so many microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Reads a `ts` of Slack's; `None` if the text is not one. Fewer than six decimals are read as if zeros followed.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, decimals) = text.split_once('.')?;
        let is_number = |text: &str, longest: usize| {
            text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        // 20 digits are as many as a u64 has.
        if !is_number(seconds, 20) || !is_number(decimals, 6) {
            return None;
        }
        let seconds: u64 = seconds.parse().ok()?;
        let micros: u64 = format!("{decimals:0<6}").parse().ok()?;
        let micros = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
        Some(Self(micros))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Seconds since 1970. Up to 2^32 seconds a double keeps all microseconds apart.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The moment that lies this long before; 1970 where that would be earlier.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

/// As Slack writes it: seconds, a point, and six decimals.
impl fmt::Display for Ts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A moment before 1970 becomes 1970.
impl From<SystemTime> for Ts {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_slack_writes_it() {
        let check = |input: &str, expect: Option<(u64, &str)>| {
            let ts = Ts::parse(input);
            let read = ts.map(|ts| (ts.micros(), ts.to_string()));
            let expect = expect.map(|(micros, text)| (micros, text.to_owned()));
            assert_eq!(read, expect, "{input}");
        };
        check(
            "1355517523.000005",
            Some((1_355_517_523_000_005, "1355517523.000005")),
        );
        check(
            "1355517523.5",
            Some((1_355_517_523_500_000, "1355517523.500000")),
        );
        check("1.", Some((1_000_000, "1.000000")));
        check("0.0", Some((0, "0.000000")));
        for not_one in [
            "",
            ".",
            ".5",
            "1355517523",
            "1.0000000",
            "-1.0",
            "+1.0",
            "1.+5",
            "1e9.0",
            "18446744073709.551616",
            "99999999999999999999.0",
            "111111111111111111111.0",
        ] {
            check(not_one, None);
        }
        check(
            "18446744073709.551615",
            Some((u64::MAX, "18446744073709.551615")),
        );
    }

    #[test]
    fn timestamps_are_ordered_by_time() {
        let check = |earlier: &str, later: &str| {
            assert!(Ts::parse(earlier) < Ts::parse(later), "{earlier} {later}");
        };
        check("1355517523.000005", "1355517523.000010");
        check("999999999.000005", "1355517523.000005");
        check("1355517523.000005", "1355517523.1");
        assert_eq!(Ts::parse("01.5"), Ts::parse("1.500000"));
    }

    #[test]
    fn moments_before_1970_become_1970() {
        let before = UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(Ts::from(before), Ts::default());
        let after = UNIX_EPOCH + Duration::from_micros(1_000_005);
        assert_eq!(Ts::from(after).to_string(), "1.000005");
        let second = Duration::from_secs(1);
        assert_eq!(Ts::from(after).saturating_sub(second), Ts::from_micros(5));
        assert_eq!(Ts::from_micros(5).saturating_sub(second), Ts::default());
    }
}
