//! When a line of the log is due that reports trouble which lasts or repeats.

use std::time::{Duration, Instant};

/// Makes a line of the log due at the first trouble, and then once in each period while the trouble goes on.
///
/// Without it, a disk that stays full or a peer that sends nonsense would fill the log, and hide all else in it.
#[derive(Debug)]
pub struct Reminder {
    period: Duration,
    /// When the line was due last; `None` before the first trouble and after a [`Reminder::reset`].
    last: Option<Instant>,
    /// Troubles since then whose line was not due.
    left_out: u64,
}

impl Reminder {
    /// A reminder that has reported nothing yet.
    pub const fn new(period: Duration) -> Self {
        Self {
            period,
            last: None,
            left_out: 0,
        }
    }

    /// Counts a trouble. If the line is due now, returns how many troubles were left out since the last line; the
    /// caller writes it.
    pub fn due(&mut self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    /// Makes the line due at the next trouble, because this one is over.
    pub fn reset(&mut self) {
        self.last = None;
    }

    fn due_at(&mut self, now: Instant) -> Option<u64> {
        let is_early = |last| now.saturating_duration_since(last) < self.period;
        if self.last.is_some_and(is_early) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_once_and_then_each_period_and_at_once_after_a_reset() {
        let mut reminder = Reminder::new(Duration::from_secs(60));
        let start = Instant::now();
        let mut due = |second| reminder.due_at(start + Duration::from_secs(second));
        assert_eq!(due(0), Some(0));
        assert_eq!((due(1), due(59)), (None, None));
        assert_eq!(due(60), Some(2));
        assert_eq!(due(61), None);
        assert_eq!(due(200), Some(1));
        reminder.reset();
        assert_eq!(reminder.due_at(start + Duration::from_secs(201)), Some(0));
    }
}
