//! The flow: the events that are in the plugins, with what goes on with each of them to its delivery.

use std::time::Instant;

use djangobot_channels::ChannelName;
use djangobot_plugins::{PluginEvent, PluginOutput};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::bridge::inbound::custody::Custody;
use crate::bridge::inbound::envelope::{AppContext, Receipt};
use crate::bridge::lanes::Lanes;

/// An event that goes through the plugins, or waits for that.
pub(super) struct Job {
    pub(super) passing: PluginEvent,
    pub(super) context: EventContext,
}

/// The facts of an event's arrival that go with it around the plugins, which see none of it.
pub(super) struct EventContext {
    pub(super) receipt: Receipt,
    pub(super) arrived: Instant,
    pub(super) custody: Custody,
    /// The channel for the app's answer, if the event has one of its own.
    pub(super) reply_channel: Option<ChannelName>,
}

impl EventContext {
    /// The part of it that the app gets.
    pub(super) fn app_context(&self) -> AppContext<'_> {
        AppContext {
            receipt: &self.receipt,
            reply_channel: self.reply_channel.as_ref(),
        }
    }
}

/// The events that are in slow plugins, and those that wait behind such an event of their conversation.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) lanes: Lanes<Job>,
    pub(super) work: FuturesUnordered<BoxFuture<'static, ProcessedEvent>>,
}

/// An event that has been through the plugins.
pub(super) struct ProcessedEvent {
    pub(super) lane: String,
    pub(super) passed: PluginOutput,
    pub(super) context: EventContext,
}

impl Flow {
    /// How many events are in it.
    pub(super) fn len(&self) -> usize {
        self.lanes.running() + self.lanes.behind()
    }
}
