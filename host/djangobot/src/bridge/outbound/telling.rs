//! The end of a message: its outcome is kept, told, and then forgotten, or becomes a dead letter.

use std::time::Duration;

use bytes::Bytes;
use djangobot_channels::{Delivery, Receiver};
use djangobot_slack::Backoff;
use serde_json::Value;

use super::job::{Held, Outcome, Untold, outcome_text};
use super::{Ended, Outbound};
use crate::bridge::outbound::outbox::RowId;
use crate::bridge::outcome::{self, Unheard};
use crate::bridge::reply::{DROPPED, Refusal, Reply};
use crate::state::DeadLetter;

impl Outbound {
    /// Tells the app; a failure that nobody hears of becomes a dead letter.
    pub(super) async fn tell(&self, receiver: &dyn Receiver, untold: Untold) -> Ended {
        let Untold {
            held,
            reply,
            outcome,
            is_noted,
        } = untold;
        let request = &reply.request;
        if reply.channel.is_none() {
            match outcome {
                Ok(answer) => {
                    tracing::debug!(method = reply.method, %request, "sent to Slack");
                    self.finish(receiver, held, ts(&answer)).await;
                }
                Err(refusal) => {
                    self.give_up(receiver, held, &reply, refusal, reply.silence)
                        .await;
                }
            }
            return Ended::Told;
        }
        // What Slack has done is known from here on, whenever we end.
        match &held {
            Held::Outbox(row) if !is_noted => self.decide(*row, &outcome).await,
            Held::Layer(delivery, _) if outcome.is_ok() => {
                self.leave_layer(receiver, delivery).await;
            }
            Held::Outbox(_) | Held::Layer(..) | Held::Nowhere => {}
        }
        let (answer, ts) = match &outcome {
            Ok(answer) => (outcome::sent(&reply, answer.clone()), ts(answer)),
            Err(refusal) => (outcome::failed(&reply, refusal), None),
        };
        match (self.answer(&reply, answer).await, outcome) {
            (Ok(()), Ok(_)) => {
                tracing::debug!(method = reply.method, %request, "sent to Slack");
                self.finish(receiver, held, ts).await;
            }
            (Ok(()), Err(refusal)) => {
                tracing::debug!(method = reply.method, %request, error = refusal.error, "not sent: {}", refusal.detail);
                self.finish(receiver, held, None).await;
            }
            // The next start tells it.
            (Err(Unheard::Stopped), _) if matches!(held, Held::Outbox(_)) => {}
            (Err(unheard), Ok(_)) => {
                tracing::warn!(method = reply.method, %request, "sent to Slack, but the app can't be told: {}", unheard.why());
                self.finish(receiver, held, ts).await;
            }
            (Err(unheard), Err(refusal)) => {
                self.give_up(receiver, held, &reply, refusal, unheard.why())
                    .await;
            }
        }
        Ended::Told
    }

    /// Puts an answer on the reply channel, if there is one.
    async fn answer(&self, reply: &Reply, answer: Value) -> Result<(), Unheard> {
        let Some(channel) = &reply.channel else {
            return Ok(());
        };
        let (tap, stop) = (self.tap.as_deref(), &self.post.stop);
        outcome::tell(&*self.layer, tap, channel, answer, stop).await
    }

    /// Nobody is told of a failure: it is kept, unless it was a plugin's will.
    async fn give_up(
        &self,
        receiver: &dyn Receiver,
        held: Held,
        reply: &Reply,
        refusal: Refusal,
        why: &str,
    ) {
        if refusal.error == DROPPED {
            let request = &reply.request;
            tracing::info!(method = reply.method, %request, "not sent: {}", refusal.detail);
            return self.finish(receiver, held, None).await;
        }
        let letter = |bytes: &[u8]| {
            let channel = self.channel.as_str();
            DeadLetter::new(channel, &refusal.error, &refusal.detail, bytes)
        };
        let buried = match &held {
            Held::Outbox(row) => self.outbox.bury(*row, letter(b"")).await.map_err(|error| {
                self.writing.failed(&error, &self.metrics);
                error.to_string()
            }),
            Held::Layer(delivery, _) => {
                let buried = self.state.bury(&letter(&self.readable(delivery)));
                if buried.is_ok() {
                    self.leave_layer(receiver, delivery).await;
                }
                buried.map_err(|error| error.to_string())
            }
            Held::Nowhere => Err("it was made by a plugin while the disk was full".to_owned()),
        };
        match buried {
            Ok(id) => {
                self.metrics.dead_letters().increment(1.0);
                tracing::error!(
                    error = refusal.error,
                    dead_letter = id,
                    "a message was not sent to Slack: {} Kept as dead letter {id} (djangobot dead-letters show {id} --state-dir {} prints it), since {why}.",
                    refusal.detail,
                    self.state.folder().display()
                );
            }
            // What is held stays where it is, and comes again with the next start.
            Err(error) => {
                tracing::error!(
                    error = refusal.error,
                    "a message was not sent to Slack: {} It can't be made a dead letter: {error}",
                    refusal.detail
                );
            }
        }
    }

    /// What can be read is kept as JSON, what can't as the bytes that came.
    fn readable(&self, delivery: &Delivery) -> Bytes {
        match self.decode(delivery) {
            Ok(message) => message.raw().clone(),
            Err(_) => delivery
                .payload
                .clone()
                .unwrap_or_else(|_| Bytes::clone(&delivery.member)),
        }
    }

    /// Forgets a message that has its outcome, and of which nobody has still to hear. The disk is given no peace until it
    /// takes that: what is not noted as sent would be sent again by the next start.
    async fn finish(&self, receiver: &dyn Receiver, held: Held, ts: Option<String>) {
        let row = match held {
            Held::Outbox(row) => row,
            Held::Layer(delivery, _) => return self.leave_layer(receiver, &delivery).await,
            Held::Nowhere => return,
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            match self.outbox.finish(row, ts.clone()).await {
                Ok(()) => return self.writing.worked(),
                Err(error) => {
                    self.outbox.note_gap();
                    self.writing.failed(&error, &self.metrics);
                }
            }
            let waited = self.post.stop.run_until_cancelled(backoff.wait()).await;
            if waited.is_none() {
                return;
            }
        }
    }

    /// Notes an outcome. The app need not wait for a disk that does not take it.
    async fn decide(&self, row: RowId, outcome: &Outcome) {
        let ts = outcome.as_ref().ok().and_then(ts);
        match self.outbox.decided(row, outcome_text(outcome), ts).await {
            Ok(()) => self.writing.worked(),
            Err(error) => self.writing.failed(&error, &self.metrics),
        }
    }

    /// Lets the layer forget a message. A receiver that can't tell its server now does so when it can.
    pub(super) async fn leave_layer(&self, receiver: &dyn Receiver, delivery: &Delivery) {
        match receiver.done(delivery).await {
            Err(error) if error.refusal().is_some() => {
                tracing::error!(%error, "a message that was taken can't be taken off the layer; it will come again after a restart");
            }
            Err(error) => {
                tracing::debug!(%error, "a message that was taken stays on the layer until that answers again")
            }
            Ok(()) => {}
        }
    }
}

/// What Slack calls a message that it posted.
fn ts(answer: &Value) -> Option<String> {
    answer["ts"].as_str().map(str::to_owned)
}
