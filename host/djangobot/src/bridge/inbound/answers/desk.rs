//! The desk: the task that gives the app's answers to Slack.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_channels::{ChannelName, Delivery, ReceiverId};
use djangobot_plugins::PluginAnswer;
use djangobot_slack::{AnswerError, Backoff};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;

use crate::bridge::inbound::answers::answer::{ACKNOWLEDGEMENT, Answer};
use crate::bridge::inbound::answers::pending::{AnswerDelivery, PendingAnswer};
use crate::bridge::inbound::answers::post::{PostOutcome, PostResult, Poster};
use crate::bridge::inbound::answers::questions::{
    self, LIFETIME, MAX_USES, PendingAck, Question, QuestionRow, Questions, Token,
};
use crate::bridge::inbound::custody::Custody;
use crate::bridge::message_key::MessageKey;
use crate::bridge::moment::unix_seconds_now;
use crate::bridge::outcome;
use crate::bridge::reply::{Reply, SendFailure};

/// The most answers that are being posted, or wait for others of their event. Beyond it answers wait in the layer.
const MAX_ANSWERS: usize = 256;
/// How often expired rows are deleted.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How long a stop waits for posts that are under way: longer than the Web API client's own timeout, so that each has
/// an outcome.
const LAST_POSTS: Duration = Duration::from_secs(35);

/// The task that gives the app's answers to Slack.
///
/// It alone changes `questions`, so that the answers of an event have one order. Posts, writes and reports run next to
/// each other as its `Work`, and come back to it only to have the next answer of their event begun.
pub(crate) struct AnswerDesk {
    pub(super) queue: ChannelName,
    pub(super) reader: ReceiverId,
    /// Whether any question can come, or is left of an earlier run. If not, the queue is not read.
    pub(super) is_wanted: bool,
    pub(super) inputs: mpsc::Receiver<DeskInput>,
    pub(super) questions: Questions,
    /// How many answers wait for others of their event.
    pub(super) behind: usize,
    /// Questions that were forgotten to make room, and whose rows are still in the state.
    pub(super) forgotten: Vec<Token>,
    pub(super) tidied: Instant,
    pub(super) poster: Arc<Poster>,
}

/// The work that the way in gives the task.
pub(super) enum DeskInput {
    Question(NewQuestion),
    Answer(OwnAnswer),
}

/// A plugin's answer, on its way to the reply channel of its event.
pub(super) struct OwnAnswer {
    pub(super) channel: ChannelName,
    pub(super) answer: PluginAnswer,
    /// The part of the event that is safe once the layer has the answer.
    pub(super) part: Custody,
}

/// A question on its way to the task.
pub(super) struct NewQuestion {
    pub(super) token: Token,
    pub(super) question: Question,
    /// When Slack gets its acknowledgement, with or without an answer.
    pub(super) deadline: Option<Instant>,
    /// The part of the event that is safe once the state has its addresses.
    pub(super) part: Option<Custody>,
}

/// The writes, posts and reports that are under way. Only a post has a result that the desk goes on with.
type Work = FuturesUnordered<BoxFuture<'static, Option<PostResult>>>;

impl AnswerDesk {
    /// Gives answers until the way in has ended. Posts that are under way then are finished, because Slack may have
    /// taken them.
    pub(crate) async fn run(mut self) {
        let deliveries = deliveries(
            self.poster.clone(),
            self.queue.clone(),
            self.reader.clone(),
            self.is_wanted,
        );
        let mut deliveries = pin!(deliveries);
        let mut work = Work::new();
        loop {
            self.poster
                .parts
                .metrics
                .reply_channels()
                .set(self.questions.len() as f64);
            let due = self
                .questions
                .next_due()
                .map(tokio::time::Instant::from_std);
            // Only answers wait for room. A question is always taken, because the app may answer it while it waits.
            let has_room = work.len() + self.behind < MAX_ANSWERS;
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input, &mut work),
                    // The way in has ended, and with it its end of the answers.
                    None => break,
                },
                Some(delivery) = deliveries.next(), if has_room => {
                    // The question was sent before the app could answer it, but it may still wait in the channel.
                    while let Ok(input) = self.inputs.try_recv() {
                        self.take(input, &mut work);
                    }
                    self.receive(delivery, &mut work);
                }
                Some(posted) = work.next() => {
                    if let Some(posted) = posted {
                        self.finish_post(posted, &mut work);
                    }
                }
                () = sleep_until(due) => self.tick(&mut work),
            }
        }
        // From here on no answer is begun. Those that are under way get an outcome, without pauses between tries.
        // Answers that wait here stay in the layer, and come again at the next start.
        self.poster.stop.cancel();
        let last = async {
            while let Some(posted) = work.next().await {
                let Some(PostResult {
                    token,
                    pending,
                    outcome,
                }) = posted
                else {
                    continue;
                };
                let outcome = match outcome {
                    PostOutcome::Posted => Ok(()),
                    PostOutcome::Failed(failure) | PostOutcome::NotTaken(failure) => Err(failure),
                    PostOutcome::Stopped => {
                        if let Some(row) = self.unmark_begun(&token, &pending) {
                            self.poster.write(row).await;
                        }
                        continue;
                    }
                };
                self.poster.clone().report(pending.answered, outcome).await;
            }
        };
        let _ = tokio::time::timeout(LAST_POSTS, last).await;
        if let Some(receiver) = self.poster.receiver.get()
            && let Err(error) = receiver.close().await
        {
            tracing::debug!(%error, "the reader of answers was not closed; answers that it has not finished come again at the next start");
        }
    }

    fn take(&mut self, input: DeskInput, work: &mut Work) {
        match input {
            DeskInput::Question(question) => self.admit(question, work),
            DeskInput::Answer(answer) => self.put(answer, work),
        }
    }

    /// Puts a plugin's answer on its reply channel, from which it comes back like an app's.
    fn put(&self, own: OwnAnswer, work: &mut Work) {
        let poster = self.poster.clone();
        work.push(without_outcome(async move {
            let OwnAnswer {
                channel,
                answer: PluginAnswer { plugin, message },
                part,
            } = own;
            let layer = &*poster.parts.layer;
            if let Err(error) = outcome::put(layer, &channel, &message, &poster.stop).await {
                tracing::warn!(
                    plugin,
                    "a plugin's answer to an event is lost, because {}; the event is acknowledged without one",
                    error.why()
                );
            }
            part.mark_safe();
        }));
    }

    /// Takes in a question: writes its addresses, and makes room for it where there are too many.
    fn admit(&mut self, new: NewQuestion, work: &mut Work) {
        let NewQuestion {
            token,
            question,
            deadline,
            part,
        } = new;
        if let Some(part) = part {
            let (row, poster) = (QuestionRow::of(&token, &question), self.poster.clone());
            work.push(without_outcome(async move {
                // In this order: once Slack hears that we have the event, a restart can still answer it.
                poster.write(row).await;
                part.mark_safe();
            }));
        }
        let forgotten = self.questions.insert(token, question, LIFETIME, deadline);
        for (token, question) in forgotten {
            self.poster.parts.metrics.answers("forgotten").increment(1);
            tracing::warn!(
                event = question.id,
                "an event takes no more answers, although its half hour is not over, because too many others came since; the app can post through slack.send"
            );
            self.forgotten.push(token);
            if let Some(ack) = question.ack {
                work.push(without_outcome(ack.confirm()));
            }
        }
    }

    /// Acknowledges questions that were not answered in time, and forgets those that can't be answered any more.
    fn tick(&mut self, work: &mut Work) {
        let now = Instant::now();
        for ack in self.questions.take_due(now) {
            self.poster.parts.metrics.answers("none").increment(1);
            work.push(without_outcome(ack.confirm()));
        }
        self.questions.expire(now);
        // Rows are deleted together, now and then: an expired row that is still there does no harm.
        if now - self.tidied < TIDY_EVERY {
            return;
        }
        self.tidied = now;
        let (tokens, poster) = (std::mem::take(&mut self.forgotten), self.poster.clone());
        let oldest = unix_seconds_now() - LIFETIME.as_secs_f64();
        work.push(without_outcome(async move {
            let written = poster
                .parts
                .journal
                .write(move |it| questions::forget(it, oldest, &tokens));
            if let Err(error) = written.await {
                tracing::debug!(%error, "expired addresses of answers stay in the state until the next try");
            }
        }));
    }

    /// Takes one answer of the app from the layer: to its end, or to its place in the queue of its event. The layer
    /// keeps it until its outcome is reported.
    fn receive(&mut self, delivery: Delivery, work: &mut Work) {
        let names = self.poster.parts.layer.addressees(&delivery);
        let key = MessageKey::of(&delivery, self.poster.parts.layer.wire());
        let message = delivery
            .payload
            .clone()
            .map_err(|error| error.to_string())
            .and_then(|payload| {
                let decoded = self.poster.parts.layer.decode(&payload);
                decoded.map_err(|error| error.to_string())
            });
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let detail = format!("The answer can't be read: {error}.");
                let reply = delivery.payload.as_ref().ok().map(|payload| {
                    Reply::from(&self.poster.parts.layer.salvage(payload, Reply::KEYS))
                });
                let answered = AnswerDelivery {
                    delivery,
                    key,
                    reply: reply.unwrap_or_else(Reply::unreadable),
                };
                return self.finish(answered, Err(SendFailure::new("undecodable", detail)), work);
            }
        };
        // One name, or several where a group has them.
        let queue = self.queue.clone();
        for (name, token) in names
            .iter()
            .filter_map(|name| Some((name, name.strip_prefix(queue.as_str())?)))
        {
            if let (Some(tap), Ok(channel)) = (&self.poster.parts.tap, ChannelName::new(name)) {
                tap.send(&channel, &message);
            }
            let (reply, answer) = Answer::read(&message);
            let answered = AnswerDelivery {
                delivery: delivery.clone(),
                key,
                reply,
            };
            match answer {
                Ok(answer) => self.answer(token, answer, answered, work),
                Err(refusal) => self.finish(answered, Err(refusal), work),
            }
        }
        if names.is_empty() {
            tracing::warn!(
                "an answer was dropped, because its channel is not the reply_channel of any event"
            );
            let poster = self.poster.clone();
            work.push(without_outcome(
                async move { poster.forget(&delivery).await },
            ));
        }
    }

    /// Gives an answer to the event `token`: into its acknowledgement, or to one of its addresses.
    fn answer(
        &mut self,
        token: &str,
        answer: Answer,
        mut answered: AnswerDelivery,
        work: &mut Work,
    ) {
        let Some(question) = self.questions.get_mut(token) else {
            let detail = "The event that this message answers is no longer known, because Slack takes answers for half an hour. Post through slack.send.";
            return self.finish(answered, Err(SendFailure::new("expired_url", detail)), work);
        };
        let mut too_large = None;
        if answer.fits_acknowledgement(question.kind)
            && let Some(PendingAck { ack, .. }) = question.ack.take()
        {
            // Given at once, without the signal that the event is safe: the app has it from the layer, so it is.
            match ack.answer(answer.json()) {
                Ok(()) => {
                    ACKNOWLEDGEMENT.clone_into(&mut answered.reply.method);
                    return self.finish(answered, Ok(()), work);
                }
                Err(error) => {
                    tracing::debug!(event = question.id, "{error}");
                    too_large = Some(error);
                }
            }
        }
        let urls: Vec<_> = question.addresses.iter().map(|it| &it.url).collect();
        let roster = self.poster.parts.roster.roster();
        let name = |id: &str| roster.conversation(id).map(|it| it.name().to_owned());
        let address = match answer.address(question.kind, &urls, name) {
            Ok(address) => address,
            Err(mut refusal) => {
                if let Some(error @ AnswerError::TooLarge { .. }) = too_large {
                    refusal =
                        SendFailure::new("too_large", format!("The answer was not sent: {error}."));
                }
                return self.finish(answered, Err(refusal), work);
            }
        };
        // Those that were begun and those that will be, since each may count for Slack.
        let waiting = question.waiting.iter().filter(|it| it.address == address);
        let waiting = waiting.count();
        let begun = question.addresses.get(address).map(|it| &it.begun);
        let refusal = match begun {
            // An earlier run noted it as begun and ended before it reported an outcome.
            Some(begun) if begun.contains(&answered.key) => Some(SendFailure::new(
                "interrupted",
                "djangobot was ended while it gave this answer to Slack. Slack may have taken it, so it was not given again.",
            )),
            Some(begun) if begun.len() + waiting >= MAX_USES => Some(SendFailure::new(
                "used_url",
                "Slack takes five answers at one response_url, and this is the sixth. Post through slack.send, or change an earlier message with chat.update.",
            )),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return self.finish(answered, Err(refusal), work);
        }
        question.waiting.push_back(PendingAnswer {
            answered,
            body: answer.json(),
            address,
        });
        self.behind += 1;
        self.post_next(token, work);
    }

    /// Begins to post the next answer of an event, unless one is being posted.
    fn post_next(&mut self, token: &str, work: &mut Work) {
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
        // Noted before the post, here and then in the row: a crash in between leaves an answer that was not given, and
        // not one that is given twice.
        let mut url = String::new();
        if let Some(address) = question.addresses.get_mut(pending.address) {
            address.begun.push(pending.answered.key);
            url.clone_from(&address.url.url);
        }
        let row = QuestionRow::of(token, question);
        let post = self
            .poster
            .clone()
            .post(token.to_owned(), row, url, pending);
        work.push(post.map(Some).boxed());
    }

    /// Takes the result of a post, and goes on with the next answer of the event.
    fn finish_post(&mut self, posted: PostResult, work: &mut Work) {
        let PostResult {
            token,
            pending,
            outcome,
        } = posted;
        if outcome.is_unused()
            && let Some(row) = self.unmark_begun(&token, &pending)
        {
            let poster = self.poster.clone();
            work.push(without_outcome(async move { poster.write(row).await }));
        }
        if let Some(question) = self.questions.get_mut(&token) {
            question.is_busy = false;
        }
        match outcome {
            PostOutcome::Posted => self.finish(pending.answered, Ok(()), work),
            PostOutcome::Failed(failure) | PostOutcome::NotTaken(failure) => {
                self.finish(pending.answered, Err(failure), work);
            }
            PostOutcome::Stopped => {}
        }
        self.post_next(&token, work);
    }

    /// Takes the note back that an answer was begun, because Slack surely did not take it: it does not count as one of
    /// the five. Gives the row to be written.
    fn unmark_begun(&mut self, token: &str, pending: &PendingAnswer) -> Option<QuestionRow> {
        let question = self.questions.get_mut(token)?;
        let address = question.addresses.get_mut(pending.address)?;
        address.begun.retain(|key| *key != pending.answered.key);
        Some(QuestionRow::of(token, question))
    }

    /// Reports the outcome of an answer, and lets the layer forget it.
    fn finish(&self, answered: AnswerDelivery, outcome: Result<(), SendFailure>, work: &mut Work) {
        work.push(without_outcome(
            self.poster.clone().report(answered, outcome),
        ));
    }
}

/// The answers in the queue, as a stream that ends when the layer is closed. Errors of the layer are tried again.
fn deliveries(
    poster: Arc<Poster>,
    queue: ChannelName,
    reader: ReceiverId,
    is_wanted: bool,
) -> impl Stream<Item = Delivery> {
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    let next = move |mut backoff: Backoff| {
        let (poster, queue, reader) = (poster.clone(), queue.clone(), reader.clone());
        async move {
            if !is_wanted {
                return None;
            }
            loop {
                let read = match poster.receiver.get() {
                    Some(receiver) => receiver.next().await,
                    None => match poster.parts.layer.receiver(&queue, &reader).await {
                        Ok(receiver) => poster.receiver.get_or_init(|| receiver).next().await,
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

/// Work of which the desk needs no result.
fn without_outcome(
    work: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Option<PostResult>> {
    work.map(|()| None).boxed()
}

/// Sleeps until `due`; for ever without it.
async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
