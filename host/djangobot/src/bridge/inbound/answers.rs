//! Answers to what people do: slash commands, clicks, shortcuts, dialogs.
//!
//! Such an event carries a `reply_channel` of its own. Where Slack takes an answer while it waits, what the app puts there
//! before the deadline goes into the acknowledgement; without it the acknowledgement is empty. All else goes to the
//! event's `response_url`: five times, for half an hour, across restarts, in order.
//!
//! All reply channels are names of one queue, `slack.answers.<host>!`, which one reader empties: [`AnswerDesk`] is one task
//! that knows by its [`Questions`] whose each answer is. An answer leaves the layer when its outcome is told; that it was
//! begun is noted in the state before, so that none is shown twice.

mod answer;
mod pending;
mod post;
mod questions;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, ChannelName, Delivery, ReceiverId};
use djangobot_event::Event;
use djangobot_slack::{Ack, AnswerError, Backoff, ResponseUrl, WebApi};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::custody::Custody;
use crate::bridge::message_key::MessageKey;
use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::roster::RosterKeeper;
use crate::bridge::tap::Tap;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use answer::{ACKNOWLEDGEMENT, Answer, Kind};
use pending::{Pending, Taken};
use post::{Parts, Posted};
use questions::{Address, LIFETIME, Question, Questions, Row, Token, USES};

/// Events that may wait for the task.
const ASKED: usize = 1_024;
/// Answers that may be under way or wait for others of their event; the rest waits in the layer.
const UNDER_WAY: usize = 256;
/// How often rows whose time is over are taken away.
const TIDY: Duration = Duration::from_secs(60);
/// How long a stop waits for posts that are under way: longer than the Web API's own limit.
const LAST_POSTS: Duration = Duration::from_secs(35);

/// Gives events their reply channels.
pub(crate) struct Answers {
    /// The queue of all of them, which ends with `!`.
    queue: ChannelName,
    /// How long the app has; zero: Slack is never kept waiting.
    wait: Duration,
    asked: mpsc::Sender<Asked>,
}

/// The task that gives Slack the answers.
pub(crate) struct AnswerDesk {
    queue: ChannelName,
    reader: ReceiverId,
    /// Whether events that take answers can come at all.
    is_wanted: bool,
    asked: mpsc::Receiver<Asked>,
    questions: Questions,
    /// Answers that wait for others of their event.
    behind: usize,
    /// Events that were forgotten and are still in the state.
    forgotten: Vec<Token>,
    tidied: Instant,
    parts: Arc<Parts>,
}

/// An event that takes answers, on its way to the task.
struct Asked {
    token: Token,
    question: Question,
    /// When Slack gets its acknowledgement in any case.
    deadline: Option<Instant>,
    /// The part of the event that is safe once the state knows its addresses.
    part: Option<Custody>,
}

/// What Slack gets of an answer, as JSON.
pub(crate) fn body_of(message: &Event) -> Result<Bytes, SendFailure> {
    Answer::read(message).1.map(|answer| answer.json())
}

type Work = FuturesUnordered<BoxFuture<'static, Option<Posted>>>;

impl Answers {
    /// The two ends: for the way in, and the task that has to run beside it. `reader` is the host's name, under which
    /// answers are found after a restart; `has_interactions` says whether the transport brings what can be answered.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the bridge, given once"
    )]
    pub(crate) async fn open(
        layer: Arc<dyn ChannelLayer>,
        reader: ReceiverId,
        wait: Duration,
        has_interactions: bool,
        (api, roster): (WebApi, Arc<RosterKeeper>),
        journal: Journal,
        metrics: Metrics,
        tap: Option<Arc<dyn Tap>>,
    ) -> Result<(Self, AnswerDesk), AnswersError> {
        let queue = ChannelName::new(&format!("slack.answers.{}!", reader.0))?;
        let questions = Questions::open(&journal, now()).await?;
        let (asked, hear) = mpsc::channel(ASKED);
        let desk = AnswerDesk {
            queue: queue.clone(),
            reader,
            is_wanted: has_interactions || questions.len() > 0,
            asked: hear,
            questions,
            behind: 0,
            forgotten: Vec::new(),
            tidied: Instant::now(),
            parts: Arc::new(Parts {
                layer,
                api,
                journal,
                roster,
                metrics,
                tap,
                receiver: OnceLock::new(),
                stop: CancellationToken::new(),
            }),
        };
        Ok((Self { queue, wait, asked }, desk))
    }

    /// Whether the acknowledgement of an event like this waits for an answer.
    pub(crate) fn wants(&self, ack: &Ack) -> bool {
        !self.wait.is_zero() && ack.accepts_payload()
    }

    /// A reply channel for the event `id` of Slack's type `kind`, if it takes answers: in its acknowledgement, which is
    /// given by us then, or at `addresses`.
    pub(crate) async fn expect(
        &self,
        (id, kind): (&str, &str),
        ack: Option<Ack>,
        addresses: &[ResponseUrl],
        custody: &Custody,
    ) -> Option<ChannelName> {
        if ack.is_none() && addresses.is_empty() {
            return None;
        }
        let token = uuid::Uuid::new_v4().simple().to_string();
        let channel = self.queue.join(&token).ok()?;
        let address = |url: &ResponseUrl| Address {
            url: url.clone(),
            begun: Vec::new(),
        };
        let addresses: Vec<_> = addresses.iter().map(address).collect();
        let asked = Asked {
            token,
            deadline: ack
                .as_ref()
                .map(|ack| ack.deadline().min(Instant::now() + self.wait)),
            part: (!addresses.is_empty()).then(|| custody.part()),
            question: Question {
                kind: Kind::of(kind),
                id: id.into(),
                at: now(),
                ack: ack.map(|ack| (ack, custody.signal())),
                addresses,
                waiting: VecDeque::new(),
                is_busy: false,
            },
        };
        // The task ends with the bridge alone, and Slack gives the event again then.
        self.asked.send(asked).await.ok()?;
        Some(channel)
    }
}

/// Why answers can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswersError {
    #[error(transparent)]
    Name(#[from] djangobot_channels::NameError),
    #[error(transparent)]
    State(#[from] JournalError),
}

impl AnswerDesk {
    /// Answers until the way in has ended, and sees to the end what Slack may be taking just then.
    pub(crate) async fn run(mut self) {
        let deliveries = deliveries(
            self.parts.clone(),
            self.queue.clone(),
            self.reader.clone(),
            self.is_wanted,
        );
        let mut deliveries = pin!(deliveries);
        let mut work = Work::new();
        loop {
            self.parts
                .metrics
                .reply_channels()
                .set(self.questions.len() as f64);
            let due = self
                .questions
                .next_due()
                .map(tokio::time::Instant::from_std);
            let has_room = work.len() + self.behind < UNDER_WAY;
            tokio::select! {
                asked = self.asked.recv() => match asked {
                    Some(asked) => self.admit(asked, &mut work),
                    None => break,
                },
                Some(delivery) = deliveries.next(), if has_room => {
                    // Its question was asked before an app could answer it, and may wait here still.
                    while let Ok(asked) = self.asked.try_recv() {
                        self.admit(asked, &mut work);
                    }
                    self.hear(delivery, &mut work);
                }
                Some(posted) = work.next() => {
                    if let Some(posted) = posted {
                        self.posted(posted, &mut work);
                    }
                }
                () = sleep_until(due) => self.tick(&mut work),
            }
        }
        // Whoever waits gives up; what waits here goes back to the layer.
        self.parts.stop.cancel();
        let last = async {
            while let Some(posted) = work.next().await {
                let Some(Posted {
                    token,
                    pending,
                    outcome,
                    ..
                }) = posted
                else {
                    continue;
                };
                match outcome {
                    Some(outcome) => self.parts.clone().tell(pending.taken, outcome).await,
                    None => {
                        if let Some(row) = self.not_begun(&token, &pending) {
                            self.parts.write(row).await;
                        }
                    }
                }
            }
        };
        let _ = tokio::time::timeout(LAST_POSTS, last).await;
        if let Some(receiver) = self.parts.receiver.get()
            && let Err(error) = receiver.close().await
        {
            tracing::debug!(%error, "answers that were not finished come again at the next start");
        }
    }

    fn admit(&mut self, asked: Asked, work: &mut Work) {
        let Asked {
            token,
            question,
            deadline,
            part,
        } = asked;
        if let Some(part) = part {
            let (row, parts) = (Row::of(&token, &question), self.parts.clone());
            work.push(nothing(async move {
                parts.write(row).await;
                part.safe();
            }));
        }
        let forgotten = self.questions.insert(token, question, LIFETIME, deadline);
        for (token, question) in forgotten {
            self.parts.metrics.answers("forgotten").increment(1);
            tracing::warn!(
                event = question.id,
                "an event takes no answers any more, before its half hour was over: too many others came since"
            );
            self.forgotten.push(token);
            if let Some((ack, safe)) = question.ack {
                work.push(nothing(confirm(ack, safe)));
            }
        }
    }

    /// Acknowledges what nobody answered, and forgets what can't be answered any more.
    fn tick(&mut self, work: &mut Work) {
        let now = Instant::now();
        for (ack, safe) in self.questions.due(now) {
            self.parts.metrics.answers("none").increment(1);
            work.push(nothing(confirm(ack, safe)));
        }
        self.questions.expire(now);
        if now - self.tidied < TIDY {
            return;
        }
        self.tidied = now;
        let (tokens, parts) = (std::mem::take(&mut self.forgotten), self.parts.clone());
        let oldest = self::now() - LIFETIME.as_secs_f64();
        work.push(nothing(async move {
            let written = parts
                .journal
                .write(move |it| questions::forget(it, oldest, &tokens));
            if let Err(error) = written.await {
                tracing::debug!(%error, "old addresses for answers stay in the state");
            }
        }));
    }

    /// One answer of the app, to its end or to its place among those of its event.
    fn hear(&mut self, delivery: Delivery, work: &mut Work) {
        let names = self.parts.layer.addressees(&delivery);
        let key = MessageKey::of(&delivery, self.parts.layer.wire());
        let message = delivery
            .payload
            .clone()
            .map_err(|error| error.to_string())
            .and_then(|payload| {
                let decoded = self.parts.layer.decode(&payload);
                decoded.map_err(|error| error.to_string())
            });
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let detail = format!("The answer can't be read: {error}.");
                let reply =
                    delivery.payload.as_ref().ok().map(|payload| {
                        Reply::from(&self.parts.layer.salvage(payload, Reply::KEYS))
                    });
                let taken = Taken {
                    delivery,
                    key,
                    reply: reply.unwrap_or_else(Reply::unreadable),
                };
                return self.end(taken, Err(SendFailure::new("undecodable", detail)), work);
            }
        };
        // One, but where a group has several of them.
        let queue = self.queue.clone();
        for (name, token) in names
            .iter()
            .filter_map(|name| Some((name, name.strip_prefix(queue.as_str())?)))
        {
            if let (Some(tap), Ok(channel)) = (&self.parts.tap, ChannelName::new(name)) {
                tap.send(&channel, &message);
            }
            let (reply, answer) = Answer::read(&message);
            let taken = Taken {
                delivery: delivery.clone(),
                key,
                reply,
            };
            match answer {
                Ok(answer) => self.answer(token, answer, taken, work),
                Err(refusal) => self.end(taken, Err(refusal), work),
            }
        }
        if names.is_empty() {
            tracing::warn!("an answer names no event, and goes nowhere");
            let parts = self.parts.clone();
            work.push(nothing(async move { parts.done(&delivery).await }));
        }
    }

    fn answer(&mut self, token: &str, answer: Answer, mut taken: Taken, work: &mut Work) {
        let Some(question) = self.questions.get_mut(token) else {
            let detail = "The event that it answers is not known any more: Slack takes answers for half an hour. Post through slack.send.";
            return self.end(taken, Err(SendFailure::new("expired_url", detail)), work);
        };
        let mut too_large = None;
        if answer.is_for_acknowledgement(question.kind)
            && let Some((ack, _safe)) = question.ack.take()
        {
            // The app has the event, and with it the layer: it is safe.
            match ack.answer(answer.json()) {
                Ok(()) => {
                    ACKNOWLEDGEMENT.clone_into(&mut taken.reply.method);
                    return self.end(taken, Ok(()), work);
                }
                Err(error) => {
                    tracing::debug!(event = question.id, "{error}");
                    too_large = Some(error);
                }
            }
        }
        let urls: Vec<_> = question.addresses.iter().map(|it| &it.url).collect();
        let roster = self.parts.roster.roster();
        let name = |id: &str| roster.conversation(id).map(|it| it.name().to_owned());
        let address = match answer.address(question.kind, &urls, name) {
            Ok(address) => address,
            Err(mut refusal) => {
                if let Some(error @ AnswerError::TooLarge { .. }) = too_large {
                    refusal =
                        SendFailure::new("too_large", format!("Slack does not get it: {error}."));
                }
                return self.end(taken, Err(refusal), work);
            }
        };
        let waiting = question.waiting.iter().filter(|it| it.address == address);
        let waiting = waiting.count();
        let begun = question.addresses.get(address).map(|it| &it.begun);
        let refusal = match begun {
            // It was begun by an earlier run, which did not come to its end.
            Some(begun) if begun.contains(&taken.key) => Some(SendFailure::new(
                "interrupted",
                "djangobot was ended while it gave this answer to Slack, which may have taken it, so it was not given again.",
            )),
            Some(begun) if begun.len() + waiting >= USES => Some(SendFailure::new(
                "used_url",
                "Slack takes five answers at one response_url, and this is one more. Post through slack.send, or change what is there with chat.update.",
            )),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return self.end(taken, Err(refusal), work);
        }
        question.waiting.push_back(Pending {
            taken,
            body: answer.json(),
            address,
        });
        self.behind += 1;
        self.go_on(token, work);
    }

    /// Posts the next answer of an event, if none is under way.
    fn go_on(&mut self, token: &str, work: &mut Work) {
        let Some(question) = self.questions.get_mut(token) else {
            return;
        };
        if question.is_busy {
            return;
        }
        let Some(pending) = question.waiting.pop_front() else {
            return;
        };
        self.behind -= 1;
        question.is_busy = true;
        let mut url = String::new();
        if let Some(address) = question.addresses.get_mut(pending.address) {
            address.begun.push(pending.taken.key);
            url.clone_from(&address.url.url);
        }
        let row = Row::of(token, question);
        let post = self.parts.clone().post(token.to_owned(), row, url, pending);
        work.push(post.map(Some).boxed());
    }

    fn posted(&mut self, posted: Posted, work: &mut Work) {
        let Posted {
            token,
            pending,
            outcome,
            is_unused,
        } = posted;
        if is_unused && let Some(row) = self.not_begun(&token, &pending) {
            let parts = self.parts.clone();
            work.push(nothing(async move { parts.write(row).await }));
        }
        if let Some(question) = self.questions.get_mut(&token) {
            question.is_busy = false;
        }
        if let Some(outcome) = outcome {
            self.end(pending.taken, outcome, work);
        }
        self.go_on(&token, work);
    }

    /// Slack did not take an answer: it is not one of the five.
    fn not_begun(&mut self, token: &str, pending: &Pending) -> Option<Row> {
        let question = self.questions.get_mut(token)?;
        let address = question.addresses.get_mut(pending.address)?;
        address.begun.retain(|key| *key != pending.taken.key);
        Some(Row::of(token, question))
    }

    fn end(&self, taken: Taken, outcome: Result<(), SendFailure>, work: &mut Work) {
        work.push(nothing(self.parts.clone().tell(taken, outcome)));
    }
}

/// What the app answers. Ends with the layer; what goes wrong on the way is waited out.
fn deliveries(
    parts: Arc<Parts>,
    queue: ChannelName,
    reader: ReceiverId,
    is_wanted: bool,
) -> impl Stream<Item = Delivery> {
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let next = move |mut backoff: Backoff| {
        let (parts, queue, reader) = (parts.clone(), queue.clone(), reader.clone());
        async move {
            if !is_wanted {
                return None;
            }
            loop {
                let read = match parts.receiver.get() {
                    Some(receiver) => receiver.next().await,
                    None => match parts.layer.receiver(&queue, &reader).await {
                        Ok(receiver) => parts.receiver.get_or_init(|| receiver).next().await,
                        Err(error) => Err(error),
                    },
                };
                match read {
                    Ok(delivery) => {
                        backoff.succeeded();
                        return Some((delivery, backoff));
                    }
                    Err(djangobot_channels::LayerError::Closed) => return None,
                    Err(error) => {
                        if backoff.is_fresh() {
                            tracing::warn!(
                                "answers of the app can't be read: {error}; trying again"
                            );
                        }
                        backoff.wait().await;
                    }
                }
            }
        }
    };
    stream::unfold(backoff, next)
}

/// Something that has no outcome.
fn nothing(work: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, Option<Posted>> {
    work.map(|()| None).boxed()
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An empty acknowledgement, once the event is safe; none where it never will be.
async fn confirm(ack: Ack, safe: oneshot::Receiver<()>) {
    if safe.await.is_ok() {
        ack.confirm();
    }
}

/// Unix seconds.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
