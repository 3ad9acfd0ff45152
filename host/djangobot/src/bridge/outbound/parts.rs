//! What the steps of the way out work with.

use std::sync::Arc;

use djangobot_channels::{ChannelLayer, ChannelName, Delivery, Receiver};
use djangobot_event::Event;
use djangobot_plugins::PluginHost;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bridge::outbound::health::OutboxWrites;
use crate::bridge::outbound::message::{DecodeFailure, MessageState, PendingOutcome};
use crate::bridge::outbound::outbox::Outbox;
use crate::bridge::outbound::post::Caller;
use crate::bridge::outbound::request::Rules;
use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::tap::Tap;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::state::State;

/// The layer, the disk, the plugins and Slack, as the way out meets them.
pub(crate) struct Parts {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    /// `slack.send`, or the channel that the config names.
    pub(crate) channel: ChannelName,
    pub(crate) rules: Rules,
    pub(crate) plugins: PluginHost,
    /// Takes messages of plugins that the disk refused.
    pub(crate) plugin_messages: mpsc::Sender<djangobot_plugins::PluginMessage>,
    pub(crate) outbox: Outbox,
    pub(crate) writes: OutboxWrites,
    pub(crate) caller: Caller,
    pub(crate) state: State,
    /// Hears how reading the layer goes.
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Ends all waiting, that of `caller` included. It is cancelled when no further message is taken.
    pub(crate) stop: CancellationToken,
}

impl Parts {
    pub(super) fn decode(&self, delivery: &Delivery) -> Result<Event, DecodeFailure> {
        let failure = |detail| SendFailure::new("undecodable", detail);
        let payload = match &delivery.payload {
            Ok(payload) => payload,
            Err(error) => {
                return Err(DecodeFailure {
                    failure: failure(format!("The message can't be opened: {error}.")),
                    reply: Reply::unreadable(),
                });
            }
        };
        self.layer
            .decode_with_bytes(payload)
            .map_err(|error| DecodeFailure {
                failure: failure(format!(
                    "The message is not a dict that a channel layer may carry: {error}."
                )),
                reply: Reply::from(&self.layer.salvage(payload, Reply::KEYS)),
            })
    }

    /// Counts the outcome of a message, which has then to be reported.
    pub(super) fn pending_outcome(
        &self,
        state: MessageState,
        outcome: Result<Value, SendFailure>,
    ) -> PendingOutcome {
        let label = outcome
            .as_ref()
            .map_or_else(|failure| failure.error.as_str(), |_| "sent");
        self.metrics.sends(label).increment(1);
        self.metrics
            .send_seconds()
            .record(state.since.elapsed().as_secs_f64());
        PendingOutcome {
            stored_in: state.stored_in,
            reply: state.reply,
            outcome,
            is_noted: false,
        }
    }

    /// Lets the layer forget a message. A receiver that can't reach its server now does so when it can.
    pub(super) async fn leave_layer(&self, receiver: &dyn Receiver, delivery: &Delivery) {
        match receiver.done(delivery).await {
            Err(error) if error.refusal().is_some() => {
                tracing::error!(%error, "a message that was taken can't be removed from the channel layer; it will come again after a restart");
            }
            Err(error) => {
                tracing::debug!(%error, "a message that was taken stays in the channel layer until the layer answers again");
            }
            Ok(()) => {}
        }
    }
}
