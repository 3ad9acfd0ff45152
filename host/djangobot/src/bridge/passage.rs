//! Between the two ways and the plugins: whose conversation an event is, and what plugins ask beside their verdicts.

use djangobot_event::{EditError, Event};
use djangobot_plugins::{Direction, Dropped, Message};

use crate::metrics::Metrics;

/// The conversation that an event is of, for its order among others; those without one keep their order among each other.
pub(crate) fn conversation(event: &Event) -> String {
    ["/channel", "/item/channel", "/channel/id"]
        .iter()
        .find_map(|pointer| event.text(pointer))
        .map(|channel| channel.chars().take(40).collect())
        .unwrap_or_default()
}

/// A plugin's message as it stands on `slack.send`, with where it came from: what plugins send because of messages of
/// plugins must end somewhere.
pub(crate) fn message(message: &Message) -> Result<Event, EditError> {
    let mut event = message.message.clone();
    let origin = serde_json::json!({ "plugin": message.plugin, "hops": message.hops });
    event.set("/djangobot", &origin)?;
    Ok(event)
}

/// How many sends of plugins led to a message.
pub(crate) fn hops(message: &Event) -> u8 {
    let hops = message
        .get("/djangobot/hops")
        .and_then(|hops| hops.as_i64());
    hops.and_then(|hops| u8::try_from(hops).ok()).unwrap_or(0)
}

/// Counts and logs that an event ended with a plugin.
pub(crate) fn tell_dropped(dropped: &Dropped, direction: Direction, metrics: &Metrics) {
    let Dropped {
        plugin,
        reason,
        failed,
    } = dropped;
    metrics.plugin_drops(plugin, direction.name()).increment(1);
    if *failed {
        tracing::warn!(
            plugin,
            direction = direction.name(),
            "an event was dropped: {reason}"
        );
    } else {
        tracing::debug!(
            plugin,
            direction = direction.name(),
            "a plugin dropped an event: {reason}"
        );
    }
}
