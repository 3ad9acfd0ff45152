//! Recent events, of which some are kept to rehearse new versions of plugins.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use djangobot_event::lock::lock;

use crate::plugin_event::PluginEvent;
use crate::runtime::rehearsal::Sample;
use crate::services::roster::Direction;

/// The number of recent events that are kept for rehearsals. A rehearsal shows all of them to the new version.
const SAMPLES: usize = 32;
/// The largest event that is kept, in bytes: with [`SAMPLES`] it bounds their memory to 2 MiB.
const MAX_SAMPLE: usize = 64 << 10;
/// After the first [`SAMPLES`] events, one of so many is kept: the samples then reach back further than one burst.
const SAMPLE_EVERY: u64 = 16;

/// The recent events that are kept.
#[derive(Default)]
pub(crate) struct Samples {
    /// The number of events so far.
    seen: AtomicU64,
    kept: Mutex<VecDeque<Sample>>,
}

impl Samples {
    /// Keeps an event, if it is its turn and not too large.
    pub(crate) fn note(&self, direction: Direction, event: &PluginEvent) {
        let seen = self.seen.fetch_add(1, Relaxed);
        if (seen >= SAMPLES as u64 && !seen.is_multiple_of(SAMPLE_EVERY))
            || event.body.raw().len() > MAX_SAMPLE
        {
            return;
        }
        let mut kept = lock(&self.kept);
        if kept.len() >= SAMPLES {
            kept.pop_front();
        }
        kept.push_back(Sample {
            direction,
            event: event.clone(),
        });
    }

    /// The events that are kept, the oldest first.
    pub(crate) fn all(&self) -> Vec<Sample> {
        lock(&self.kept).iter().cloned().collect()
    }
}
