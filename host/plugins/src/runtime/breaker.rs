//! Whether a plugin is called at all: one that keeps failing is left alone for a while, and then tried again.

use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
const IN_A_ROW: u32 = 3;
/// Of the last calls, this many are looked at, and at least half of them must have ended well.
const WINDOW: u32 = 32;
/// How long the first quarantine is; each that follows is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// The longest quarantine.
const LONGEST: Duration = Duration::from_secs(300);
/// Calls that must end well after a quarantine, until all is forgotten.
const PROBATION: u32 = 16;

/// The breaker of one plugin.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// How long the next quarantine is.
    next: Duration,
}

#[derive(Debug)]
enum State {
    /// Calls go through.
    Closed {
        in_a_row: u32,
        /// The last calls, a bit each, 1 for a failure.
        recent: u32,
        /// Calls that ended well since the last quarantine.
        well: u32,
    },
    /// No calls until then.
    Open { until: Instant },
    /// One call is under way, and decides.
    Trying,
}

/// What [`Breaker::failed`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It goes on.
    Serving,
    /// It is left alone for this long.
    Quarantined(Duration),
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            state: State::closed(),
            next: FIRST,
        }
    }

    /// Whether a call may be made now.
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

    /// When the next call may be made; `None` where it may be now, or one decides just now.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::Trying => None,
        }
    }

    /// A call ended well. Says whether this ended a quarantine.
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

    /// A call failed.
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
            // A call that was under way when another one opened the breaker.
            State::Open { .. } => return Judgement::Serving,
            State::Trying => {}
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        self.state = State::Open { until: now + pause };
        Judgement::Quarantined(pause)
    }

    /// A call that was let through came to no end; who decides is asked again.
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
