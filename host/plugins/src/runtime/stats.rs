//! The counts of a plugin, for `plugin list` and `/metrics`: its calls by their result, and their times.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::verdict::{Failure, Verdict};

/// The counts of one loaded plugin.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) calls: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) modified: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) replaced: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) deferred: AtomicU64,
    pub(crate) emitted: AtomicU64,
    /// Instances that were replaced because their memory was nearly full.
    pub(crate) retired: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) traps: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) bad_answers: AtomicU64,
    pub(crate) over_budget: AtomicU64,
    /// Events for which it was not called, because it was quarantined.
    pub(crate) bypassed: AtomicU64,
    /// The memory of all instances, in bytes.
    pub(crate) memory: AtomicU64,
    pub(crate) time: Histogram,
}

impl Stats {
    /// Counts a call by its result. Each call is in exactly one of the counts from `kept` to `over_budget`.
    ///
    /// The counts are independent atomics: a reader may see a call in `calls` that is not in its other count yet.
    pub(crate) fn ended(&self, outcome: &Result<Verdict, Failure>, took: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.time.record(took);
        let counter = match outcome {
            Ok(Verdict::Keep) => &self.kept,
            Ok(Verdict::Modify(_)) => &self.modified,
            Ok(Verdict::Drop(_)) => &self.dropped,
            Ok(Verdict::Replace(_)) => &self.replaced,
            Ok(Verdict::Answer(_)) => &self.answered,
            Ok(Verdict::Defer(_)) => &self.deferred,
            Err(Failure::Trap(_)) => &self.traps,
            Err(Failure::Time(_) | Failure::Wait(_)) => &self.timeouts,
            Err(Failure::Error(_)) => &self.errors,
            Err(Failure::Answer(_)) => &self.bad_answers,
            Err(Failure::Budget(_) | Failure::Memory(_) | Failure::Table(_)) => &self.over_budget,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Calls that failed.
    pub(crate) fn failures(&self) -> u64 {
        [
            &self.errors,
            &self.traps,
            &self.timeouts,
            &self.bad_answers,
            &self.over_budget,
        ]
        .iter()
        .map(|count| count.load(Relaxed))
        .sum()
    }
}

/// A histogram of times. Each doubling has eight buckets: a quantile is exact to about a tenth, and recording costs one
/// addition.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

/// The buckets of one doubling.
const STEPS: u32 = 8;
/// Nanoseconds in a `u64` have up to 64 doublings, so that each time has a bucket.
const BUCKETS: usize = 64 * STEPS as usize;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let nanos = (took.as_nanos() as u64).max(1);
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// The time that `share` of the calls stayed below; `None` before the first call.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|it| u64::from(it.load(Relaxed)))
            .collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            total > 0 && seen >= wanted
        })?;
        Some(Duration::from_nanos(middle_of(bucket)))
    }
}

fn bucket_of(nanos: u64) -> usize {
    let doubling = nanos.ilog2();
    // The three bits after the highest one are the step within the doubling.
    let step = if doubling >= 3 {
        nanos >> (doubling - 3) & 7
    } else {
        nanos << (3 - doubling) & 7
    };
    doubling as usize * STEPS as usize + step as usize
}

/// The middle of a bucket, in nanoseconds. The sum needs 128 bits, since the last bucket ends at 2^64.
fn middle_of(bucket: usize) -> u64 {
    let (doubling, step) = (bucket / STEPS as usize, bucket as u64 % u64::from(STEPS));
    let low = (u128::from(8 + step) << doubling) / 8;
    let high = (u128::from(9 + step) << doubling) / 8;
    (low.midpoint(high)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_to_the_truth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let check = |share, expect: f64| {
            let found = histogram.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!(
                (found / expect - 1.0).abs() < 0.1,
                "{share}: {found} for {expect}"
            );
        };
        check(0.5, 500.0);
        check(0.99, 990.0);
        check(0.001, 1.0);
    }

    #[test]
    fn any_time_has_a_bucket() {
        for nanos in [1, 2, 3, 7, 8, 1_000, u64::MAX] {
            let bucket = bucket_of(nanos);
            assert!(bucket < BUCKETS);
            let middle = middle_of(bucket) as f64;
            assert!(
                (middle / nanos as f64 - 1.0).abs() <= 0.5,
                "{nanos}: {middle}"
            );
        }
    }
}
