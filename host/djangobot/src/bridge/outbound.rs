//! The way out, whole: a message that the app put on `slack.send` becomes a call of Slack's Web API, and the app gets
//! its outcome.
//!
//! A message advances through these stages, each with a function of its name. [`Outbound::advance`] takes a message
//! from one stage to the next.
//!
//! | stage | it advances when | on the disk then | after a crash there |
//! |---|---|---|---|
//! | 1 [`receive`](Outbound::receive) | the layer gives it | nothing: it is in the layer's processing key | the layer gives it again |
//! | 2 [`store`](Outbound::store) | the outbox has written it, or could not | its row, or nothing | the next run reads the row; without a row the layer gives it again, and its key shows whether it is known |
//! | 3 [`admit`](Outbound::admit) | the layer was asked to forget it; there is room in memory, or [`load`](Outbound::load) reads it back when there is | its row | the next run reads the row |
//! | 4 [`queue`](Outbound::queue) | its lane (its conversation) is free | its row | the next run reads the row |
//! | 5 [`through_plugins`](Parts::through_plugins), where plugins want it | the plugins have answered | first its row; then, in one transaction, its new content and the rows of all that the plugins added | it passes the plugins again, or none of it does |
//! | 6 [`call`](Outbound::call) | Slack has answered, or the tries are over | its row, marked `begun` from before the first attempt on | the next run looks it up in Slack's history before it calls |
//! | 7 [`report`](Parts::report) | the reply channel has taken the outcome, or it is a dead letter | its row with the outcome, where an app waits for it | the next run reports the outcome, and calls nothing |
//! | end | | its key alone, for a while | the layer may give it again, and it is known |
//!
//! A message that the disk refused goes the same way without its row ("layer-only"): until its end it is in the layer's
//! processing key, from where the layer gives it again after a crash, and then it is looked up like one that was begun.

mod cursor;
pub(crate) mod files;
mod flow;
mod health;
mod layer_only;
mod message;
pub(crate) mod outbox;
mod parts;
pub(crate) mod post;
mod report;
pub(crate) mod request;
mod stage;
mod through_plugins;

use std::time::{Duration, Instant};

use djangobot_channels::{Delivery, ReceiverId};
use djangobot_plugins::Direction;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::bridge::message_key::MessageKey;
use crate::bridge::reply::SendFailure;
use crate::journal::JournalError;

use flow::{Flow, Place};
use health::LayerReads;
use message::{DecodeFailure, Job, Message, MessageState, PendingOutcome, StoredIn, Task, text};
use outbox::{Backlog, Page, PutResult};
pub(crate) use parts::Parts;
use post::SendError;
use request::Request;
use stage::{CallResult, Stage, StoreResult};
use through_plugins::{PluginStageResult, plugin_event};

/// The most messages that are read from the disk at once.
const PAGE: usize = 256;
/// The most bytes of them, unless the first one has more.
const PAGE_BYTES: usize = 4 << 20;
/// How often it is checked whether messages can be taken again.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The pause after a failure to read the disk.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits for calls that are under way: longer than the Web API client's own timeout, so that each has
/// an outcome.
const LAST_CALLS: Duration = Duration::from_secs(35);

/// Takes messages from the layer and sends them to Slack.
pub(crate) struct Outbound {
    parts: Parts,
    reader: ReceiverId,
    /// The messages that an earlier run left in the outbox.
    backlog: Backlog,
}

impl Outbound {
    pub(crate) fn new(parts: Parts, reader: ReceiverId, backlog: Backlog) -> Self {
        Self {
            parts,
            reader,
            backlog,
        }
    }

    /// Sends messages until `cancel`, and then lets the calls that are under way end. Messages of which no call was
    /// begun stay in the outbox, or go back to the layer.
    ///
    /// # Errors
    ///
    /// Fails if Slack refuses all that we send, because of a revoked token for example.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), SendFailure> {
        let Some(receiver) = cancel
            .run_until_cancelled(self.parts.open_receiver(&self.reader))
            .await
        else {
            return Ok(());
        };
        let mut flow = Flow::new(&*receiver, self.backlog.newest);
        let mut reads = LayerReads::new(self.parts.readiness.clone());
        let outcome = loop {
            self.load(&mut flow);
            self.measure(&flow);
            let place = flow.place(self.parts.outbox.bytes());
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                Some(stage) = flow.work.next() => {
                    if let Err(barred) = self.advance(stage, &mut flow) {
                        break Err(barred);
                    }
                }
                Some((message, result)) = flow.storing.next() => {
                    let stage = Stage::Stored(Box::new(message), result);
                    if let Err(barred) = self.advance(stage, &mut flow) {
                        break Err(barred);
                    }
                }
                // The branch has to match `None` too, which asks for another round: a branch that does not match would
                // wait for the others.
                taken = self.parts.take(&*receiver, &mut reads), if place != Place::None => {
                    if let Some(delivery) = taken {
                        self.receive(delivery, place, &mut flow);
                    }
                }
                () = tokio::time::sleep(CHECK_EVERY), if place != Place::Disk => {}
            }
        };
        // All waiting ends. A call that is under way is not cut, because Slack may be carrying it out.
        self.parts.stop.cancel();
        let _ = tokio::time::timeout(LAST_CALLS, self.last(&mut flow)).await;
        drop(flow);
        if let Err(error) = receiver.close().await {
            tracing::warn!(%error, "unfinished messages were not given back to the channel layer; the next start takes them again");
        }
        outcome
    }

    /// Takes a message to its next stage.
    ///
    /// # Errors
    ///
    /// Fails if Slack refuses all that we send.
    fn advance<'a>(&'a self, stage: Stage, flow: &mut Flow<'a>) -> Result<(), SendFailure> {
        match stage {
            Stage::Stored(message, result) => self.admit(*message, result, flow),
            Stage::Loaded { page, upto } => self.queue_loaded(page, upto, flow),
            Stage::PassedPlugins { lane, after } => {
                let PluginStageResult {
                    bytes,
                    outcome,
                    jobs,
                    newest,
                } = after;
                if let Some(row) = newest {
                    // It is read in its turn, because messages before it may still be on their way to us.
                    flow.cursor.note_stored(row.number(), false);
                }
                flow.bytes += jobs.iter().map(|job| job.state.size).sum::<usize>();
                flow.lanes.put_first(&lane, jobs);
                self.leave_lane(&lane, bytes, outcome, flow);
            }
            Stage::Called {
                lane,
                bytes,
                result,
            } => {
                let outcome = match result {
                    CallResult::Outcome(pending) => Some(pending),
                    CallResult::Stopped => None,
                    CallResult::Barred(failure) => return Err(failure),
                };
                self.leave_lane(&lane, bytes, outcome, flow);
            }
            Stage::Reported => flow.reporting -= 1,
            Stage::Released => {}
        }
        Ok(())
    }

    /// Stage 1: decodes a message, and sends it to the disk, or lets it stay in the layer until it is sent.
    fn receive<'a>(&'a self, delivery: Delivery, place: Place, flow: &mut Flow<'a>) {
        let parts = &self.parts;
        let content = parts.decode(&delivery);
        if let (Some(tap), Ok(event)) = (&parts.tap, &content) {
            tap.send(&parts.channel, event);
        }
        let message = Message::received(delivery, content, parts.layer.wire());
        if place == Place::Disk {
            let predecessor = flow.predecessor(&message);
            flow.storing_bytes += message.size();
            flow.storing
                .push_back(self.store(message, predecessor).boxed());
        } else {
            flow.keep_in_layer(message);
        }
    }

    /// Stage 2: puts a message into the outbox, behind its predecessor. A message that can't be decoded stays in the
    /// layer until it becomes a dead letter.
    async fn store(
        &self,
        message: Message,
        predecessor: Option<MessageKey>,
    ) -> (Message, StoreResult) {
        let parts = &self.parts;
        let Ok(event) = &message.content else {
            return (message, StoreResult::LayerOnly);
        };
        let result = match parts
            .outbox
            .put(message.key, text(event), predecessor)
            .await
        {
            Ok(stored) => {
                parts.writes.worked();
                match stored {
                    PutResult::Stored(row) => StoreResult::Row(row),
                    PutResult::Known => StoreResult::Known,
                    PutResult::Gap => StoreResult::LayerOnly,
                }
            }
            Err(error) => {
                parts.writes.failed(&error, &parts.metrics);
                StoreResult::LayerOnly
            }
        };
        (message, result)
    }

    /// Stage 3: lets the layer forget a message that the outbox has. It goes on at once if none waits before it and
    /// there is room. Otherwise [`Outbound::load`] reads it when its turn comes.
    fn admit<'a>(&'a self, message: Message, result: StoreResult, flow: &mut Flow<'a>) {
        flow.storing_bytes -= message.size();
        let row = match &result {
            StoreResult::Row(row) => Some(row.number()),
            StoreResult::Known | StoreResult::LayerOnly => None,
        };
        let Some(message) = self.release(message, result, flow) else {
            return;
        };
        let has_room = flow.has_room();
        // The cursor hears of each row, whether or not it goes on at once.
        match row {
            Some(row) if flow.cursor.note_stored(row, has_room) => self.queue(message, flow),
            Some(_) => {}
            None => {
                // A message that can't be decoded was not given to the disk.
                flow.is_broken |= message.content.is_ok();
                flow.keep_in_layer(message);
            }
        }
    }

    /// Asks the layer to forget a message that is in the outbox. Gives the message if it is still to be sent.
    fn release<'a>(
        &'a self,
        mut message: Message,
        result: StoreResult,
        flow: &mut Flow<'a>,
    ) -> Option<Message> {
        let (stored_in, is_known) = match result {
            StoreResult::Row(row) => (StoredIn::Outbox(row), false),
            StoreResult::Known => (StoredIn::Nowhere, true),
            StoreResult::LayerOnly => return Some(message),
        };
        let before = std::mem::replace(&mut message.stored_in, stored_in);
        if let StoredIn::Layer(delivery, _) = before {
            let receiver = flow.receiver;
            let releasing = async move {
                self.parts.leave_layer(receiver, &delivery).await;
                Stage::Released
            };
            flow.work.push(releasing.boxed());
        }
        if is_known {
            tracing::debug!("the channel layer gave a message again that is in the outbox");
            self.parts.metrics.known_again().increment(1);
            return None;
        }
        Some(message)
    }

    /// Between stages 2 and 3: reads messages that wait on the disk, as far as there is room. Then queues those that
    /// the disk refused, whose place is behind them.
    fn load<'a>(&'a self, flow: &mut Flow<'a>) {
        if !flow.has_room() {
            return;
        }
        if let Some(range) = flow.cursor.begin_load() {
            let loading = async move {
                let parts = &self.parts;
                let page = parts.outbox.read(range, PAGE, PAGE_BYTES).await;
                if let Err(error) = &page {
                    parts.writes.failed(error, &parts.metrics);
                    let _ = tokio::time::timeout(READ_PAUSE, parts.stop.cancelled()).await;
                }
                Stage::Loaded {
                    page,
                    upto: range.upto,
                }
            };
            flow.work.push(loading.boxed());
        }
        while let Some(message) = flow.next_in_layer() {
            self.queue(message, flow);
        }
    }

    /// Queues a page that was read from the disk.
    fn queue_loaded<'a>(
        &'a self,
        page: Result<Page, JournalError>,
        upto: u64,
        flow: &mut Flow<'a>,
    ) {
        let Ok(page) = page else {
            return flow.cursor.note_load_failure();
        };
        // After the last page, all numbers up to `upto` that did not come are those of finished messages.
        let upto = if page.is_end { upto } else { 0 };
        flow.cursor.note_loaded(page.last.max(upto));
        for entry in page.entries {
            self.queue(Message::loaded(entry, &self.backlog), flow);
        }
    }

    /// Stage 4: checks the request of a message, and gives it to its lane. A message that has its outcome already goes
    /// to no lane: only its outcome is reported.
    fn queue<'a>(&'a self, message: Message, flow: &mut Flow<'a>) {
        let parts = &self.parts;
        let size = message.size();
        let record = message.record(&parts.outbox, parts.rules.max_age);
        let (event, (reply, request)) = match message.content {
            Ok(event) => {
                let read = parts.rules.read(&event);
                (Some(event), read)
            }
            Err(DecodeFailure { failure, reply }) => (None, (reply, Err(failure))),
        };
        if let Some(outcome) = message.outcome {
            let pending = PendingOutcome {
                stored_in: message.stored_in,
                reply,
                outcome,
                is_noted: true,
            };
            return self.push_report(pending, flow);
        }
        // Order is kept within a conversation; conversations do not wait for each other.
        let lane = match &request {
            Ok(request) => parts.caller.lane(request, |lane| flow.lanes.is_busy(lane)),
            Err(_) => String::new(),
        };
        let wanted = event.filter(|event| {
            !message.has_passed_plugins
                && parts.plugins.wants(
                    Direction::Outbound,
                    &plugin_event(record.key, event.clone()),
                )
        });
        let state = MessageState {
            stored_in: message.stored_in,
            reply,
            record,
            since: Instant::now(),
            size,
        };
        let task = match (wanted, request) {
            (Some(event), _) => Task::Pass(event),
            (None, Ok(request)) => Task::Send(request),
            (None, Err(failure)) => {
                let pending = parts.pending_outcome(state, Err(failure));
                return self.push_report(pending, flow);
            }
        };
        flow.bytes += size;
        if let Some(job) = flow.lanes.admit(&lane, Job { state, task }) {
            flow.work.push(self.run_job(lane, job).boxed());
        }
    }

    /// Stages 5 and 6, in the message's lane: the plugins, after which the message comes into the lane again, or the
    /// call.
    async fn run_job(&self, lane: String, job: Job) -> Stage {
        let Job { state, task } = job;
        let bytes = state.size;
        match task {
            Task::Pass(message) => {
                match self.parts.through_plugins(state, message, &lane).await {
                    Some(after) => Stage::PassedPlugins { lane, after },
                    // A stop came while a plugin had the message.
                    None => Stage::Called {
                        lane,
                        bytes,
                        result: CallResult::Stopped,
                    },
                }
            }
            Task::Send(request) => self.call(lane, state, request).await,
            Task::Refuse(failure) => self.called(lane, state, Err(failure.into())),
        }
    }

    /// Stage 6: calls Slack until there is an outcome, or a stop.
    async fn call(&self, lane: String, mut state: MessageState, request: Request) -> Stage {
        let called = self.parts.caller.call(request, &mut state.record).await;
        self.called(lane, state, called)
    }

    /// The end of stage 6.
    fn called(&self, lane: String, state: MessageState, called: Result<Value, SendError>) -> Stage {
        let bytes = state.size;
        let pending = |outcome| {
            let pending = self.parts.pending_outcome(state, outcome);
            CallResult::Outcome(Box::new(pending))
        };
        let result = match called {
            Ok(answer) => pending(Ok(answer)),
            Err(SendError::Failed(failure)) => pending(Err(failure)),
            Err(SendError::Stopped) => CallResult::Stopped,
            Err(SendError::Barred(failure)) => CallResult::Barred(failure),
        };
        Stage::Called {
            lane,
            bytes,
            result,
        }
    }

    /// Frees the lane of a message for the next one, and reports the outcome outside of the lanes, so that a reply
    /// channel that nobody reads does not hold up the conversation.
    fn leave_lane<'a>(
        &'a self,
        lane: &str,
        bytes: usize,
        outcome: Option<Box<PendingOutcome>>,
        flow: &mut Flow<'a>,
    ) {
        flow.bytes = flow.bytes.saturating_sub(bytes);
        // In this order, the outcome is written to the disk before the next call of the lane is noted there.
        if let Some(pending) = outcome {
            self.push_report(*pending, flow);
        }
        if let Some(job) = flow.lanes.finish(lane) {
            flow.work.push(self.run_job(lane.to_owned(), job).boxed());
        }
    }

    /// Stage 7: begins to report an outcome.
    fn push_report<'a>(&'a self, pending: PendingOutcome, flow: &mut Flow<'a>) {
        flow.reporting += 1;
        let receiver = flow.receiver;
        let reporting: BoxFuture<'a, Stage> = async move {
            self.parts.report(receiver, pending).await;
            Stage::Reported
        }
        .boxed();
        flow.work.push(reporting);
    }

    /// For a stop: waits for all work that is under way, and begins nothing but reports.
    async fn last<'a>(&'a self, flow: &mut Flow<'a>) {
        loop {
            tokio::select! {
                Some((message, result)) = flow.storing.next() => drop(self.release(message, result, flow)),
                Some(stage) = flow.work.next() => {
                    let pending = match stage {
                        Stage::Called { result: CallResult::Outcome(pending), .. } => Some(pending),
                        Stage::PassedPlugins { after, .. } => after.outcome,
                        _ => None,
                    };
                    if let Some(pending) = pending {
                        self.push_report(*pending, flow);
                    }
                }
                else => return,
            }
        }
    }

    /// Updates the gauges.
    fn measure(&self, flow: &Flow<'_>) {
        let (metrics, outbox) = (&self.parts.metrics, &self.parts.outbox);
        let here = flow.lanes.running() + flow.lanes.behind() + flow.reporting;
        metrics.sending().set(here as f64);
        metrics.outbox().set(outbox.messages() as f64);
        metrics.outbox_bytes().set(outbox.bytes() as f64);
    }
}
