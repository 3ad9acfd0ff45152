//! The timers of the plugins that serve: waits until one is due, and makes its event.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_event::Event;
use djangobot_event::lock::lock;

use crate::entry::PluginEntry;
use crate::plugin_event::{HostKind, PluginEvent};

/// The longest wait between two looks at the clock and at the plugins: a machine that slept, or whose clock was set, is
/// noticed then, and so is a new plugin.
const LOOK: Duration = Duration::from_secs(1);

/// The state of the timers, between two calls of [`Timers::next`].
pub(super) struct Timers {
    state: Mutex<TimersState>,
}

struct TimersState {
    /// The moment up to which all timers have had their events, in Unix milliseconds.
    done_ms: u64,
    /// Events that are due and were not taken yet.
    due: VecDeque<PluginEvent>,
}

impl Timers {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(TimersState {
                done_ms: now_ms(),
                due: VecDeque::new(),
            }),
        }
    }
}

impl Timers {
    /// The event of the next timer that is due. A timer that was due several times since the last call, since the
    /// machine slept or nobody asked, gives one event. Cancel safe.
    pub(super) async fn next(&self, entries: impl Fn() -> Vec<PluginEntry>) -> PluginEvent {
        loop {
            let wait = {
                let mut state = lock(&self.state);
                if let Some(event) = state.due.pop_front() {
                    return event;
                }
                let now = now_ms();
                let next = state.look(&entries(), now);
                if !state.due.is_empty() {
                    continue;
                }
                next.map_or(LOOK, |next| {
                    Duration::from_millis(next.saturating_sub(now)).min(LOOK)
                })
            };
            tokio::time::sleep(wait).await;
        }
    }
}

impl TimersState {
    /// Makes the events of all timers that came due up to `now`, and returns the next moment after it.
    fn look(&mut self, entries: &[PluginEntry], now: u64) -> Option<u64> {
        // A clock that was set back gives no moment a second time.
        let (from, now) = (self.done_ms, now.max(self.done_ms));
        let mut next = None;
        for entry in entries {
            let Some(plugin) = &entry.serving else {
                continue;
            };
            for timer in &plugin.owner.manifest.timer {
                let Some(due) = timer.next_after(from) else {
                    continue;
                };
                if due <= now {
                    self.due.extend(event(&entry.name, &timer.name, due));
                }
                let after = timer.next_after(now);
                next = next.into_iter().chain(after).min();
            }
        }
        self.done_ms = now;
        next
    }
}

/// The event of a timer. Its id follows from its moment, so that it is the same wherever it is made.
fn event(plugin: &str, name: &str, due_ms: u64) -> Option<PluginEvent> {
    let kind = HostKind::Timer;
    let body = serde_json::json!({ "type": kind.name(), "name": name, "due_ms": due_ms });
    let body = Event::from_value(&body).ok()?;
    let id = format!("timer.{plugin}.{name}.{due_ms}");
    Some(PluginEvent::of_host(&id, kind, body, plugin))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}
