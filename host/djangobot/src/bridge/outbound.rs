//! The way out, whole: a message that the app put on `slack.send` becomes a call of Slack's Web API, and its outcome an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, ChannelName, Delivery, LayerError, Receiver, ReceiverId};
use djangobot_event::Event;
use djangobot_plugins::{Direction, Passing, PluginHost};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Tap;
use super::envelope::fingerprint;
use super::lanes::{Lanes, lane_number};
use super::passage;
use super::post::{Post, Unsent};
use super::request::{DEFAULT_METHOD, DROPPED, Refusal, Reply, Request, Rules};
use crate::metrics::Metrics;
use crate::state::{DeadLetter, State};
use djangobot_slack::Backoff;

/// Calls that may be under way, each in a lane of its own.
const RUNNING: usize = 256;
/// Messages that may wait behind others of their conversation; the rest waits in the layer.
const BEHIND: usize = 10_000;
/// Outcomes that may wait to be told, where reply channels are full.
const UNTOLD: usize = 1_000;
/// How long a stop waits for calls that are under way: longer than the Web API's own limit.
const LAST_CALLS: Duration = Duration::from_secs(35);
/// How often a layer that refuses to be read is spoken of again.
const REMINDER: Duration = Duration::from_secs(60);
/// How often an answer is offered to a reply channel that is full or away.
const REPLY_TRIES: u32 = 8;

/// Takes messages from the layer and sends them to Slack.
pub(crate) struct Outbound {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    pub(crate) channel: ChannelName,
    pub(crate) reader: ReceiverId,
    pub(crate) rules: Rules,
    pub(crate) plugins: PluginHost,
    /// Where messages of plugins go on.
    pub(crate) messages: mpsc::Sender<djangobot_plugins::Message>,
    pub(crate) post: Post,
    pub(crate) state: State,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

/// A message that was taken from the layer and is not finished.
struct Taken {
    delivery: Delivery,
    reply: Reply,
    at: Instant,
}

/// A message that has a lane.
type Job = (Taken, Task);

/// What is to be done with a message.
enum Task {
    /// It can be sent as it is.
    Send(Request),
    /// It goes through the plugins first.
    Pass(Event),
}

/// What has come to an end.
enum Ended {
    /// A call: its lane is free, and there may be something to tell; or Slack bars us.
    Called(String, Result<Option<Box<Untold>>, Refusal>),
    /// The telling of an outcome.
    Told,
}

/// An outcome that the app has still to be told.
struct Untold {
    delivery: Delivery,
    reply: Reply,
    outcome: Result<Value, Refusal>,
}

type Work<'a> = FuturesUnordered<BoxFuture<'a, Ended>>;

impl Outbound {
    /// Sends until `cancel` or until Slack bars us, which is the error; lets calls that are under way end. What was not
    /// begun goes back to the layer.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Refusal> {
        let Some(receiver) = cancel.run_until_cancelled(self.open()).await else {
            return Ok(());
        };
        let mut lanes = Lanes::default();
        let mut work: Work<'_> = FuturesUnordered::new();
        let mut reading = Reading::new();
        let outcome = loop {
            let untold = work.len() - lanes.running();
            let has_room = lanes.running() < RUNNING && lanes.behind() < BEHIND && untold < UNTOLD;
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                Some(ended) = work.next() => {
                    if let Err(barred) = self.ended(&*receiver, ended, &mut lanes, &mut work) {
                        break Err(barred);
                    }
                }
                // `None` has to match too: it asks for another round, and a branch that does not match waits for the others.
                taken = self.take(&*receiver, &mut reading), if has_room => {
                    if let Some((taken, message, request)) = taken {
                        self.begin(&*receiver, taken, message, request, &mut lanes, &mut work);
                    }
                }
            }
            self.metrics
                .sending()
                .set((work.len() + lanes.behind()) as f64);
        };
        // Whoever waits gives up; what Slack may be carrying out just now is seen to its end.
        self.post.stop.cancel();
        let last = async {
            while let Some(ended) = work.next().await {
                if let Ended::Called(_, Ok(Some(untold))) = ended {
                    work.push(self.tell(&*receiver, *untold).boxed());
                }
            }
        };
        let _ = tokio::time::timeout(LAST_CALLS, last).await;
        drop(work);
        if let Err(error) = receiver.close().await {
            tracing::warn!(%error, "unfinished messages could not be given back now; they come again at the next start");
        }
        outcome
    }

    /// Gives a message to its lane; what can't be sent and that no plugin wants has none, and only its outcome is told.
    fn begin<'a>(
        &'a self,
        receiver: &'a dyn Receiver,
        taken: Taken,
        message: Option<Event>,
        request: Result<Request, Refusal>,
        lanes: &mut Lanes<Job>,
        work: &mut Work<'a>,
    ) {
        // Order is kept within a conversation; conversations do not wait for each other.
        let lane = match &request {
            Ok(request) => self.post.lane(request, |lane| lanes.is_busy(lane)),
            Err(_) => String::new(),
        };
        let task = match (message, request) {
            (Some(message), _) => Task::Pass(message),
            (None, Ok(request)) => Task::Send(request),
            (None, Err(refusal)) => {
                let untold = self.untold(taken, Err(refusal));
                return work.push(self.tell(receiver, untold).boxed());
            }
        };
        if let Some(job) = lanes.admit(&lane, (taken, task)) {
            work.push(self.call(receiver, lane, job).boxed());
        }
    }

    /// Goes on after an end: with the next message of the lane, and with telling the app.
    fn ended<'a>(
        &'a self,
        receiver: &'a dyn Receiver,
        ended: Ended,
        lanes: &mut Lanes<Job>,
        work: &mut Work<'a>,
    ) -> Result<(), Refusal> {
        let Ended::Called(lane, called) = ended else {
            return Ok(());
        };
        if let Some(untold) = called? {
            work.push(self.tell(receiver, *untold).boxed());
        }
        if let Some(job) = lanes.finished(&lane) {
            work.push(self.call(receiver, lane, job).boxed());
        }
        Ok(())
    }

    async fn open(&self) -> Arc<dyn Receiver> {
        let mut reading = Reading::new();
        loop {
            match self.layer.receiver(&self.channel, &self.reader).await {
                Ok(receiver) => return receiver,
                Err(error) => reading.failed(&error, &self.metrics).await,
            }
        }
    }

    /// The next message, read and checked; whole where plugins want it. `None` after a failure, to try again.
    async fn take(
        &self,
        receiver: &dyn Receiver,
        reading: &mut Reading,
    ) -> Option<(Taken, Option<Event>, Result<Request, Refusal>)> {
        let delivery = match receiver.next().await {
            Ok(delivery) => delivery,
            Err(error) => {
                reading.failed(&error, &self.metrics).await;
                return None;
            }
        };
        reading.worked();
        let at = Instant::now();
        let (message, (reply, request)) = match self.decode(&delivery) {
            Ok(message) => {
                if let Some(tap) = &self.tap {
                    tap.send(&self.channel, &message);
                }
                let read = self.rules.read(&message);
                let wanted = self
                    .plugins
                    .wants(Direction::Outbound, &passing(&delivery, message.clone()));
                (wanted.then_some(message), read)
            }
            Err(refusal) => (None, (Reply::default(), Err(refusal))),
        };
        let taken = Taken {
            delivery,
            reply,
            at,
        };
        Some((taken, message, request))
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

    /// One message's whole way out, to Slack's answer. What is sent leaves the layer at once, so that no stop sends it
    /// again.
    async fn call(&self, receiver: &dyn Receiver, lane: String, job: Job) -> Ended {
        let (mut taken, task) = job;
        let outcome = match task {
            Task::Send(request) => self.post.call(request).await,
            Task::Pass(message) => self.pass(&mut taken, message, &lane).await,
        };
        let outcome = match outcome {
            Ok(answer) => Ok(answer),
            Err(Unsent::Refused(refusal)) => Err(refusal),
            Err(Unsent::Stopped) => return Ended::Called(lane, Ok(None)),
            Err(Unsent::Barred(why)) => return Ended::Called(lane, Err(why)),
        };
        let untold = self.untold(taken, outcome);
        if untold.outcome.is_ok() {
            self.finish(receiver, &untold.delivery).await;
        }
        Ended::Called(lane, Ok(Some(Box::new(untold))))
    }

    /// A message's way through the plugins, and on to Slack. What the plugins emit beside it follows it; the outcome is
    /// that of the message itself.
    async fn pass(&self, taken: &mut Taken, message: Event, lane: &str) -> Result<Value, Unsent> {
        let passing = passing(&taken.delivery, message);
        let through = self
            .plugins
            .pass(Direction::Outbound, passing, lane_number(lane));
        // A plugin may hold a message for as long as it is broken; a stop leaves it in the layer.
        let Some(passed) = self.post.stop.run_until_cancelled(through).await else {
            return Err(Unsent::Stopped);
        };
        let mut outcome = match &passed.dropped {
            Some(dropped) => {
                passage::tell_dropped(dropped, Direction::Outbound, &self.metrics);
                Err(Refusal::dropped(dropped).into())
            }
            None => Ok(Value::Object(Map::new())),
        };
        for event in passed.events {
            let is_emitted = event.emitted;
            match (is_emitted, self.send_on(taken, event).await) {
                (false, answer) => outcome = answer,
                (true, Ok(_)) => {}
                (true, Err(Unsent::Refused(refusal))) => {
                    self.metrics.sends(&refusal.error).increment(1);
                    tracing::error!(
                        error = refusal.error,
                        "a message that a plugin emitted was not sent: {}",
                        refusal.detail
                    );
                }
                // The message itself is sent, so that it must not come again; what was to follow it is lost.
                (true, Err(Unsent::Stopped | Unsent::Barred(_))) => {
                    tracing::warn!(
                        "a message that a plugin emitted was not sent, since the bridge stops"
                    );
                }
            }
            if matches!(outcome, Err(Unsent::Stopped | Unsent::Barred(_))) {
                return outcome;
            }
        }
        for message in passed.messages {
            if let Err(error) = self.messages.try_send(message) {
                tracing::error!("a plugin's message for Slack is lost: {error}");
            }
        }
        outcome
    }

    /// Calls what came out of the plugins.
    async fn send_on(&self, taken: &mut Taken, passing: Passing) -> Result<Value, Unsent> {
        let Passing {
            kind,
            mut event,
            emitted,
            ..
        } = passing;
        let unfit = |error: djangobot_event::EditError| {
            Refusal::new("invalid_message", format!("{error}."))
        };
        if *kind != *DEFAULT_METHOD || event.get("/method").is_some() {
            event.set("/method", &*kind).map_err(unfit)?;
        }
        let (reply, request) = self.rules.read(&event);
        if !emitted {
            taken.reply.method = reply.method;
        }
        self.post.call(request?).await
    }

    /// Counts an outcome, which has then to be told.
    fn untold(&self, taken: Taken, outcome: Result<Value, Refusal>) -> Untold {
        let label = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.error.as_str(), |_| "sent");
        self.metrics.sends(label).increment(1);
        self.metrics
            .send_seconds()
            .record(taken.at.elapsed().as_secs_f64());
        Untold {
            delivery: taken.delivery,
            reply: taken.reply,
            outcome,
        }
    }

    /// Tells the app; a failure that nobody hears of is kept, and only then leaves the layer.
    async fn tell(&self, receiver: &dyn Receiver, untold: Untold) -> Ended {
        let Untold {
            delivery,
            reply,
            outcome,
        } = untold;
        let request = &reply.request;
        match outcome {
            Ok(response) => {
                tracing::debug!(method = reply.method, %request, "sent to Slack");
                let unheard = self.answer(&reply, sent(&reply, response)).await;
                if let Err(why) = unheard {
                    tracing::warn!(method = reply.method, %request, "sent to Slack, but the app can't be told: {why}");
                }
            }
            Err(refusal) => {
                let unheard = match &reply.channel {
                    Some(_) => self.answer(&reply, failed(&reply, &refusal)).await,
                    None => Err("the message had no reply_channel".to_owned()),
                };
                match unheard {
                    Ok(()) => {
                        tracing::debug!(method = reply.method, %request, error = refusal.error, "not sent: {}", refusal.detail)
                    }
                    Err(_) if refusal.error == DROPPED => {
                        tracing::info!(method = reply.method, %request, "not sent: {}", refusal.detail)
                    }
                    Err(why) => self.bury(&refusal, &delivery, &why),
                }
                self.finish(receiver, &delivery).await;
            }
        }
        Ended::Told
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
            if self
                .post
                .stop
                .run_until_cancelled(backoff.wait())
                .await
                .is_none()
            {
                break;
            }
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

/// A message as plugins see it: by its Web API method, with an id that is the same should the layer give it again.
fn passing(delivery: &Delivery, message: Event) -> Passing {
    let method = message.text("/method").map_or_else(
        || DEFAULT_METHOD.to_owned(),
        |it| it.chars().take(80).collect(),
    );
    let id = format!("send.{:016x}", fingerprint(&delivery.member));
    let hops = passage::hops(&message);
    Passing {
        hops,
        ..Passing::new(&id, &method, message)
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

/// How reading the layer goes.
struct Reading {
    backoff: Backoff,
    told: Option<Instant>,
}

impl Reading {
    fn new() -> Self {
        Self {
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2)),
            told: None,
        }
    }

    /// Waits after a failure. Who watches the layer tells of one that is away; of one that refuses only we know.
    async fn failed(&mut self, error: &LayerError, metrics: &Metrics) {
        metrics.layer_errors("receive").increment(1);
        let is_told = self.told.is_some_and(|at| at.elapsed() < REMINDER);
        if error.is_temporary() || is_told {
            tracing::debug!("no message can be taken for Slack: {error}");
        } else {
            tracing::error!("no message can be taken for Slack: {error}");
            self.told = Some(Instant::now());
        }
        self.backoff.wait().await;
    }

    fn worked(&mut self) {
        self.backoff.succeeded();
        self.told = None;
    }
}
