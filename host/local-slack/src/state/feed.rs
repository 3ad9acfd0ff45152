//! Everything that happens in the workspace, for the terminal.

use serde_json::{Value, json};
use tokio::sync::broadcast;

/// The type of an entry that is a note for the person at the terminal and not an event of Slack's.
pub(crate) const NOTE: &str = "local_slack.note";

/// Entries that a terminal has not read yet; it misses the older ones where there are more.
const UNREAD: usize = 1024;

/// The feed of events and notes. Without a terminal nobody reads it, which is fine.
#[derive(Debug)]
pub(crate) struct Feed(broadcast::Sender<Value>);

impl Feed {
    /// Adds an event.
    pub(crate) fn event(&self, event: Value) {
        self.0.send(event).ok();
    }

    /// Adds a note for the person at the terminal.
    pub(crate) fn note(&self, text: &str) {
        self.0.send(json!({"type": NOTE, "text": text})).ok();
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Value> {
        self.0.subscribe()
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(UNREAD))
    }
}
