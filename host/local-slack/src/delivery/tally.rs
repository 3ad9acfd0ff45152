//! Sums over many deliveries: how many, and how fast they were acknowledged.

use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use crate::lock::lock;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    /// One was acknowledged or given up.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    begun: u64,
    acknowledged: u64,
    given_up: u64,
    retries: u64,
    duplicates: u64,
    /// In microseconds.
    latencies: Vec<u32>,
}

/// The sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TallySums {
    pub(crate) acknowledged: u64,
    pub(crate) given_up: u64,
    pub(crate) open: u64,
    pub(crate) retries: u64,
    pub(crate) duplicates: u64,
    pub(crate) latency: Latency,
}

/// The times from an envelope's sending to its acknowledgement, in milliseconds; all 0 where none was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Tally {
    pub(super) fn begun(&self) {
        lock(&self.counts).begun += 1;
    }

    pub(super) fn retried(&self) {
        lock(&self.counts).retries += 1;
    }

    pub(super) fn duplicated(&self) {
        lock(&self.counts).duplicates += 1;
    }

    pub(super) fn given_up(&self) {
        lock(&self.counts).given_up += 1;
        self.settled.notify_one();
    }

    pub(super) fn acknowledged(&self, latency: Duration) {
        {
            let mut counts = lock(&self.counts);
            counts.acknowledged += 1;
            let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            counts.latencies.push(micros);
        }
        self.settled.notify_one();
    }

    /// Waits until no more than `open` are neither acknowledged nor given up. One waits at a time.
    pub(crate) async fn at_most(&self, open: u64) {
        loop {
            let now = {
                let counts = lock(&self.counts);
                counts.begun - counts.acknowledged - counts.given_up
            };
            if now <= open {
                return;
            }
            self.settled.notified().await;
        }
    }

    pub(crate) fn sums(&self) -> TallySums {
        let counts = lock(&self.counts);
        TallySums {
            acknowledged: counts.acknowledged,
            given_up: counts.given_up,
            open: counts.begun - counts.acknowledged - counts.given_up,
            retries: counts.retries,
            duplicates: counts.duplicates,
            latency: Latency::of(counts.latencies.clone()),
        }
    }
}

impl Latency {
    /// Of times in microseconds.
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        // The nearest rank: the smallest that so large a share does not exceed.
        let rank = |share: f64| {
            let place = (micros.len() as f64 * share).ceil() as usize;
            let micros = micros.get(place.saturating_sub(1));
            micros.map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        Latency {
            p50_ms: rank(0.5),
            p99_ms: rank(0.99),
            max_ms: rank(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let check = |micros: Vec<u32>, p50_ms: f64, p99_ms: f64, max_ms: f64| {
            let expect = Latency {
                p50_ms,
                p99_ms,
                max_ms,
            };
            assert_eq!(Latency::of(micros), expect);
        };
        check(vec![], 0.0, 0.0, 0.0);
        check(vec![7000], 7.0, 7.0, 7.0);
        check(
            (1..=200).rev().map(|n| n * 1000).collect(),
            100.0,
            198.0,
            200.0,
        );
    }
}
