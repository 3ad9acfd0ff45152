//! Answers that an app gives while Slack waits: to a slash command, a menu that asks for its options, a submitted dialog.
//!
//! Such an event carries a `reply_channel` of its own. What the app puts there before the deadline is the answer in the
//! acknowledgement; without one the acknowledgement is empty. What comes later goes to the event's `response_url`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, ChannelName, LayerError, Receiver, ReceiverId};
use djangobot_event::Event;
use djangobot_slack::{Ack, Backoff, Class, WebApi};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::Tap;
use crate::metrics::Metrics;

/// How long Slack takes answers at a `response_url`, and how many.
const LATE: Duration = Duration::from_secs(30 * 60);
const LATE_ANSWERS: u32 = 5;
/// How long answers are still heard that have nowhere to go, so that somebody is told.
const TOO_LATE: Duration = Duration::from_secs(10);
/// Reply channels that are heard after their acknowledgement, at most.
const HEARD: usize = 1_000;
/// How often an answer is offered to a `response_url`.
const TRIES: u32 = 4;

/// Gives events their reply channels, and Slack the answers.
pub(crate) struct Answers {
    layer: Arc<dyn ChannelLayer>,
    reader: ReceiverId,
    /// How long the app has; zero: Slack is never kept waiting.
    wait: Duration,
    parts: Parts,
    heard: Arc<Semaphore>,
    tasks: JoinSet<()>,
    /// Kept so that the queue that all reply channels share stays open.
    _open: Option<Arc<dyn Receiver>>,
}

#[derive(Clone)]
struct Parts {
    layer: Arc<dyn ChannelLayer>,
    api: WebApi,
    metrics: Metrics,
    tap: Option<Arc<dyn Tap>>,
}

/// One event that waits for its answer.
struct Question {
    channel: ChannelName,
    receiver: Arc<dyn Receiver>,
    response_url: Option<String>,
    parts: Parts,
}

impl Answers {
    pub(crate) fn new(
        layer: Arc<dyn ChannelLayer>,
        reader: ReceiverId,
        wait: Duration,
        (api, metrics): (WebApi, Metrics),
        tap: Option<Arc<dyn Tap>>,
    ) -> Self {
        Self {
            parts: Parts {
                layer: layer.clone(),
                api,
                metrics,
                tap,
            },
            layer,
            reader,
            wait,
            heard: Arc::new(Semaphore::new(HEARD)),
            tasks: JoinSet::new(),
            _open: None,
        }
    }

    /// Whether the acknowledgement of an event like this waits for an answer.
    pub(crate) fn wants(&self, ack: &Ack) -> bool {
        !self.wait.is_zero() && ack.accepts_payload()
    }

    /// A reply channel for `event`, and from now on the one that gives `ack`, once the event is `safe`. `None` where the
    /// layer can't have one: the acknowledgement is empty then.
    pub(crate) async fn expect(
        &mut self,
        event: &Event,
        ack: Ack,
        safe: oneshot::Receiver<()>,
    ) -> Option<ChannelName> {
        while self.tasks.try_join_next().is_some() {}
        let opened = self.open().await;
        let Some(question) = opened.map(|(channel, receiver)| Question {
            channel,
            receiver,
            response_url: event.text("/response_url").map(|url| url.into_owned()),
            parts: self.parts.clone(),
        }) else {
            self.tasks.spawn(confirm(ack, safe));
            return None;
        };
        let channel = question.channel.clone();
        let deadline = ack.deadline().min(Instant::now() + self.wait);
        let heard = self.heard.clone();
        self.tasks.spawn(async move {
            question.answer(ack, deadline, safe).await;
            if let Ok(permit) = heard.try_acquire_owned() {
                question.late(permit).await;
            }
        });
        Some(channel)
    }

    async fn open(&mut self) -> Option<(ChannelName, Arc<dyn Receiver>)> {
        let channel = self.layer.new_channel();
        match self.layer.receiver(&channel, &self.reader).await {
            Ok(receiver) => {
                if self._open.is_none() {
                    let first = self.layer.new_channel();
                    self._open = self.layer.receiver(&first, &self.reader).await.ok();
                }
                Some((channel, receiver))
            }
            Err(error) => {
                tracing::warn!("an event gets no reply channel: {error}");
                None
            }
        }
    }
}

impl Question {
    /// Acknowledges with the app's answer, or without one at the deadline.
    async fn answer(&self, ack: Ack, deadline: Instant, safe: oneshot::Receiver<()>) {
        let given = tokio::time::timeout_at(deadline.into(), self.next()).await;
        let Ok(Some(payload)) = given else {
            self.parts.metrics.answers("none").increment(1);
            return confirm(ack, safe).await;
        };
        match ack.answer(payload.clone()) {
            Ok(()) => self.parts.metrics.answers("in_time").increment(1),
            Err(error) if self.response_url.is_some() => {
                tracing::debug!(channel = %self.channel, "{error}; it goes to the response_url");
                self.respond(payload).await;
            }
            Err(error) => {
                self.parts.metrics.answers("refused").increment(1);
                tracing::error!(channel = %self.channel, "an answer to Slack is lost: {error}");
            }
        }
    }

    /// Hears what comes after the acknowledgement.
    async fn late(&self, _permit: OwnedSemaphorePermit) {
        let limit = match self.response_url {
            Some(_) => LATE,
            None => TOO_LATE,
        };
        let mut until = tokio::time::Instant::now() + limit;
        let mut answers = 0;
        while let Ok(Some(payload)) = tokio::time::timeout_at(until, self.next()).await {
            if self.response_url.is_some() && answers < LATE_ANSWERS {
                answers += 1;
                if answers == LATE_ANSWERS {
                    until = until.min(tokio::time::Instant::now() + TOO_LATE);
                }
                self.respond(payload).await;
                continue;
            }
            self.parts.metrics.answers("too_late").increment(1);
            let why = match self.response_url {
                Some(_) => {
                    "Slack takes five answers after the acknowledgement, and this is one more"
                }
                None => "it came after Slack's deadline, and the event has no response_url",
            };
            tracing::warn!(
                channel = %self.channel,
                "an answer is lost: {why}. Answer within [slack] answer-wait, or call Slack's Web API through slack.send"
            );
        }
        if let Err(error) = self.receiver.close().await {
            tracing::debug!(%error, "a reply channel could not be closed");
        }
    }

    /// The next answer of the app, as JSON; `None` when the layer has ended.
    async fn next(&self) -> Option<Bytes> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let delivery = match self.receiver.next().await {
                Ok(delivery) => delivery,
                Err(LayerError::Closed) => return None,
                // Away or refused: the receiver goes on trying, and the caller has a deadline.
                Err(error) => {
                    tracing::debug!(channel = %self.channel, "no answer can be read now: {error}");
                    backoff.wait().await;
                    continue;
                }
            };
            let message = delivery
                .payload
                .clone()
                .map_err(|error| error.to_string())
                .and_then(|payload| {
                    self.parts
                        .layer
                        .decode(&payload)
                        .map_err(|error| error.to_string())
                });
            if let Err(error) = self.receiver.done(&delivery).await {
                tracing::debug!(%error, "an answer stays on the layer until that answers again");
            }
            match message.and_then(|message| self.payload(message)) {
                Ok(payload) => return Some(payload),
                Err(error) => {
                    tracing::warn!(channel = %self.channel, "an answer can't be read: {error}");
                }
            }
        }
    }

    /// The answer without the keys that are the layer's and ours.
    fn payload(&self, mut message: Event) -> Result<Bytes, String> {
        if let Some(tap) = &self.parts.tap {
            tap.send(&self.channel, &message);
        }
        for key in ["type", "djangobot"] {
            if message.field(key).is_some() {
                message
                    .remove(&format!("/{key}"))
                    .map_err(|error| error.to_string())?;
            }
        }
        let mut json = Vec::new();
        message.write_json(&mut json);
        Ok(json.into())
    }

    async fn respond(&self, payload: Bytes) {
        let Some(url) = &self.response_url else {
            return;
        };
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        for attempt in 1..=TRIES {
            let error = match self.parts.api.respond(url, payload.clone()).await {
                Ok(()) => return self.parts.metrics.answers("late").increment(1),
                Err(error) => error,
            };
            // Shown twice is worse than not shown: only what surely did not arrive is sent again.
            let again = matches!(error.class(), Class::Retry) && attempt < TRIES;
            if !again {
                self.parts.metrics.answers("refused").increment(1);
                tracing::error!(channel = %self.channel, "an answer to Slack is lost: {error}");
                return;
            }
            backoff.wait().await;
        }
    }
}

/// An empty acknowledgement, once the event is safe; none where it never will be.
async fn confirm(ack: Ack, safe: oneshot::Receiver<()>) {
    if safe.await.is_ok() {
        ack.confirm();
    }
}
