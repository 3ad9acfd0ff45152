//! The parts of the bridge that the steps of the way out use.

use std::sync::Arc;

use djangobot_channels::{ChannelLayer, ChannelName, Delivery, Receiver, ReceiverId};
use djangobot_event::Event;
use djangobot_plugins::{PluginEvent, PluginHost};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bridge::outbound::health::{LayerReads, OutboxWrites};
use crate::bridge::outbound::message::{DecodeFailure, MessageState, PendingOutcome};
use crate::bridge::outbound::outbox::Outbox;
use crate::bridge::outbound::post::Caller;
use crate::bridge::outbound::request::Rules;
use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::tap::Tap;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::state::State;

/// The layer, the disk, the plugins, Slack, and the steps that need no more than these.
pub(crate) struct Parts {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    /// `slack.send`, or the channel that the config names.
    pub(crate) channel: ChannelName,
    pub(crate) rules: Rules,
    pub(crate) plugins: PluginHost,
    /// Takes plugins' messages that the disk refused. The way in puts them on the channel.
    pub(crate) plugin_messages: mpsc::Sender<djangobot_plugins::PluginMessage>,
    /// Takes events of the host for one plugin: the outcomes of its messages.
    pub(crate) host_events: mpsc::Sender<PluginEvent>,
    pub(crate) outbox: Outbox,
    pub(crate) writes: OutboxWrites,
    pub(crate) caller: Caller,
    pub(crate) state: State,
    /// Is told whether reading the layer works.
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Ends all waiting, also that of `caller`. It is cancelled when no further message is taken. It is a token of its
    /// own, because the way out also ends by itself, if Slack refuses all calls.
    pub(crate) stop: CancellationToken,
}

impl Parts {
    /// Opens the receiver of the channel, with as many tries as it takes.
    pub(super) async fn open_receiver(&self, reader: &ReceiverId) -> Arc<dyn Receiver> {
        let mut reads = LayerReads::new(self.readiness.clone());
        loop {
            match self.layer.receiver(&self.channel, reader).await {
                Ok(receiver) => return receiver,
                Err(error) => reads.failed(&error, &self.metrics).await,
            }
        }
    }

    /// Takes the next message from the layer. Gives `None` after a failure, to try again.
    pub(super) async fn take(
        &self,
        receiver: &dyn Receiver,
        reads: &mut LayerReads,
    ) -> Option<Delivery> {
        match receiver.next().await {
            Ok(delivery) => {
                reads.worked();
                Some(delivery)
            }
            Err(error) => {
                reads.failed(&error, &self.metrics).await;
                None
            }
        }
    }

    /// Decodes a message of the layer.
    ///
    /// # Errors
    ///
    /// Fails if it can't be opened, or if it is not a message.
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

    /// Counts the outcome of a message. Gives it to be reported.
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

    /// Lets the layer forget a message. If the receiver can't reach its server now, it does so later by itself.
    pub(super) async fn leave_layer(&self, receiver: &dyn Receiver, delivery: &Delivery) {
        match receiver.done(delivery).await {
            Err(error) if error.refusal().is_some() => {
                tracing::error!(%error, "a message that is in the outbox was not removed from the channel layer, which gives it again after a restart");
            }
            Err(error) => {
                tracing::debug!(%error, "a message that is in the outbox stays in the channel layer until the layer can be reached again");
            }
            Ok(()) => {}
        }
    }
}
