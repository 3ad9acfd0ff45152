//! All that the server knows, behind one lock: commands run one at a time, as in Redis.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::embedded::clients::Clients;
use crate::embedded::differences::Differences;
use crate::embedded::options::ServerOptions;
use crate::embedded::script::ScriptCache;
use crate::embedded::store::{Millis, Store};
use crate::embedded::subscriptions::Subscriptions;
use crate::embedded::waiting::{Taken, Waiting};

/// The state, shared by connections and layers. The lock is never held across an await.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) waiting: Waiting,
    pub(super) clients: Clients,
    pub(super) subscriptions: Subscriptions,
    pub(super) scripts: ScriptCache,
    pub(super) password: Option<String>,
    /// What clients show of their settings, where it is known how these should be.
    pub(super) differences: Option<Differences>,
    /// Whether it was logged that a client speaks HTTP.
    pub(super) http_was_logged: bool,
    clock: Clock,
}

/// A clock that starts at the time of day and never goes back.
#[derive(Debug)]
struct Clock {
    started: Instant,
    /// Microseconds since 1970.
    started_at: u64,
}

impl Shared {
    /// An empty store.
    pub(super) fn new(options: &ServerOptions, clients: Clients) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            state: Mutex::new(State {
                store: Store::new(options.memory_limit),
                waiting: Waiting::default(),
                clients,
                subscriptions: Subscriptions::default(),
                scripts: ScriptCache::default(),
                password: options.password.clone(),
                differences: options.layer.clone().map(Differences::new),
                http_was_logged: false,
                clock: Clock {
                    started: Instant::now(),
                    started_at: u64::try_from(since.as_micros()).unwrap_or(0),
                },
            }),
        }
    }

    /// Waits for its turn. Every command leaves the state whole, so a panic elsewhere is no reason to stop.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The time, in milliseconds since 1970.
    pub(super) fn now(&self) -> Millis {
        self.micros() / 1000
    }

    /// The time, in microseconds since 1970.
    pub(super) fn micros(&self) -> u64 {
        let elapsed = u64::try_from(self.clock.started.elapsed().as_micros());
        self.clock.started_at + elapsed.unwrap_or(u64::MAX / 2)
    }

    /// Seconds since the start.
    pub(super) fn uptime(&self) -> u64 {
        self.clock.started.elapsed().as_secs()
    }

    /// Tells those whom it concerns what has changed. Each command, transaction or script ends with it.
    ///
    /// `author` is the client that made the changes.
    pub(super) fn settle(&mut self, author: Option<u64>) {
        let now = self.now();
        let mut changed = HashSet::new();
        // Serving takes from queues, which changes them again: once more round then finds nobody to serve.
        loop {
            let touched = self.store.take_touched();
            if touched.is_empty() {
                break;
            }
            for place in touched {
                self.waiting.serve(&mut self.store, &place, now);
                if self.clients.has_trackers() {
                    changed.insert(place.1);
                }
            }
        }
        if !changed.is_empty() {
            self.clients.invalidate(&changed, author);
        }
    }

    /// Puts items back where they were taken from, and wakes who waits for them.
    pub(super) fn put_back(&mut self, items: impl IntoIterator<Item = Taken>, returned: bool) {
        let now = self.now();
        for taken in items {
            taken.put_back(&mut self.store, now, returned);
        }
        self.settle(None);
    }
}
