//! The pauses between attempts to connect to a server again.

use std::time::Duration;

/// The pause before the next attempt: it doubles with each failure, from [`FIRST`] to [`LONGEST`].
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

/// Short, since most failures are a server that restarts.
const FIRST: Duration = Duration::from_millis(100);

/// Long enough to cost an absent server nothing, and short enough that nobody waits long when it is back.
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Starts again with the shortest pause: a connection worked.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The pause after another failure.
    pub(super) fn advance(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_success() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.advance().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.advance(), FIRST);
    }
}
