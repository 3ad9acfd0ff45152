//! The circuit breaker of a plugin: a plugin that keeps failing is not called for a while, and then tried again.

use std::time::{Duration, Instant};

/// So many failures in a row open the breaker.
const IN_A_ROW: u32 = 3;
/// At least half of so many recent calls must have ended well. It is the number of bits in `State::Closed::recent`.
const WINDOW: u32 = 32;
/// The length of the first quarantine; each that follows is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// The longest quarantine.
const LONGEST: Duration = Duration::from_secs(300);
/// After so many good calls, the next quarantine is as short as the first again.
const PROBATION: u32 = 16;

/// The breaker of one plugin.
///
/// Closed, it becomes open by failures; open, it lets one call through when its time is over (trying); that call's
/// result closes it, or opens it for twice as long.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// The length of the next quarantine.
    next: Duration,
}

#[derive(Debug)]
enum State {
    /// Calls go through.
    Closed {
        /// Failures since the last good call.
        in_a_row: u32,
        /// The last calls, one bit each: 1 is a failure.
        recent: u32,
        /// Good calls since the last quarantine, counted from 0 again at [`PROBATION`].
        well: u32,
    },
    /// No calls go through until this moment.
    Open { until: Instant },
    /// One call is under way, and its result decides.
    Trying,
}

/// The consequence of a failed call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The plugin goes on serving.
    Serving,
    /// The plugin is not called for this long.
    Quarantined(Duration),
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            state: State::closed(),
            next: FIRST,
        }
    }

    /// Whether a call may be made now. After a quarantine it admits one call, which must be reported.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if now >= until => {
                self.state = State::Trying;
                true
            }
            State::Open { .. } | State::Trying => false,
        }
    }

    /// When the next call may be made; `None` if it may be made now, or if a call that decides is under way.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::Trying => None,
        }
    }

    /// Reports a call that ended well. Returns whether this ended a quarantine.
    pub(crate) fn succeeded(&mut self) -> bool {
        match &mut self.state {
            State::Closed {
                in_a_row,
                recent,
                well,
            } => {
                *in_a_row = 0;
                *recent <<= 1;
                *well += 1;
                if *well >= PROBATION {
                    self.next = FIRST;
                    *well = 0;
                }
                false
            }
            State::Open { .. } | State::Trying => {
                self.state = State::closed();
                true
            }
        }
    }

    /// Reports a call that failed.
    pub(crate) fn failed(&mut self, now: Instant) -> Judgement {
        match &mut self.state {
            State::Closed {
                in_a_row, recent, ..
            } => {
                *in_a_row += 1;
                *recent = *recent << 1 | 1;
                if *in_a_row < IN_A_ROW && recent.count_ones() <= WINDOW / 2 {
                    return Judgement::Serving;
                }
            }
            // This call was under way when another one opened the breaker, which its failure must not prolong.
            State::Open { .. } => return Judgement::Serving,
            State::Trying => {}
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        self.state = State::Open { until: now + pause };
        Judgement::Quarantined(pause)
    }

    /// Reports a call that was cut off without a result. If it was the one that decides, the next call decides.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if let State::Trying = self.state {
            self.state = State::Open { until: now };
        }
    }
}

impl State {
    fn closed() -> Self {
        Self::Closed {
            in_a_row: 0,
            recent: 0,
            well: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_for_ever_longer_times() {
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        assert_eq!(breaker.failed(now), Judgement::Serving);
        assert_eq!(breaker.failed(now), Judgement::Serving);
        assert_eq!(breaker.failed(now), Judgement::Quarantined(FIRST));
        assert!(!breaker.admits(now));
        let mut pause = FIRST;
        for _ in 0..12 {
            now += pause;
            assert!(breaker.admits(now), "one call is let through");
            assert!(!breaker.admits(now), "and no second one");
            pause = (pause * 2).min(LONGEST);
            assert_eq!(breaker.failed(now), Judgement::Quarantined(pause));
        }
        assert_eq!(pause, LONGEST);
    }

    #[test]
    fn one_good_call_closes_it_and_many_shorten_the_next_quarantine() {
        let mut breaker = Breaker::new();
        let now = Instant::now();
        let quarantine = |breaker: &mut Breaker| {
            for _ in 1..IN_A_ROW {
                breaker.failed(now);
            }
            breaker.failed(now)
        };
        assert_eq!(quarantine(&mut breaker), Judgement::Quarantined(FIRST));
        assert!(breaker.admits(now + FIRST));
        assert!(breaker.succeeded());
        assert_eq!(quarantine(&mut breaker), Judgement::Quarantined(2 * FIRST));
        assert!(breaker.admits(now + 2 * FIRST));
        for n in 0..=PROBATION {
            assert_eq!(breaker.succeeded(), n == 0);
        }
        assert_eq!(quarantine(&mut breaker), Judgement::Quarantined(FIRST));
    }

    #[test]
    fn failing_half_of_the_time_opens_it_and_now_and_then_does_not() {
        let mut breaker = Breaker::new();
        let now = Instant::now();
        for n in 0..1000 {
            match n % 3 {
                0 => assert_eq!(breaker.failed(now), Judgement::Serving, "{n}"),
                _ => assert!(!breaker.succeeded()),
            }
        }
        let mut breaker = Breaker::new();
        let opened = (0..100).any(|n| match n % 3 {
            0 => {
                breaker.succeeded();
                false
            }
            _ => breaker.failed(now) != Judgement::Serving,
        });
        assert!(opened);
    }

    #[test]
    fn a_trial_that_came_to_no_end_is_made_again() {
        let mut breaker = Breaker::new();
        let now = Instant::now();
        for _ in 0..IN_A_ROW {
            breaker.failed(now);
        }
        assert!(breaker.admits(now + FIRST));
        breaker.abandoned(now + FIRST);
        assert!(breaker.admits(now + FIRST));
    }
}
