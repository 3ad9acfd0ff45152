//! The parts of the bridge that answers use.

use std::sync::Arc;

use djangobot_channels::ChannelLayer;
use djangobot_slack::WebApi;

use crate::bridge::roster::RosterKeeper;
use crate::bridge::tap::Tap;
use crate::journal::Journal;
use crate::metrics::Metrics;

/// The layer, the disk, Slack, and those to whom answers are shown or counted.
pub(crate) struct Parts {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) api: WebApi,
    pub(crate) journal: Journal,
    pub(crate) roster: Arc<RosterKeeper>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}
