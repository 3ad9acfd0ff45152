//! The way out, whole: a message that the app put on `slack.send` becomes a call of Slack's Web API, and its outcome an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, ChannelName, Delivery, LayerError, Receiver, ReceiverId};
use djangobot_event::Event;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::Tap;
use super::backoff::Backoff;
use super::lanes::Lanes;
use super::post::Post;
use super::request::{Refusal, Reply, Request, Rules};
use crate::metrics::Metrics;
use crate::state::{DeadLetter, State};

/// Messages that may be under way to Slack; the rest waits in the layer.
const IN_FLIGHT: usize = 256;
/// How often an answer is offered to a reply channel that is full or away.
const REPLY_TRIES: u32 = 8;

/// Takes messages from the layer and sends them to Slack.
pub(crate) struct Outbound {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) channel: ChannelName,
    pub(crate) reader: ReceiverId,
    pub(crate) rules: Rules,
    pub(crate) post: Post,
    pub(crate) state: State,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

/// A message that was taken from the layer and is not finished.
struct Job {
    delivery: Delivery,
    reply: Reply,
    request: Result<Request, Refusal>,
    taken: Instant,
}

impl Outbound {
    /// Sends until `cancel`, then finishes what was taken, for at most `drain`; what is left goes back to the layer.
    pub(crate) async fn run(self, cancel: CancellationToken, drain: Duration) {
        let Some(receiver) = cancel.run_until_cancelled(self.open()).await else {
            return;
        };
        let mut lanes = Lanes::default();
        let mut running: FuturesUnordered<BoxFuture<'_, String>> = FuturesUnordered::new();
        let mut backoff = patience();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(lane) = running.next() => {
                    if let Some(job) = lanes.finished(&lane) {
                        running.push(self.work(&*receiver, lane, job).boxed());
                    }
                }
                taken = self.take(&*receiver, &mut backoff), if lanes.len() < IN_FLIGHT => {
                    if let Some((lane, job)) = taken
                        && let Some(job) = lanes.admit(&lane, job)
                    {
                        running.push(self.work(&*receiver, lane, job).boxed());
                    }
                }
            }
            self.metrics.sending().set(lanes.len() as f64);
        }
        let finish = async {
            while let Some(lane) = running.next().await {
                if let Some(job) = lanes.finished(&lane) {
                    running.push(self.work(&*receiver, lane, job).boxed());
                }
            }
        };
        let _ = tokio::time::timeout(drain, finish).await;
        drop(running);
        if let Err(error) = receiver.close().await {
            tracing::warn!(%error, unfinished = lanes.len(), "unfinished messages could not be given back now; they come again at the next start");
        }
    }

    async fn open(&self) -> Arc<dyn Receiver> {
        let mut backoff = patience();
        loop {
            match self.layer.receiver(&self.channel, &self.reader).await {
                Ok(receiver) => return receiver,
                Err(error) => self.not_read(&error, &mut backoff).await,
            }
        }
    }

    /// The next message, read and checked, and the lane that it belongs to. `None` after a failure, to try again.
    async fn take(&self, receiver: &dyn Receiver, backoff: &mut Backoff) -> Option<(String, Job)> {
        let delivery = match receiver.next().await {
            Ok(delivery) => delivery,
            Err(error) => {
                self.not_read(&error, backoff).await;
                return None;
            }
        };
        backoff.reset();
        let taken = Instant::now();
        let (reply, request) = match self.decode(&delivery) {
            Ok(message) => {
                if let Some(tap) = &self.tap {
                    tap.send(&self.channel, &message);
                }
                self.rules.read(&message)
            }
            Err(refusal) => (Reply::default(), Err(refusal)),
        };

        // Plugins, outbound, stand here: between what the app asked and what is called.

        // Order is kept within a conversation; conversations do not wait for each other.
        let lane = match &request {
            Ok(request) => self.post.lane(request),
            Err(_) => String::new(),
        };
        Some((
            lane,
            Job {
                delivery,
                reply,
                request,
                taken,
            },
        ))
    }

    /// Waits after a failure to read; who watches the layer has told of it.
    async fn not_read(&self, error: &LayerError, backoff: &mut Backoff) {
        self.metrics.layer_errors("receive").increment(1);
        tracing::debug!("no message can be taken for Slack: {error}");
        backoff.wait().await;
    }

    fn decode(&self, delivery: &Delivery) -> Result<Event, Refusal> {
        let payload = delivery.payload.clone().map_err(|error| {
            Refusal::new(
                "undecodable",
                format!("The message can't be opened: {error}."),
            )
        })?;
        self.layer.decode(&payload).map_err(|error| {
            Refusal::new(
                "undecodable",
                format!("The message is no dict that a channel layer may carry: {error}."),
            )
        })
    }

    /// One message's whole way out. Gives the lane back, which is then free for its next.
    async fn work(&self, receiver: &dyn Receiver, lane: String, job: Job) -> String {
        let outcome = match job.request {
            Ok(request) => self.post.call(request).await,
            Err(refusal) => Err(refusal),
        };
        let label = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.error.as_str(), |_| "sent");
        self.metrics.sends(label).increment(1);
        self.metrics
            .send_seconds()
            .record(job.taken.elapsed().as_secs_f64());
        self.conclude(&job.reply, outcome, &job.delivery).await;
        self.finish(receiver, &job.delivery).await;
        lane
    }

    /// Tells the app; a failure that nobody hears of is kept.
    async fn conclude(&self, reply: &Reply, outcome: Result<Value, Refusal>, delivery: &Delivery) {
        let request = &reply.request;
        match outcome {
            Ok(response) => {
                tracing::debug!(method = reply.method, %request, "sent to Slack");
                let unheard = self.answer(reply, sent(reply, response)).await;
                if let Err(why) = unheard {
                    tracing::warn!(method = reply.method, %request, "sent to Slack, but the app can't be told: {why}");
                }
            }
            Err(refusal) => {
                let unheard = match &reply.channel {
                    Some(_) => self.answer(reply, failed(reply, &refusal)).await,
                    None => Err("the message had no reply_channel".to_owned()),
                };
                match unheard {
                    Ok(()) => {
                        tracing::debug!(method = reply.method, %request, error = refusal.error, "not sent: {}", refusal.detail)
                    }
                    Err(why) => self.bury(&refusal, delivery, &why),
                }
            }
        }
    }

    /// Puts an answer on the reply channel, if there is one.
    async fn answer(&self, reply: &Reply, answer: Value) -> Result<(), String> {
        let Some(channel) = &reply.channel else {
            return Ok(());
        };
        let text = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
        let message = Event::parse(text).map_err(|error| error.to_string())?;
        if let Some(tap) = &self.tap {
            tap.answer(channel, &message);
        }
        let member = self.layer.encode(channel, &message);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut why = String::new();
        for _ in 0..REPLY_TRIES {
            match self
                .layer
                .send(channel, std::slice::from_ref(&member))
                .await
            {
                Ok(sent) if sent.receivers == Some(0) => {
                    why = format!("nobody is subscribed to {channel}")
                }
                Ok(sent) if sent.accepted == 0 => why = format!("{channel} is full"),
                Ok(_) => return Ok(()),
                Err(error) if error.is_temporary() => why = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
            backoff.wait().await;
        }
        Err(why)
    }

    fn bury(&self, refusal: &Refusal, delivery: &Delivery, why: &str) {
        // What can be read is kept as JSON, what can't as the bytes that came.
        let bytes = match self.decode(delivery) {
            Ok(message) => message.raw().clone(),
            Err(_) => delivery
                .payload
                .clone()
                .unwrap_or_else(|_| Bytes::clone(&delivery.member)),
        };
        let letter = DeadLetter::new(
            self.channel.as_str(),
            &refusal.error,
            &refusal.detail,
            &bytes,
        );
        match self.state.bury(&letter) {
            Ok(id) => {
                self.metrics.dead_letters().increment(1.0);
                tracing::error!(
                    error = refusal.error,
                    dead_letter = id,
                    "a message was not sent to Slack: {} Kept as dead letter {id} (djangobot dead-letters shows it), since {why}.",
                    refusal.detail
                );
            }
            Err(error) => {
                tracing::error!(
                    error = refusal.error,
                    "a message was not sent to Slack: {} It could not be kept either: {error}",
                    refusal.detail
                );
            }
        }
    }

    /// Lets the layer forget a message. A receiver that can't tell its server now does so when it can.
    async fn finish(&self, receiver: &dyn Receiver, delivery: &Delivery) {
        match receiver.done(delivery).await {
            Err(error) if !error.is_temporary() => {
                tracing::error!(%error, "a message that is finished can't be taken off the layer; it may be sent again after a restart");
            }
            Err(error) => {
                tracing::debug!(%error, "a finished message stays on the layer until that answers again")
            }
            Ok(()) => {}
        }
    }
}

/// `slack.sent`: Slack's own answer, flat, and the caller's id.
fn sent(reply: &Reply, response: Value) -> Value {
    let mut answer = match response {
        Value::Object(answer) => answer,
        other => Map::from_iter([("response".to_owned(), other)]),
    };
    answer.insert("type".into(), "slack.sent".into());
    answer.insert("ok".into(), true.into());
    answer.insert("method".into(), reply.method.as_str().into());
    answer.insert("request".into(), reply.request.clone());
    Value::Object(answer)
}

/// `slack.failed`: Slack's error code or ours, a sentence, and the caller's id.
fn failed(reply: &Reply, refusal: &Refusal) -> Value {
    json!({
        "type": "slack.failed", "ok": false, "error": refusal.error, "detail": refusal.detail,
        "method": reply.method, "request": reply.request,
    })
}

/// How long to wait before a layer that could not be read is asked again.
fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}
