//! The tap: it sees all events, messages and outcomes between the bridge and the app, for `djangobot dev` to show.

use djangobot_channels::ChannelName;
use djangobot_event::Event;

/// Sees events, messages and outcomes as the app sees them.
pub(crate) trait Tap: Send + Sync {
    /// An event on its way to `channel`.
    fn event(&self, channel: &ChannelName, message: &Event);
    /// A message that the app put on `channel`, for Slack.
    fn send(&self, channel: &ChannelName, message: &Event);
    /// An outcome on its way to the app's reply channel.
    fn answer(&self, channel: &ChannelName, message: &Event);
}
