//! The call of the plugins, for both ways: an event's conversation, and the messages that plugins send.

use djangobot_event::{EditError, Event};
use djangobot_plugins::{Direction, Dropped, Message, Passed, Passing, PluginHost};

use crate::bridge::lanes::lane_number;
use crate::bridge::roster::RosterKeeper;
use crate::metrics::Metrics;

/// The conversation that an event is of, for its order among others; those without one keep their order among each other.
pub(crate) fn conversation(event: &Event) -> String {
    ["/channel", "/item/channel", "/channel/id"]
        .iter()
        .find_map(|pointer| event.text(pointer))
        .map(|channel| channel.chars().take(40).collect())
        .unwrap_or_default()
}

/// Calls the plugins for one event or message of `lane`. Where one of them needs the roster, `roster` is waited for.
pub(crate) async fn call(
    plugins: &PluginHost,
    roster: Option<&RosterKeeper>,
    direction: Direction,
    event: Passing,
    lane: &str,
) -> Passed {
    if let Some(roster) = roster
        && plugins.needs_roster(direction, &event)
    {
        roster.ready().await;
    }
    plugins.pass(direction, event, lane_number(lane)).await
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
pub(crate) fn report_drop(dropped: &Dropped, direction: Direction, metrics: &Metrics) {
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
