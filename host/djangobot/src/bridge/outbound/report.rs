//! Stage 7, the report: an outcome is noted and sent to the app. Then the message is forgotten, or it becomes a dead
//! letter.
//!
//! In this order, a crash costs neither the outcome of a message in the outbox nor a second call: before the note, the
//! next start looks the call up; after it, the next start reports the outcome, maybe a second time, and calls nothing.

use std::time::Duration;

use bytes::Bytes;
use djangobot_channels::{Delivery, Receiver};
use djangobot_plugins::{Direction, HostKind};
use djangobot_slack::Backoff;
use serde_json::Value;

use crate::bridge::outbound::message::{Outcome, PendingOutcome, StoredIn, outcome_text};
use crate::bridge::outbound::outbox::RowId;
use crate::bridge::outbound::parts::Parts;
use crate::bridge::outcome::{self, ReplyError};
use crate::bridge::reply::{DROPPED, Reply, SendFailure};
use crate::state::DeadLetter;

impl Parts {
    /// Reports an outcome to the app. A failure that does not reach any app becomes a dead letter.
    pub(super) async fn report(&self, receiver: &dyn Receiver, pending: PendingOutcome) {
        let PendingOutcome {
            stored_in,
            reply,
            outcome,
            is_noted,
        } = pending;
        let is_told = self.tell_plugin(&reply, &outcome);
        let request = &reply.request;
        if reply.channel.is_none() {
            match outcome {
                Ok(answer) => {
                    tracing::debug!(method = reply.method, %request, "sent to Slack");
                    self.finish(receiver, stored_in, ts(&answer)).await;
                }
                Err(refusal) if is_told => {
                    tracing::debug!(method = reply.method, %request, error = refusal.error, "not sent: {}", refusal.detail);
                    self.finish(receiver, stored_in, None).await;
                }
                Err(refusal) => {
                    self.dead_letter(receiver, stored_in, &reply, refusal, reply.silence)
                        .await;
                }
            }
            return;
        }
        // From here on a restart knows the outcome, and does not call Slack again.
        match &stored_in {
            StoredIn::Outbox(row) if !is_noted => self.note_outcome(*row, &outcome).await,
            // The layer has no place for an outcome. So a crash may cost this report, but not a second post. A failure
            // is reported first: to try such a message again does no harm.
            StoredIn::Layer(delivery, _) if outcome.is_ok() => {
                self.leave_layer(receiver, delivery).await;
            }
            StoredIn::Outbox(_) | StoredIn::Layer(..) | StoredIn::Nowhere => {}
        }
        let (answer, ts) = match &outcome {
            Ok(answer) => (outcome::sent(&reply, answer.clone()), ts(answer)),
            Err(refusal) => (outcome::failed(&reply, refusal), None),
        };
        match (self.send_outcome(&reply, answer).await, outcome) {
            (Ok(()), Ok(_)) => {
                tracing::debug!(method = reply.method, %request, "sent to Slack");
                self.finish(receiver, stored_in, ts).await;
            }
            (Ok(()), Err(refusal)) => {
                tracing::debug!(method = reply.method, %request, error = refusal.error, "not sent: {}", refusal.detail);
                self.finish(receiver, stored_in, None).await;
            }
            // The next start reports it, by the note.
            (Err(ReplyError::Stopped), _) if matches!(stored_in, StoredIn::Outbox(_)) => {}
            (Err(error), Ok(_)) => {
                tracing::warn!(method = reply.method, %request, "a message was sent to Slack, but the app was not told, because {}", error.why());
                self.finish(receiver, stored_in, ts).await;
            }
            (Err(error), Err(refusal)) => {
                self.dead_letter(receiver, stored_in, &reply, refusal, error.why())
                    .await;
            }
        }
    }

    /// Gives the outcome of a plugin's message to the plugin, if it subscribes to such events. Returns whether it gets the
    /// outcome.
    fn tell_plugin(&self, reply: &Reply, outcome: &Outcome) -> bool {
        let Some(origin) = &reply.origin else {
            return false;
        };
        let (kind, outcome) = match outcome {
            Ok(answer) => (HostKind::Sent, outcome::sent(reply, answer.clone())),
            Err(refusal) => (HostKind::Failed, outcome::failed(reply, refusal)),
        };
        let Some(event) = origin.outcome(kind, &outcome) else {
            return false;
        };
        if !self.plugins.wants(Direction::Inbound, &event) {
            return false;
        }
        // The way out must not wait for the way in, which may wait for it.
        if let Err(error) = self.host_events.try_send(event) {
            let plugin = &origin.plugin;
            tracing::warn!(
                plugin,
                "a plugin is not told the outcome of its message, because too many events of the host wait: {error}"
            );
            return false;
        }
        true
    }

    /// Sends an outcome to the reply channel, if there is one.
    async fn send_outcome(&self, reply: &Reply, answer: Value) -> Result<(), ReplyError> {
        let Some(channel) = &reply.channel else {
            return Ok(());
        };
        let (tap, stop) = (self.tap.as_deref(), &self.stop);
        outcome::report(&*self.layer, tap, channel, answer, stop).await
    }

    /// Makes a message a dead letter whose failure no app was told. A message that a plugin dropped on purpose is just
    /// finished.
    async fn dead_letter(
        &self,
        receiver: &dyn Receiver,
        stored_in: StoredIn,
        reply: &Reply,
        refusal: SendFailure,
        why: &str,
    ) {
        if refusal.error == DROPPED {
            let request = &reply.request;
            tracing::info!(method = reply.method, %request, "not sent: {}", refusal.detail);
            return self.finish(receiver, stored_in, None).await;
        }
        // A row is moved within the database, so its letter needs no bytes here.
        let letter = |bytes: &[u8]| {
            let channel = self.channel.as_str();
            DeadLetter::new(channel, &refusal.error, &refusal.detail, bytes)
        };
        let stored = match &stored_in {
            StoredIn::Outbox(row) => {
                self.outbox
                    .dead_letter(*row, letter(b""))
                    .await
                    .map_err(|error| {
                        self.writes.failed(&error, &self.metrics);
                        error.to_string()
                    })
            }
            StoredIn::Layer(delivery, _) => {
                let stored = self
                    .state
                    .add_dead_letter(&letter(&self.readable(delivery)));
                // In this order: a crash in between leaves it in both, and never in neither.
                if stored.is_ok() {
                    self.leave_layer(receiver, delivery).await;
                }
                stored.map_err(|error| error.to_string())
            }
            // There is no row to make a dead letter of, and the disk took none a moment ago.
            StoredIn::Nowhere => Err("a plugin made it while the disk was full".to_owned()),
        };
        match stored {
            Ok(id) => {
                self.metrics.dead_letters().increment(1.0);
                tracing::error!(
                    error = refusal.error,
                    dead_letter = id,
                    "a message was not sent to Slack: {} It is kept as dead letter {id} (djangobot dead-letters show {id} --state-dir {} prints it), because {why}.",
                    refusal.detail,
                    self.state.folder().display()
                );
            }
            // The message stays in its place, and comes again with the next start.
            Err(error) => {
                tracing::error!(
                    error = refusal.error,
                    "a message was not sent to Slack: {} It did not become a dead letter either: {error}; it is tried again at the next start, unless a plugin made it while the disk was full",
                    refusal.detail
                );
            }
        }
    }

    /// The message as JSON; the bytes that came if it can't be decoded.
    fn readable(&self, delivery: &Delivery) -> Bytes {
        match self.decode(delivery) {
            Ok(message) => message.raw().clone(),
            Err(_) => delivery
                .payload
                .clone()
                .unwrap_or_else(|_| Bytes::clone(&delivery.member)),
        }
    }

    /// Forgets a message whose outcome is reported. If the disk fails, this is tried again until the stop, because the
    /// next start would have to look up a message that is not noted as finished.
    async fn finish(&self, receiver: &dyn Receiver, stored_in: StoredIn, ts: Option<String>) {
        let row = match stored_in {
            StoredIn::Outbox(row) => row,
            StoredIn::Layer(delivery, _) => return self.leave_layer(receiver, &delivery).await,
            StoredIn::Nowhere => return,
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            match self.outbox.finish(row, ts.clone()).await {
                Ok(()) => return self.writes.worked(),
                Err(error) => {
                    self.outbox.note_gap();
                    self.writes.failed(&error, &self.metrics);
                }
            }
            let waited = self.stop.run_until_cancelled(backoff.wait()).await;
            if waited.is_none() {
                return;
            }
        }
    }

    /// Notes an outcome on the disk. If the disk fails, the report goes on, because the app waits for it.
    async fn note_outcome(&self, row: RowId, outcome: &Outcome) {
        let ts = outcome.as_ref().ok().and_then(ts);
        match self
            .outbox
            .note_outcome(row, outcome_text(outcome), ts)
            .await
        {
            Ok(()) => self.writes.worked(),
            Err(error) => self.writes.failed(&error, &self.metrics),
        }
    }
}

/// The `ts` of the message that Slack posted.
fn ts(answer: &Value) -> Option<String> {
    answer["ts"].as_str().map(str::to_owned)
}
