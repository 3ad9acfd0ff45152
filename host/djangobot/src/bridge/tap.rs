//! A witness of what passes between the bridge and the app: `djangobot dev` shows it.

use djangobot_channels::ChannelName;
use djangobot_event::Event;

/// Sees what passes, as the app sees it: `djangobot dev` shows it.
pub(crate) trait Tap: Send + Sync {
    /// An event on its way to `channel`.
    fn event(&self, channel: &ChannelName, message: &Event);
    /// A message that the app put on `channel`, for Slack.
    fn send(&self, channel: &ChannelName, message: &Event);
    /// An outcome on its way to the app's reply channel.
    fn answer(&self, channel: &ChannelName, message: &Event);
}
