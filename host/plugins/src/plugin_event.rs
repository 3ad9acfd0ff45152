//! An event on its way through the plugins, and the result: events, messages to Slack, and the reason of a drop.

use std::sync::Arc;

use djangobot_event::{CleanText, Event};

/// An event on its way through the plugins.
#[derive(Clone, Debug)]
pub struct PluginEvent {
    /// The key for deduplication. An event that a plugin made has one that is derived from this, so that it is known
    /// again when the first event comes twice.
    pub id: Arc<str>,
    /// Slack's event type inbound, the Web API method outbound.
    pub kind: Arc<str>,
    /// The body, with all edits so far.
    pub body: Event,
    /// How many emissions and sends of plugins led to it; 0 for an event from outside. The host bounds it, so that two
    /// plugins which answer each other come to an end.
    pub hops: u8,
    /// Whether a plugin made it.
    pub emitted: bool,
}

/// A message to Slack that a plugin asked the host to send.
#[derive(Clone, Debug)]
pub struct PluginMessage {
    /// The plugin's name.
    pub plugin: String,
    /// The message as an app would put it on `slack.send`.
    pub message: Event,
    /// How many emissions and sends of plugins led to it, this one included.
    pub hops: u8,
}

/// The result of one event's way through the plugins.
#[derive(Debug, Default)]
pub struct PluginOutput {
    /// The event and those that plugins emitted, in order. Empty if all were dropped.
    pub events: Vec<PluginEvent>,
    /// Messages for `slack.send`.
    pub messages: Vec<PluginMessage>,
    /// Why the event that came in was dropped, if it was.
    pub dropped: Option<DropReason>,
}

/// Why an event does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropReason {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's own reason, or its failure.
    pub reason: CleanText,
    /// The plugin did not decide this: it failed, and its `on-error` lets nothing pass.
    pub failed: bool,
}

impl PluginEvent {
    /// An event from outside.
    pub fn new(id: &str, kind: &str, body: Event) -> Self {
        Self {
            id: id.into(),
            kind: kind.into(),
            body,
            hops: 0,
            emitted: false,
        }
    }
}
