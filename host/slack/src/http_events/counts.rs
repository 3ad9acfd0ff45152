//! The outcomes of requests over HTTP: counted for metrics, and logged where an operator has to know.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use djangobot_event::Reminder;
use djangobot_event::lock::lock;

/// How often requests of one outcome are logged; all are counted.
const REMINDER: Duration = Duration::from_secs(10);

/// Counts of requests, by outcome.
#[derive(Debug, Default)]
pub struct Counts {
    of: [Count; Outcome::ALL.len()],
}

#[derive(Debug)]
struct Count {
    number: AtomicU64,
    reminder: Mutex<Reminder>,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            number: AtomicU64::default(),
            reminder: Mutex::new(Reminder::new(REMINDER)),
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event is safe and was acknowledged.
    Taken,
    /// It lacks the signature that Slack's requests have.
    Unsigned,
    /// Its signature is not Slack's, or its time is too far from ours.
    Refused,
    /// It is not a request of Slack's, or it broke off.
    Unreadable,
    /// Its body is too long.
    TooLarge,
    /// The event was not safe in time, or there was no room for it: Slack redelivers it.
    Unanswered,
    /// There is no handler at its path.
    UnknownPath,
}

impl Outcome {
    /// All that there are.
    pub const ALL: [Outcome; 7] = [
        Outcome::Taken,
        Outcome::Unsigned,
        Outcome::Refused,
        Outcome::Unreadable,
        Outcome::TooLarge,
        Outcome::Unanswered,
        Outcome::UnknownPath,
    ];

    /// Its name as a label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Taken => "taken",
            Outcome::Unsigned => "unsigned",
            Outcome::Refused => "refused",
            Outcome::Unreadable => "unreadable",
            Outcome::TooLarge => "too_large",
            Outcome::Unanswered => "unanswered",
            Outcome::UnknownPath => "unknown_path",
        }
    }
}

impl Counts {
    /// How many requests had this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.count(outcome).number.load(Relaxed)
    }

    pub(super) fn taken(&self) {
        self.count(Outcome::Taken).number.fetch_add(1, Relaxed);
    }

    /// Counts a request that was refused, and logs it unless one with the same outcome was logged a moment ago: anybody
    /// can send such requests.
    pub(super) fn add(&self, outcome: Outcome, why: &str) {
        let count = self.count(outcome);
        let number = count.number.fetch_add(1, Relaxed) + 1;
        if lock(&count.reminder).due().is_some() {
            tracing::warn!(
                outcome = outcome.name(),
                number,
                "a request over HTTP was refused: {why}"
            );
        }
    }

    fn count(&self, outcome: Outcome) -> &Count {
        let [
            taken,
            unsigned,
            refused,
            unreadable,
            too_large,
            unanswered,
            unknown_path,
        ] = &self.of;
        match outcome {
            Outcome::Taken => taken,
            Outcome::Unsigned => unsigned,
            Outcome::Refused => refused,
            Outcome::Unreadable => unreadable,
            Outcome::TooLarge => too_large,
            Outcome::Unanswered => unanswered,
            Outcome::UnknownPath => unknown_path,
        }
    }
}
