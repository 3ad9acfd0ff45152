//! The size of calls of the layer: half after a refusal, and larger again when calls succeed.

use std::time::{Duration, Instant};

use crate::bridge::inbound::delivery::queue::BATCH_BYTES;

/// How long a size that was refused is not tried again.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// The size of calls on one channel.
///
/// `bytes <= ceiling <= BATCH_BYTES`: after a refusal both are half of the refused size, `bytes` doubles with each
/// success up to `ceiling`, and `ceiling` is forgotten after [`MEMORY`], or when a single event was to blame.
#[derive(Debug)]
pub(super) struct Portion {
    /// The most bytes that go in one call; a single event may have more.
    bytes: usize,
    /// Half of the size that was refused last.
    ceiling: usize,
    /// When it was refused.
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

    /// Notes that a call with `bytes` of several events was refused: the next one has half of them.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes = bytes / 2;
        self.ceiling = self.bytes;
        self.refused = Some(Instant::now());
    }

    /// Notes that a call succeeded: the next one may have twice the size, up to the ceiling.
    pub(super) fn succeeded(&mut self) {
        if self.refused.is_some_and(|at| at.elapsed() > MEMORY) {
            self.forget_refusal();
        }
        self.bytes = self.bytes.saturating_mul(2).clamp(1, self.ceiling.max(1));
    }

    /// Forgets the ceiling: a single event was to blame for the refusal, so the size of the call was not.
    pub(super) fn forget_refusal(&mut self) {
        self.ceiling = BATCH_BYTES;
        self.refused = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_halves_the_size_and_successes_double_it_up_to_the_ceiling() {
        let mut portion = Portion::new();
        assert_eq!(portion.bytes(), BATCH_BYTES);
        portion.shrink(1000);
        assert_eq!(portion.bytes(), 500);
        portion.succeeded();
        assert_eq!(portion.bytes(), 500, "more than that was refused");
        for expect in [250, 125] {
            portion.shrink(portion.bytes());
            assert_eq!(portion.bytes(), expect);
        }
        portion.forget_refusal();
        portion.succeeded();
        assert_eq!(portion.bytes(), 250);
        (0..40).for_each(|_| portion.succeeded());
        assert_eq!(portion.bytes(), BATCH_BYTES);
        (0..40).for_each(|_| portion.shrink(portion.bytes()));
        portion.forget_refusal();
        portion.succeeded();
        assert!(portion.bytes() > 0);
    }
}
