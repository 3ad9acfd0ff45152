//! The way in, whole: a frame from Slack becomes a message on the app's channel `slack.<type>`.
//!
//! [`Inbound::forward`] is the first half of an event's way, up to the plugins, and [`Inbound::deliver`] is the second.
//! Between the two an event may wait in a lane, so that the events of a conversation keep their order.
//!
//! | step | by | why there |
//! |---|---|---|
//! | a live frame waits for the history of its conversation | [`Gaps::hold`] | older messages come first |
//! | its type is read | [`classify`] | all that follows depends on it |
//! | copies end | [`Ledger::admit`] | before anything that has an effect, so that a copy has none |
//! | an answerable event gets its `reply_channel` | [`Answers::expect`] | before the app can know of it |
//! | the roster follows | [`RosterKeeper::apply`] | plugins look up names |
//! | the plugins get it | [`plugin_call::call`] | in its conversation's lane, if one of them may wait |
//! | it is wrapped for the app | [`Envelope::wrap`] | after the plugins, which must not see the token, and can't change the keys |
//! | it is queued for its channel | [`Deliveries::push`] | from here on the layer or the disk takes it |

pub(crate) mod activity;
pub(crate) mod answers;
mod counts;
pub(crate) mod custody;
pub(crate) mod delivery;
pub(crate) mod envelope;
mod flow;
pub(crate) mod gaps;
pub(crate) mod routing;
pub(crate) mod types;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use djangobot_channels::ChannelName;
use djangobot_event::EditError;
use djangobot_plugins::{Direction, PluginEvent, PluginHost, PluginOutput};
use djangobot_slack::{Ack, BOT_ACCESS_TOKEN, Frame, Incoming, Origin, Session};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use crate::bridge::plugin_call;
use crate::bridge::roster::RosterKeeper;
use crate::bridge::tap::Tap;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::team::Team;

use activity::Activity;
use answers::Answers;
use counts::EventCounts;
use custody::{Admission, Custody, EventId, Ledger};
use delivery::Deliveries;
use envelope::{Envelope, LayerMessage, Receipt};
use flow::{EventContext, Flow, Job, ProcessedEvent};
use gaps::Gaps;
use gaps::gap_fill::ReleasedFrame;
use routing::{RejectedFrame, Routes, classify};

/// The most arrivals that are taken from the transport at once.
const MAX_ARRIVALS: usize = 256;
/// The most events that are in slow plugins, or wait behind such events. Beyond it the transport's channel fills, and
/// Slack's socket waits.
const MAX_IN_PLUGINS: usize = 10_000;

/// Takes frames from a transport and puts their events on the layer.
pub(crate) struct Inbound {
    parts: Parts,
    routes: Routes,
    counts: EventCounts,
}

/// The parts of the bridge that the way in uses.
pub(crate) struct Parts {
    pub(crate) envelope: Envelope,
    pub(crate) deliveries: Deliveries,
    pub(crate) answers: Answers,
    pub(crate) gaps: Gaps,
    /// Knows the events that came before: Slack may redeliver them.
    pub(crate) ledger: Ledger,
    pub(crate) activity: Activity,
    pub(crate) plugins: PluginHost,
    /// Messages for Slack that plugins of the way out ask for.
    pub(crate) messages: mpsc::Receiver<djangobot_plugins::PluginMessage>,
    /// Events of the host for one plugin: its timers, and the outcomes of its messages.
    pub(crate) host_events: mpsc::Receiver<PluginEvent>,
    pub(crate) roster: Arc<RosterKeeper>,
    /// Is given each session with Slack.
    pub(crate) team: Team,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// The channel of the app's messages for Slack, to which no event may go.
    pub(crate) send_channel: ChannelName,
}

impl Inbound {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            routes: Routes::new(parts.send_channel.clone()),
            counts: EventCounts::new(parts.metrics.clone()),
            parts,
        }
    }

    /// Forwards events until the transport ends, and then those that are in plugins for at most `limit`. Gives the
    /// queues, in which events may still wait for the layer.
    pub(crate) async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Incoming>,
        limit: Duration,
    ) -> Deliveries {
        // All of it is one task, so that events are numbered, and go to their queues, in the order in which they came.
        let mut flow = Flow::default();
        let mut arrivals = Vec::with_capacity(MAX_ARRIVALS);
        loop {
            let has_room = flow.len() < MAX_IN_PLUGINS;
            tokio::select! {
                count = incoming.recv_many(&mut arrivals, MAX_ARRIVALS), if has_room => {
                    if count == 0 {
                        break;
                    }
                    for arrival in arrivals.drain(..) {
                        self.handle(arrival, &mut flow).await;
                    }
                }
                found = self.parts.gaps.next() => {
                    for ReleasedFrame { frame, is_from_history } in found {
                        self.forward_or_reject(frame, is_from_history, &mut flow).await;
                    }
                }
                Some(after) = flow.work.next() => self.leave_lane(after, &mut flow).await,
                Some(event) = self.parts.host_events.recv(), if has_room => {
                    self.begin_host_event(event, &mut flow).await;
                }
                Some(message) = self.parts.messages.recv() => {
                    let custody = self.parts.ledger.custody_without_id();
                    self.send(message, custody).await;
                }
            }
        }
        // The transport has ended: nothing comes behind the frames that still wait for history.
        for frame in self.parts.gaps.stop() {
            self.forward_or_reject(frame, false, &mut flow).await;
        }
        let last = async {
            while let Some(after) = flow.work.next().await {
                self.leave_lane(after, &mut flow).await;
            }
        };
        let in_time = tokio::time::timeout(limit, last).await.is_ok();
        let left = flow.len();
        if !in_time && left > 0 {
            tracing::error!(
                events = left,
                "stopped before plugins had finished with {left} events; Slack redelivers those that it has no acknowledgement for"
            );
        }
        while let Ok(message) = self.parts.messages.try_recv() {
            let custody = self.parts.ledger.custody_without_id();
            self.send(message, custody).await;
        }
        self.parts.deliveries
    }

    /// Takes what the transport hands over: a frame, or news of the connection.
    async fn handle(&mut self, arrival: Incoming, flow: &mut Flow) {
        match arrival {
            Incoming::Expected(session) => {
                self.parts.envelope.set_team(&session.team_id);
                self.parts.team.expect(session);
            }
            Incoming::Connected(session) => self.connected(session),
            Incoming::Refreshed => self.parts.roster.session_began(),
            Incoming::Frame(frame) => {
                for frame in self.parts.gaps.hold(frame) {
                    self.forward_or_reject(frame, false, flow).await;
                }
            }
            Incoming::Deaf => self.parts.gaps.note_deaf(),
            Incoming::Disconnected { .. } => {
                self.parts.gaps.disconnected();
                self.parts.readiness.slack.store(false, Ordering::Relaxed);
                self.parts.metrics.connected().set(0.0);
                self.parts.metrics.reconnects().increment(1);
            }
        }
    }

    async fn forward_or_reject(&mut self, frame: Frame, is_from_history: bool, flow: &mut Flow) {
        if let Err(rejected) = self.forward(frame, is_from_history, flow).await {
            self.counts.report_rejected(&rejected);
        }
    }

    /// The first half of an event's way in. [`Inbound::deliver`] is the second.
    ///
    /// # Errors
    ///
    /// Fails if the frame is not an event.
    async fn forward(
        &mut self,
        frame: Frame,
        is_from_history: bool,
        flow: &mut Flow,
    ) -> Result<(), RejectedFrame> {
        let Frame {
            event,
            origin,
            ack,
            received,
            arrived,
        } = frame;
        // The transport has parsed the frame. One that is not a JSON object ends here, and the connection goes on.
        let (kind, event) = match classify(event, &origin) {
            Ok(classified) => classified,
            Err(rejected) => {
                // It is acknowledged, because redelivered it would be the same.
                ack.into_iter().for_each(Ack::confirm);
                return Err(rejected);
            }
        };
        self.counts.inspect(&kind, &event);
        // An event of history is counted below, once it is known to be new.
        if !is_from_history {
            self.counts.count(&kind);
        }

        // The desk gives an acknowledgement that may carry the app's answer. The custody gives all others.
        let wants_answer = origin.answerable
            && self.parts.envelope.has_reply_channel()
            && ack
                .as_ref()
                .is_some_and(|ack| self.parts.answers.wants(ack));
        let (question, ack) = if wants_answer {
            (ack, None)
        } else {
            (None, ack)
        };
        let receipt = Receipt { received, origin };
        let id = self.parts.envelope.id(&kind, &event, &receipt);
        // An event that came before goes no further. It is acknowledged as soon as the first one is safe.
        let origin = &receipt.origin;
        let slack_id = origin.event_id.as_deref().or(origin.envelope_id.as_deref());
        // Without an id of Slack's, `id` is that of the message in history anyway.
        let history_id = match slack_id {
            Some(_) => self.parts.envelope.id_in_history(&kind, &event),
            None => None,
        };
        let history_id = history_id.as_deref();
        let known_as = match slack_id {
            Some(id) => EventId::Given { id, history_id },
            // An HTTP request without an id of Slack's comes again until it is acknowledged, so its id is like Slack's.
            None if ack.is_some() || question.is_some() => EventId::Given {
                id: &id,
                history_id,
            },
            None if is_from_history => EventId::History(&id),
            None => EventId::Live(&id),
        };
        let custody = match self.parts.ledger.admit(known_as, ack) {
            Admission::New(custody) => custody,
            Admission::Duplicate => {
                // Without an answer: the app's answer belongs to the first one.
                question.into_iter().for_each(Ack::confirm);
                if !is_from_history {
                    self.parts.metrics.duplicates().increment(1);
                }
                tracing::debug!(%id, r#type = kind, "event received again");
                return Ok(());
            }
        };
        // A message of history says nothing about what Slack gives live.
        if is_from_history {
            self.parts.gaps.count_found();
            self.counts.count(&kind);
        } else {
            self.parts
                .activity
                .note(&kind, &event, self.parts.roster.roster());
            self.parts.gaps.note_late(receipt.origin.attempt);
        }
        // The app may answer a command, a click or a dialog on a channel of the event's own.
        let reply_channel = match self.parts.envelope.has_reply_channel() {
            true => {
                let addresses = &receipt.origin.response_urls;
                self.parts
                    .answers
                    .expect(&id, &kind, question, addresses, &custody)
                    .await
            }
            false => None,
        };
        self.parts.roster.apply(&event);
        tracing::debug!(%id, r#type = kind, "event received");
        let context = EventContext {
            receipt,
            arrived,
            custody,
            reply_channel,
        };
        let passing = PluginEvent {
            is_answerable: context.reply_channel.is_some(),
            ..PluginEvent::new(&id, &kind, event)
        };
        self.begin(Job { passing, context }, flow).await;
        Ok(())
    }

    /// Gives an event of the host to its plugin. Nothing outside waits for it, and a crash loses it.
    async fn begin_host_event(&mut self, passing: PluginEvent, flow: &mut Flow) {
        let context = EventContext {
            receipt: Receipt {
                received: SystemTime::now(),
                origin: Origin::default(),
            },
            arrived: Instant::now(),
            custody: self.parts.ledger.custody_without_id(),
            reply_channel: None,
        };
        self.begin(Job { passing, context }, flow).await;
    }

    /// Gives an event to the plugins, and delivers what comes out: at once, or when its turn comes.
    async fn begin(&mut self, job: Job, flow: &mut Flow) {
        // An event whose plugins may be slow takes its turn in the lane of its conversation, and other lanes do not
        // wait.
        let lane = plugin_call::conversation(&job.passing.body);
        if flow.lanes.is_busy(&lane)
            || self
                .parts
                .plugins
                .may_wait(Direction::Inbound, &job.passing)
        {
            if let Some(job) = flow.lanes.admit(&lane, job) {
                flow.work.push(self.through_plugins(lane, job).boxed());
            }
            return;
        }
        let ProcessedEvent {
            passed, context, ..
        } = self.through_plugins(lane, job).await;
        self.deliver(passed, context).await;
    }

    /// Calls the plugins for an event.
    fn through_plugins(
        &self,
        lane: String,
        Job { passing, context }: Job,
    ) -> impl Future<Output = ProcessedEvent> + Send + use<> {
        let (plugins, roster) = (self.parts.plugins.clone(), self.parts.roster.clone());
        async move {
            let passed =
                plugin_call::call(&plugins, Some(&roster), Direction::Inbound, passing, &lane)
                    .await;
            ProcessedEvent {
                lane,
                passed,
                context,
            }
        }
    }

    /// Delivers an event that has been through slow plugins, and begins the next one of its lane.
    async fn leave_lane(&mut self, after: ProcessedEvent, flow: &mut Flow) {
        self.deliver(after.passed, after.context).await;
        if let Some(job) = flow.lanes.finish(&after.lane) {
            flow.work
                .push(self.through_plugins(after.lane, job).boxed());
        }
    }

    /// The second half of an event's way in: queues the events and the messages that the plugins gave.
    async fn deliver(&mut self, passed: PluginOutput, context: EventContext) {
        if let Some(dropped) = &passed.dropped {
            plugin_call::report_drop(dropped, Direction::Inbound, &self.parts.metrics);
        }
        for passing in passed.events {
            if let Err(rejected) = self.put(passing, &context).await {
                self.counts.report_rejected(&rejected);
            }
        }
        if let (Some(answer), Some(channel)) = (passed.answer, &context.reply_channel) {
            let custody = &context.custody;
            self.parts.answers.answer(channel, answer, custody).await;
        }
        for message in passed.messages {
            self.send(message, context.custody.add_part()).await;
        }
        // Each event and message that was queued has a part of its own. This one ends last, so that they all exist.
        context.custody.mark_safe();
    }

    /// Queues an event for its channel.
    async fn put(
        &mut self,
        passing: PluginEvent,
        context: &EventContext,
    ) -> Result<(), RejectedFrame> {
        let PluginEvent {
            id,
            kind,
            body: mut event,
            emitted,
            ..
        } = passing;
        let channel = self.routes.channel(&kind)?;
        self.counts.note_channel(&kind, &channel);
        let rejected = |error: EditError| RejectedFrame {
            reason: "edit",
            sentence: error.to_string(),
        };
        // The app's own token is added here, so that no plugin sees it. An event that a plugin made does not get it.
        if let Some(token) = &context.receipt.origin.bot_access_token
            && !emitted
        {
            let pointer = format!("/{BOT_ACCESS_TOKEN}");
            event.set(&pointer, token.expose()).map_err(rejected)?;
        }
        let message = self
            .parts
            .envelope
            .wrap(
                event,
                &id,
                &channel,
                context.app_context(),
                &self.parts.roster,
            )
            .await
            .map_err(rejected)?;
        if let Some(tap) = &self.parts.tap {
            tap.event(&channel, message.event());
        }
        self.parts
            .deliveries
            .push(
                &channel,
                &message,
                context.arrived,
                id,
                context.custody.add_part(),
            )
            .await;
        Ok(())
    }

    /// Queues a plugin's message for Slack on the app's own channel for such messages, so that it goes the same way
    /// out.
    async fn send(&mut self, message: djangobot_plugins::PluginMessage, custody: Custody) {
        match plugin_call::message(&message) {
            Ok(event) => {
                let id = format!("send by {}", message.plugin).into();
                let channel = self.parts.send_channel.clone();
                self.parts
                    .deliveries
                    .push(
                        &channel,
                        &LayerMessage::Flat(event),
                        Instant::now(),
                        id,
                        custody,
                    )
                    .await;
            }
            Err(error) => {
                custody.mark_safe();
                tracing::warn!(plugin = message.plugin, %error, "a plugin's message was dropped, because it can't be written");
            }
        }
    }

    fn connected(&mut self, session: Session) {
        self.parts.envelope.set_team(&session.team_id);
        self.parts.gaps.connected(&session.self_id);
        self.parts.readiness.slack.store(true, Ordering::Relaxed);
        self.parts.metrics.connected().set(1.0);
        self.parts.roster.session_began();
        self.parts.team.connected(session);
    }
}
