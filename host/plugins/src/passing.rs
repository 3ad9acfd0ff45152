//! An event on its way through the plugins, and what comes out of them.

use std::sync::Arc;

use djangobot_event::{CleanText, Event};

/// An event on its way through the plugins.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The key for deduplication.
    pub id: Arc<str>,
    /// Slack's type, or the Web API method.
    pub kind: Arc<str>,
    /// As edited so far.
    pub event: Event,
    /// How many emissions and sends led to it; 0 for what came from outside.
    pub hops: u8,
    /// Whether a plugin made it.
    pub emitted: bool,
}

/// A message to Slack that a plugin wants to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which plugin.
    pub plugin: String,
    /// As an app would put it on `slack.send`.
    pub message: Event,
    /// How many emissions and sends led to it.
    pub hops: u8,
}

/// What came out of the plugins.
#[derive(Debug, Default)]
pub struct Passed {
    /// The event, and what was emitted, in order. Empty where all was dropped.
    pub events: Vec<Passing>,
    /// For `slack.send`.
    pub messages: Vec<Message>,
    /// Who dropped the event that came in, and why.
    pub dropped: Option<Dropped>,
}

/// Why an event does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which plugin.
    pub plugin: String,
    /// Its own words, or how it failed.
    pub reason: CleanText,
    /// It was not the plugin's decision: it failed, and its `on-error` lets nothing pass.
    pub failed: bool,
}

impl Passing {
    /// An event from outside.
    pub fn new(id: &str, kind: &str, event: Event) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
            event,
            hops: 0,
            emitted: false,
        }
    }
}
