//! The queue of ids that the roster was asked for and did not know.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use djangobot_event::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

/// More ids than this don't wait at once; one that finds no place is asked for when it is met again.
pub(super) const MAX_WAITING: usize = 256;

/// An id that was asked for is not asked for again for this long, whatever came of it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Above this many, ids that may be asked for again are forgotten.
const SWEEP_ABOVE: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Missing {
    state: Mutex<State>,
    pub(super) more: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    asked: HashMap<String, Instant>,
}

impl Missing {
    /// Puts an id in the queue; false when it was asked for lately, or the queue is full.
    pub(super) fn put(&self, id: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if state.waiting.len() >= MAX_WAITING
            || state
                .asked
                .get(id)
                .is_some_and(|asked| now.duration_since(*asked) < ASK_AGAIN_AFTER)
        {
            return false;
        }
        if state.asked.len() >= SWEEP_ABOVE {
            state
                .asked
                .retain(|_, asked| now.duration_since(*asked) < ASK_AGAIN_AFTER);
        }
        if state.asked.len() >= SWEEP_ABOVE {
            return false;
        }
        state.asked.insert(id.to_owned(), now);
        state.waiting.push_back(id.to_owned());
        true
    }

    pub(super) fn take(&self) -> Option<String> {
        self.state().waiting.pop_front()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock::lock(&self.state)
    }
}
