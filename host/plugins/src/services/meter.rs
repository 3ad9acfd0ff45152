//! A meter: an allowance of log bytes or messages for each minute.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;

/// The units of one token, as many as a minute has nanoseconds: then each nanosecond adds `per_minute` units, a whole
/// number, and nothing is lost to rounding.
const TOKEN: u128 = 60_000_000_000;

/// An allowance for each minute: a token bucket. It may be taken all at once, and flows back evenly.
#[derive(Debug)]
pub(crate) struct Meter {
    per_minute: u64,
    level: Mutex<Balance>,
}

#[derive(Debug)]
struct Balance {
    /// The units that can be taken; see [`TOKEN`].
    units: u128,
    /// The moment up to which the flow is counted. It never goes back, so that no time is counted twice.
    at: Instant,
}

impl Meter {
    /// A meter that begins full.
    pub(crate) fn new(per_minute: u64) -> Self {
        Self {
            per_minute,
            level: Mutex::new(Balance {
                units: u128::from(per_minute) * TOKEN,
                at: Instant::now(),
            }),
        }
    }

    /// Takes `n` tokens.
    ///
    /// # Errors
    /// There are fewer. The error is the time after which there may be enough; [`Duration::MAX`] if `n` is more than a
    /// whole minute's allowance.
    pub(crate) fn try_take(&self, n: u64) -> Result<(), Duration> {
        self.try_take_at(n, Instant::now())
    }

    fn try_take_at(&self, n: u64, now: Instant) -> Result<(), Duration> {
        let full = u128::from(self.per_minute) * TOKEN;
        let wanted = u128::from(n) * TOKEN;
        if wanted > full {
            return Err(Duration::MAX);
        }
        let mut level = lock(&self.level);
        let elapsed = now.saturating_duration_since(level.at).as_nanos();
        let flowed = elapsed.saturating_mul(u128::from(self.per_minute));
        level.units = level.units.saturating_add(flowed).min(full);
        level.at = level.at.max(now);
        match level.units.checked_sub(wanted) {
            Some(left) => {
                level.units = left;
                Ok(())
            }
            None => {
                let nanos = (wanted - level.units).div_ceil(u128::from(self.per_minute.max(1)));
                Err(Duration::from_nanos(
                    u64::try_from(nanos).unwrap_or(u64::MAX),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_allowance_may_go_at_once_and_flows_back_evenly() {
        let meter = Meter::new(60);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(meter.try_take_at(60, at(0)), Ok(()));
        let Err(wait) = meter.try_take_at(2, at(500)) else {
            panic!("it is empty");
        };
        // The meter began a little before `start`.
        assert!(wait <= Duration::from_millis(1500) && wait > Duration::from_millis(1400));
        assert_eq!(meter.try_take_at(2, at(500) + wait), Ok(()));
        assert!(meter.try_take_at(1, at(2100)).is_err());
        assert_eq!(meter.try_take_at(60, at(3_600_000)), Ok(()));
        assert!(meter.try_take_at(1, at(3_600_000)).is_err());
        // A clock that goes back gives nothing.
        assert!(meter.try_take_at(1, at(0)).is_err());
        assert!(meter.try_take_at(1, at(3_600_000)).is_err());
    }

    #[test]
    fn more_than_a_minutes_allowance_is_never_given() {
        let check = |per_minute, n, expect| {
            assert_eq!(
                Meter::new(per_minute).try_take(n),
                expect,
                "{n} of {per_minute}"
            );
        };
        check(0, 1, Err(Duration::MAX));
        check(0, 0, Ok(()));
        check(10, 11, Err(Duration::MAX));
        check(10, 10, Ok(()));
        check(u64::MAX, u64::MAX, Ok(()));
    }
}
