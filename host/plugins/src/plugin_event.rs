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
    /// Whether Slack takes an answer to it: it is a slash command, a click, a shortcut or a dialog.
    pub is_answerable: bool,
    /// The one plugin that it is for, by its name in the config; it goes no further. `None` for an event that goes
    /// through all plugins.
    pub recipient: Option<Arc<str>>,
}

/// The kinds of events that the host makes for plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A timer of the plugin's manifest is due.
    Timer,
    /// Slack took a message of the plugin.
    Sent,
    /// A message of the plugin was not sent.
    Failed,
}

impl HostKind {
    /// The beginning of all kinds that are the host's own.
    pub const PREFIX: &str = "djangobot.";

    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timer => "djangobot.timer",
            Self::Sent => "djangobot.sent",
            Self::Failed => "djangobot.failed",
        }
    }
}

/// A message to Slack that a plugin asked the host to send.
#[derive(Clone, Debug)]
pub struct PluginMessage {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's name for the message, by which it knows the outcome.
    pub id: String,
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
    /// The answer that a plugin gave to the event that came in, which then ended.
    pub answer: Option<PluginAnswer>,
}

/// A plugin's answer to a slash command, a click, a shortcut or a dialog.
#[derive(Clone, Debug)]
pub struct PluginAnswer {
    /// The plugin's name.
    pub plugin: String,
    /// The answer as an app would put it on the event's reply channel.
    pub message: Event,
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
            is_answerable: false,
            recipient: None,
        }
    }

    /// An event of the host for one plugin, by its name in the config.
    pub fn of_host(id: &str, kind: HostKind, body: Event, plugin: &str) -> Self {
        Self {
            recipient: Some(plugin.into()),
            ..Self::new(id, kind.name(), body)
        }
    }

    /// Whether the event may meet the plugin with this name in the config. Kinds of the host's own come from the host
    /// alone, whatever type somebody else gives an event.
    pub(crate) fn may_meet(&self, plugin: &str) -> bool {
        match &self.recipient {
            Some(recipient) => **recipient == *plugin,
            None => !self.kind.starts_with(HostKind::PREFIX),
        }
    }
}
