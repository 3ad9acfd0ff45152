//! The statistics of several rounds: the median, and how far the others are from it.

use std::time::Duration;

/// One round's work and what it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Messages that went through.
    pub(crate) messages: u64,
    /// Messages that were sent and did not.
    pub(crate) lost: u64,
    /// From the first to the last that went through.
    pub(crate) wall: Duration,
    /// CPU time of the measured process, all its threads, user and kernel.
    pub(crate) cpu: Duration,
}

/// The rounds of one contestant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<Round>);

impl Rounds {
    pub(crate) fn push(&mut self, round: Round) {
        self.0.push(round);
    }

    /// Messages a second: the median round.
    pub(crate) fn per_second(&self) -> f64 {
        median(self.speeds())
    }

    /// The slowest and the fastest round, in messages a second.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let speeds = self.speeds();
        (
            speeds.iter().copied().fold(f64::INFINITY, f64::min),
            speeds.iter().copied().fold(0.0, f64::max),
        )
    }

    /// Microseconds of CPU time for a message, over all rounds together: the kernel counts in hundredths of a second.
    pub(crate) fn cpu_micros(&self) -> f64 {
        let cpu: Duration = self.0.iter().map(|round| round.cpu).sum();
        let messages: u64 = self.0.iter().map(|round| round.messages).sum();
        cpu.as_secs_f64() * 1e6 / messages.max(1) as f64
    }

    /// Messages that were lost, in all rounds together.
    pub(crate) fn lost(&self) -> u64 {
        self.0.iter().map(|round| round.lost).sum()
    }

    fn speeds(&self) -> Vec<f64> {
        self.0
            .iter()
            .map(|round| round.messages as f64 / round.wall.as_secs_f64().max(f64::EPSILON))
            .collect()
    }
}

/// The middle value; 0 for none.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a part `at` (0 to 1) of all values does not exceed; 0 for none.
pub(crate) fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * at).round() as usize)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = || vec![5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(
            (
                quantile(values(), 0.0),
                median(values()),
                quantile(values(), 1.0)
            ),
            (1.0, 3.0, 5.0)
        );
        assert_eq!(quantile((0..=100).map(f64::from).collect(), 0.99), 99.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn cpu_time_and_losses_are_those_of_all_rounds() {
        let mut rounds = Rounds::default();
        for (messages, lost, wall) in [(100, 0, 1), (300, 7, 1), (200, 2, 4)] {
            rounds.push(Round {
                messages,
                lost,
                wall: Duration::from_secs(wall),
                cpu: Duration::from_millis(6),
            });
        }
        assert_eq!(
            (rounds.per_second(), rounds.spread(), rounds.cpu_micros()),
            (100.0, (50.0, 300.0), 30.0)
        );
        assert_eq!(rounds.lost(), 9);
    }
}
