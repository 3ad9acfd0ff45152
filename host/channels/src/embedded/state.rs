//! The whole state of the server, behind one lock. So commands run one at a time, as in Redis.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use djangobot_event::lock::lock;

use crate::embedded::clients::Clients;
use crate::embedded::differences::Differences;
use crate::embedded::options::ServerOptions;
use crate::embedded::script::ScriptCache;
use crate::embedded::store::{Millis, Store};
use crate::embedded::subscriptions::Subscriptions;
use crate::embedded::waiters::{QueueItem, Waiters};

/// The state, shared by connections and layers. The lock is never held across an await.
#[derive(Debug)]
pub(super) struct SharedState {
    state: Mutex<State>,
}

/// The state that the lock guards.
///
/// Each command, transaction and script ends with [`State::settle`] before the lock is released. So outside the lock no
/// queue has both an item and a waiter for it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) waiters: Waiters,
    pub(super) clients: Clients,
    pub(super) subscriptions: Subscriptions,
    pub(super) scripts: ScriptCache,
    pub(super) password: Option<String>,
    /// Compares the clients' settings with the layer's, if those are known.
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

impl SharedState {
    /// An empty store.
    pub(super) fn new(options: &ServerOptions, clients: Clients) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            state: Mutex::new(State {
                store: Store::new(options.memory_limit),
                waiters: Waiters::default(),
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

    /// Locks the state.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
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

    /// Serves the waiters of all keys that have changed, and notifies the clients that track those keys.
    ///
    /// `author` is the client that made the changes.
    pub(super) fn settle(&mut self, author: Option<u64>) {
        let now = self.now();
        let mut changed = HashSet::new();
        // Serving pops from queues, which changes them again. The next round then finds no waiter to serve.
        loop {
            let keys = self.store.take_changed();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.waiters.serve(&mut self.store, &key, now);
                if self.clients.has_trackers() {
                    changed.insert(key.key);
                }
            }
        }
        if !changed.is_empty() {
            self.clients.invalidate(&changed, author);
        }
    }

    /// Puts items back into their queues, and serves the waiters of those.
    pub(super) fn put_back(&mut self, items: impl IntoIterator<Item = QueueItem>, returned: bool) {
        let now = self.now();
        for item in items {
            item.put_back(&mut self.store, now, returned);
        }
        self.settle(None);
    }
}
