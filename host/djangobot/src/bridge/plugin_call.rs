//! The call of the plugins, for both ways: the conversation of an event, the call, and the messages that plugins send.

use djangobot_event::{EditError, Event};
use djangobot_plugins::{
    Direction, DropReason, PluginEvent, PluginHost, PluginMessage, PluginOutput,
};

use crate::bridge::lanes::lane_number;
use crate::bridge::roster::RosterKeeper;
use crate::metrics::Metrics;

/// The conversation of an event, which is its lane. Events without one share the lane of the empty name.
pub(crate) fn conversation(event: &Event) -> String {
    ["/channel", "/item/channel", "/channel/id"]
        .iter()
        .find_map(|pointer| event.text(pointer))
        .map(|channel| channel.chars().take(40).collect())
        .unwrap_or_default()
}

/// Calls the plugins for one event or message of `lane`. If one of them needs the roster, it waits for `roster` first.
pub(crate) async fn call(
    plugins: &PluginHost,
    roster: Option<&RosterKeeper>,
    direction: Direction,
    event: PluginEvent,
    lane: &str,
) -> PluginOutput {
    if let Some(roster) = roster
        && plugins.needs_roster(direction, &event)
    {
        roster.ready().await;
    }
    plugins.pass(direction, event, lane_number(lane)).await
}

/// A plugin's message in the form of `slack.send`, with the plugin's name and the number of hops. Hops are counted
/// because plugins may answer messages of plugins, which must end at some time.
///
/// # Errors
///
/// Fails if the message does not take the key.
pub(crate) fn message(message: &PluginMessage) -> Result<Event, EditError> {
    let mut event = message.message.clone();
    let origin = serde_json::json!({
        "plugin": message.plugin, "id": message.id, "hops": message.hops,
    });
    event.set("/djangobot", &origin)?;
    Ok(event)
}

/// How many messages of plugins led to this one, each an answer to the one before.
pub(crate) fn hops(message: &Event) -> u8 {
    let hops = message
        .get("/djangobot/hops")
        .and_then(|hops| hops.as_i64());
    hops.and_then(|hops| u8::try_from(hops).ok()).unwrap_or(0)
}

/// Counts and logs that a plugin, or its failure, dropped an event.
pub(crate) fn report_drop(dropped: &DropReason, direction: Direction, metrics: &Metrics) {
    let DropReason {
        plugin,
        reason,
        failed,
    } = dropped;
    metrics.plugin_drops(plugin, direction.name()).increment(1);
    if *failed {
        tracing::warn!(
            plugin,
            direction = direction.name(),
            "an event was dropped, because a plugin failed: {reason}"
        );
    } else {
        tracing::debug!(
            plugin,
            direction = direction.name(),
            "a plugin dropped an event: {reason}"
        );
    }
}
