//! How long to wait before the next attempt: doubling, bounded, with jitter, so that a thousand bots don't come at once.

use std::time::Duration;

/// The waits between attempts that fail one after the other.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is about `first`, each one twice the one before, none over `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Backoff {
            first,
            max,
            failures: 0,
        }
    }

    /// Whether the last attempt succeeded, or none was made.
    pub fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// Notes a failure and gives the wait after it: between half and all of what doubling says.
    pub fn failed(&mut self) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.max).mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Notes a failure and waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.failed()).await;
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_bound_with_jitter() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.failed().as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        for _ in 0..100 {
            assert!(backoff.failed() <= Duration::from_secs(1));
        }
        backoff.succeeded();
        assert!(backoff.is_fresh() && backoff.failed() <= Duration::from_millis(100));
    }
}
