//! How much goes to the layer in one call: less after a refusal, and more again when calls succeed.

use std::time::{Duration, Instant};

use super::queue::BATCH_BYTES;

/// How long what was refused is not tried again at that size.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// The size of calls on one channel.
#[derive(Debug)]
pub(super) struct Portion {
    /// Bytes that go in one call; a single event may have more.
    bytes: usize,
    /// Half of what was refused last.
    ceiling: usize,
    /// When that was.
    refused: Option<Instant>,
}

impl Portion {
    pub(super) fn new() -> Self {
        Self {
            bytes: BATCH_BYTES,
            ceiling: BATCH_BYTES,
            refused: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A call with `bytes` of several events was refused: the next one has half of them.
    pub(super) fn refused(&mut self, bytes: usize) {
        self.bytes = bytes / 2;
        self.ceiling = self.bytes;
        self.refused = Some(Instant::now());
    }

    /// A call succeeded: the next one may be larger, up to what was refused before.
    pub(super) fn succeeded(&mut self) {
        if self.refused.is_some_and(|at| at.elapsed() > MEMORY) {
            self.blamed_on_one();
        }
        self.bytes = self.bytes.saturating_mul(2).clamp(1, self.ceiling.max(1));
    }

    /// What was refused was a single event's fault, so the size of the others says nothing.
    pub(super) fn blamed_on_one(&mut self) {
        self.ceiling = BATCH_BYTES;
        self.refused = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_halves_and_successes_grow_up_to_what_was_refused() {
        let mut portion = Portion::new();
        assert_eq!(portion.bytes(), BATCH_BYTES);
        portion.refused(1000);
        assert_eq!(portion.bytes(), 500);
        portion.succeeded();
        assert_eq!(portion.bytes(), 500, "more than that was refused");
        for expect in [250, 125] {
            portion.refused(portion.bytes());
            assert_eq!(portion.bytes(), expect);
        }
        portion.blamed_on_one();
        portion.succeeded();
        assert_eq!(portion.bytes(), 250);
        (0..40).for_each(|_| portion.succeeded());
        assert_eq!(portion.bytes(), BATCH_BYTES);
        (0..40).for_each(|_| portion.refused(portion.bytes()));
        portion.blamed_on_one();
        portion.succeeded();
        assert!(portion.bytes() > 0);
    }
}
