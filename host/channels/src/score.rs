//! The scores of the members in a sorted set: Unix time in seconds, each greater than the one before.
//!
//! The time is the server's. Our own clock may be changed between two runs, and a queue with messages of both runs
//! would be read in a wrong order, or lose messages as too old.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_event::lock::lock;

/// Gives out scores that increase strictly, even if the time stands still or goes back.
///
/// A double resolves about 0.24 us today, and messages with the same score would be read in the order of their random
/// bytes.
#[derive(Debug, Default)]
pub(crate) struct Scores(Mutex<f64>);

impl Scores {
    /// The scores of `count` messages that are sent at the time `now`, in their order.
    pub(crate) fn take(&self, now: f64, count: usize) -> Vec<f64> {
        let mut last = lock(&self.0);
        let first = now.max(last.next_up());
        let scores: Vec<f64> = std::iter::successors(Some(first), |score| Some(score.next_up()))
            .take(count)
            .collect();
        if let Some(&score) = scores.last() {
            *last = score;
        }
        scores
    }
}

/// Unix time in seconds, by our clock.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_increase_strictly_across_callers() {
        let scores = Scores::default();
        let mut all: Vec<f64> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut mine = Vec::new();
                        for _ in 0..500 {
                            mine.extend(scores.take(now(), 7));
                        }
                        assert!(mine.is_sorted_by(|a, b| a < b));
                        mine
                    })
                })
                .collect();
            callers
                .into_iter()
                .flat_map(|caller| caller.join().unwrap())
                .collect()
        });
        all.sort_by(f64::total_cmp);
        assert!(all.is_sorted_by(|a, b| a < b));
        assert!((all[0] - now()).abs() < 60.0);
    }
}
