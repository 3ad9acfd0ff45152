//! The way in, whole: a frame from Slack becomes a message on the app's channel `slack.<type>`.

pub(crate) mod activity;
pub(crate) mod answers;
pub(crate) mod custody;
pub(crate) mod delivery;
pub(crate) mod envelope;
pub(crate) mod gaps;
pub(crate) mod routing;
pub(crate) mod types;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use djangobot_channels::ChannelName;
use djangobot_event::{EditError, Event};
use djangobot_plugins::{Direction, Passed, Passing, PluginHost};
use djangobot_slack::{Ack, BOT_ACCESS_TOKEN, Frame, Incoming, Session};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use metrics::Counter;
use tokio::sync::mpsc;

use crate::bridge::lanes::Lanes;
use crate::bridge::plugin_call;
use crate::bridge::roster::RosterKeeper;
use crate::bridge::tap::Tap;
use crate::listener::Readiness;
use crate::metrics::Metrics;
use crate::team::Team;
use activity::Activity;
use answers::Answers;
use custody::{Admission, Custody, EventId, Ledger};
use delivery::Deliveries;
use envelope::{Address, Envelope, Message, Receipt};
use gaps::Gaps;
use routing::{Unfit, channel_for, fit};
use types::{Labels, MAX_ODD, is_documented};

/// What is taken from the transport at once, at most.
const TOGETHER: usize = 256;
/// Events that may be with plugins that take their time, and behind those; beyond it Slack's socket waits.
const MAX_PASSING: usize = 10_000;

/// Takes frames from a transport and puts their events on the layer.
pub(crate) struct Inbound {
    parts: Parts,
    /// Channels by Slack's type.
    routes: HashMap<Box<str>, ChannelName>,
    /// Counters of events from Slack, by Slack's type too.
    counters: HashMap<Box<str>, Counter>,
    labels: Labels,
    /// Facts that were logged already and are from then on only counted.
    logged: HashSet<String>,
}

/// The parts that the way in works with.
pub(crate) struct Parts {
    pub(crate) envelope: Envelope,
    pub(crate) deliveries: Deliveries,
    pub(crate) answers: Answers,
    pub(crate) gaps: Gaps,
    /// Knows the events that came before: Slack may give them again.
    pub(crate) ledger: Ledger,
    pub(crate) activity: Activity,
    pub(crate) plugins: PluginHost,
    /// Messages that plugins of the way out want to be sent.
    pub(crate) messages: mpsc::Receiver<djangobot_plugins::Message>,
    pub(crate) roster: Arc<RosterKeeper>,
    /// Hears of each session with Slack.
    pub(crate) team: Team,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// The channel of the app's messages for Slack, to which no event may go.
    pub(crate) send_channel: ChannelName,
}

/// An event that is on its way through the plugins, or waits for that.
struct Job {
    passing: Passing,
    received: Received,
}

/// When and how an event came, and who answers for it.
struct Received {
    receipt: Receipt,
    arrived: Instant,
    custody: Custody,
    /// Where the app answers it, if not where it sends all else.
    reply_channel: Option<ChannelName>,
}

impl Received {
    fn address(&self) -> Address<'_> {
        Address {
            receipt: &self.receipt,
            reply_channel: self.reply_channel.as_ref(),
        }
    }
}

/// All events that are with plugins which take their time, or wait behind such an event of their conversation.
#[derive(Default)]
struct Flow {
    lanes: Lanes<Job>,
    work: FuturesUnordered<BoxFuture<'static, AfterPlugins>>,
}

/// An event behind its plugins.
struct AfterPlugins {
    lane: String,
    passed: Passed,
    received: Received,
}

impl Flow {
    /// How many events are here.
    fn len(&self) -> usize {
        self.lanes.running() + self.lanes.behind()
    }
}

impl Inbound {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            routes: HashMap::new(),
            counters: HashMap::new(),
            labels: Labels::default(),
            logged: HashSet::new(),
        }
    }

    /// Forwards until the transport ends, then returns what may still wait for the layer.
    pub(crate) async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Incoming>,
        limit: Duration,
    ) -> Deliveries {
        let mut flow = Flow::default();
        let mut arrivals = Vec::with_capacity(TOGETHER);
        loop {
            let has_room = flow.len() < MAX_PASSING;
            tokio::select! {
                count = incoming.recv_many(&mut arrivals, TOGETHER), if has_room => {
                    if count == 0 {
                        break;
                    }
                    for arrival in arrivals.drain(..) {
                        self.arrived(arrival, &mut flow).await;
                    }
                }
                found = self.parts.gaps.next() => {
                    for (frame, is_old) in found {
                        self.frame(frame, is_old, &mut flow).await;
                    }
                }
                Some(after) = flow.work.next() => self.leave_lane(after, &mut flow).await,
                Some(message) = self.parts.messages.recv() => {
                    let custody = self.parts.ledger.unnamed();
                    self.send(message, custody).await;
                }
            }
        }
        for frame in self.parts.gaps.stop() {
            self.frame(frame, false, &mut flow).await;
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
                "stopped with events that plugins had not finished with; they are lost"
            );
        }
        while let Ok(message) = self.parts.messages.try_recv() {
            let custody = self.parts.ledger.unnamed();
            self.send(message, custody).await;
        }
        self.parts.deliveries
    }

    async fn arrived(&mut self, arrival: Incoming, flow: &mut Flow) {
        match arrival {
            Incoming::Expected(session) => {
                self.parts.envelope.set_team(&session.team_id);
                self.parts.team.expect(session);
            }
            Incoming::Connected(session) => self.connected(session),
            Incoming::Refreshed => self.parts.roster.session_began(),
            Incoming::Frame(frame) => {
                for frame in self.parts.gaps.hold(frame) {
                    self.frame(frame, false, flow).await;
                }
            }
            Incoming::Deaf => self.parts.gaps.deaf(),
            Incoming::Disconnected { .. } => {
                self.parts.gaps.disconnected();
                self.parts.readiness.slack.store(false, Ordering::Relaxed);
                self.parts.metrics.connected().set(0.0);
                self.parts.metrics.reconnects().increment(1);
            }
        }
    }

    async fn frame(&mut self, frame: Frame, is_old: bool, flow: &mut Flow) {
        if let Err(unfit) = self.forward(frame, is_old, flow).await {
            self.refuse(&unfit);
        }
    }

    /// One event's whole way in: [`Inbound::deliver`] is its second half. An old one is from Slack's history.
    async fn forward(&mut self, frame: Frame, is_old: bool, flow: &mut Flow) -> Result<(), Unfit> {
        let Frame {
            event,
            origin,
            ack,
            received,
            arrived,
        } = frame;
        // Parsed once, by the transport; what is no JSON object ends here, the connection goes on.
        let (kind, event) = match fit(event, &origin) {
            Ok(fit) => fit,
            Err(unfit) => {
                // Given again, it would be no better.
                ack.into_iter().for_each(Ack::confirm);
                return Err(unfit);
            }
        };
        self.note_oddities(&kind, &event);
        if kind == "app_rate_limited" {
            tell_limit(&event);
        }
        // What history has and came before was counted then.
        if !is_old {
            self.count(&kind);
        }

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
        // What came before goes no further; Slack hears of it what it heard, or will hear, then.
        let origin = &receipt.origin;
        let given = origin.event_id.as_deref().or(origin.envelope_id.as_deref());
        let said = match given {
            Some(_) => self.parts.envelope.id_in_history(&kind, &event),
            None => None,
        };
        let said = said.as_deref();
        let known_as = match given {
            Some(id) => EventId::Given { id, said },
            None if ack.is_some() || question.is_some() => EventId::Given { id: &id, said },
            None if is_old => EventId::History(&id),
            None => EventId::Live(&id),
        };
        let custody = match self.parts.ledger.admit(known_as, ack) {
            Admission::New(custody) => custody,
            Admission::Again => {
                question.into_iter().for_each(Ack::confirm);
                if !is_old {
                    self.parts.metrics.duplicates().increment(1);
                }
                tracing::debug!(%id, r#type = kind, "event received again");
                return Ok(());
            }
        };
        if is_old {
            self.parts.gaps.found();
            self.count(&kind);
        } else {
            self.parts
                .activity
                .note(&kind, &event, self.parts.roster.roster());
            self.parts.gaps.came_late(receipt.origin.attempt);
        }
        // The app may answer what somebody did, on a channel of its own.
        let reply_channel = match self.parts.envelope.has_reply_channel() {
            true => {
                let addresses = &receipt.origin.response_urls;
                self.parts
                    .answers
                    .expect((&id, &kind), question, addresses, &custody)
                    .await
            }
            false => None,
        };
        self.parts.roster.apply(&event);
        tracing::debug!(%id, r#type = kind, "event received");
        let received = Received {
            receipt,
            arrived,
            custody,
            reply_channel,
        };
        let passing = Passing::new(&id, &kind, event);

        // The plugins. An event whose plugins may take their time goes with its conversation, and others do not wait.
        let lane = plugin_call::conversation(&passing.event);
        let job = Job { passing, received };
        if flow.lanes.is_busy(&lane)
            || self
                .parts
                .plugins
                .may_wait(Direction::Inbound, &job.passing)
        {
            if let Some(job) = flow.lanes.admit(&lane, job) {
                flow.work.push(self.through_plugins(lane, job).boxed());
            }
            return Ok(());
        }
        let AfterPlugins {
            passed, received, ..
        } = self.through_plugins(lane, job).await;
        self.deliver(passed, received).await;
        Ok(())
    }

    /// An event's way through the plugins.
    fn through_plugins(
        &self,
        lane: String,
        Job { passing, received }: Job,
    ) -> impl Future<Output = AfterPlugins> + Send + use<> {
        let (plugins, roster) = (self.parts.plugins.clone(), self.parts.roster.clone());
        async move {
            let passed =
                plugin_call::call(&plugins, Some(&roster), Direction::Inbound, passing, &lane)
                    .await;
            AfterPlugins {
                lane,
                passed,
                received,
            }
        }
    }

    /// An event has been through plugins that took their time: it goes on, and so does the next one of its lane.
    async fn leave_lane(&mut self, after: AfterPlugins, flow: &mut Flow) {
        self.deliver(after.passed, after.received).await;
        if let Some(job) = flow.lanes.finished(&after.lane) {
            flow.work
                .push(self.through_plugins(after.lane, job).boxed());
        }
    }

    /// The second half of an event's way in: what came out of the plugins goes to its channels.
    async fn deliver(&mut self, passed: Passed, received: Received) {
        if let Some(dropped) = &passed.dropped {
            plugin_call::report_drop(dropped, Direction::Inbound, &self.parts.metrics);
        }
        for passing in passed.events {
            if let Err(unfit) = self.put(passing, &received).await {
                self.refuse(&unfit);
            }
        }
        for message in passed.messages {
            self.send(message, received.custody.part()).await;
        }
        // What became of it has parts of its own, which answer for themselves.
        received.custody.safe();
    }

    async fn put(&mut self, passing: Passing, received: &Received) -> Result<(), Unfit> {
        let Passing {
            id,
            kind,
            mut event,
            emitted,
            ..
        } = passing;
        let channel = self.route(&kind)?;
        let unfit = |error: EditError| Unfit {
            reason: "edit",
            sentence: error.to_string(),
        };
        // The app's own token, which no plugin sees.
        if let Some(token) = &received.receipt.origin.bot_access_token
            && !emitted
        {
            let pointer = format!("/{BOT_ACCESS_TOKEN}");
            event.set(&pointer, token.expose()).map_err(unfit)?;
        }
        let message = self
            .parts
            .envelope
            .wrap(event, &id, &channel, received.address(), &self.parts.roster)
            .await
            .map_err(unfit)?;
        if let Some(tap) = &self.parts.tap {
            tap.event(&channel, message.event());
        }
        self.parts
            .deliveries
            .push(
                &channel,
                &message,
                received.arrived,
                id,
                received.custody.part(),
            )
            .await;
        Ok(())
    }

    /// Puts what a plugin wants to be sent where the app puts what it wants to be sent.
    async fn send(&mut self, message: djangobot_plugins::Message, custody: Custody) {
        match plugin_call::message(&message) {
            Ok(event) => {
                let id = format!("send by {}", message.plugin).into();
                let channel = self.parts.send_channel.clone();
                self.parts
                    .deliveries
                    .push(&channel, &Message::Flat(event), Instant::now(), id, custody)
                    .await;
            }
            Err(error) => {
                custody.safe();
                tracing::warn!(plugin = message.plugin, %error, "a plugin's message can't be sent");
            }
        }
    }

    /// The channel for `kind`. It is remembered; of odd types, only the latest are.
    fn route(&mut self, kind: &str) -> Result<ChannelName, Unfit> {
        let channel = match self.routes.get(kind) {
            Some(channel) => channel.clone(),
            None => {
                let (channel, exact) = channel_for(kind, &self.parts.send_channel)?;
                if !exact {
                    tracing::warn!(r#type = kind, %channel, "the type is no channel name; its events go to a name made of it");
                }
                if self.routes.len() >= MAX_ODD {
                    self.routes.retain(|kind, _| is_documented(kind));
                }
                self.routes.insert(kind.into(), channel.clone());
                channel
            }
        };
        if channel.as_str().strip_prefix("slack.") != Some(kind) {
            self.parts.metrics.odd_events("type").increment(1);
        }
        Ok(channel)
    }

    /// Counts an event from Slack by its type; odd types beyond the first are counted as one.
    fn count(&mut self, kind: &str) {
        self.parts.metrics.saw_event();
        if let Some(counter) = self.counters.get(kind) {
            return counter.increment(1);
        }
        let label = self.labels.of(kind, kind);
        let counter = self.parts.metrics.events(label);
        counter.increment(1);
        self.counters.insert(label.into(), counter);
    }

    fn connected(&mut self, session: Session) {
        self.parts.envelope.set_team(&session.team_id);
        self.parts.gaps.connected(&session.self_id);
        self.parts.readiness.slack.store(true, Ordering::Relaxed);
        self.parts.metrics.connected().set(1.0);
        self.parts.roster.session_began();
        self.parts.team.connected(session);
    }

    /// What is odd in an event and is forwarded all the same is counted, and told once for each type.
    fn note_oddities(&mut self, kind: &str, event: &Event) {
        let notes = event.notes();
        let oddities = [
            (notes.duplicate_keys, "duplicate_keys"),
            (notes.big_integers, "big_integers"),
            (notes.lone_surrogates, "lone_surrogates"),
        ];
        for (_, oddity) in oddities.into_iter().filter(|(is, _)| *is) {
            self.parts.metrics.odd_events(oddity).increment(1);
            if self.logged.len() < MAX_ODD && self.logged.insert(format!("{oddity} {kind}")) {
                tracing::warn!(
                    r#type = kind,
                    oddity,
                    "an event has something odd in it; it is forwarded (told once)"
                );
            }
        }
    }

    /// What could not be forwarded is counted, and told once for each reason; debug logs tell each.
    fn refuse(&mut self, unfit: &Unfit) {
        self.parts.metrics.bad_events(unfit.reason).increment(1);
        if self.logged.insert(unfit.reason.to_owned()) {
            tracing::warn!(
                reason = unfit.reason,
                "a frame from Slack was not forwarded: {} (told once; djangobot_bad_events_total counts)",
                unfit.sentence
            );
        } else {
            tracing::debug!(
                reason = unfit.reason,
                "a frame from Slack was not forwarded: {}",
                unfit.sentence
            );
        }
    }
}

/// Slack limits what it gives: an operator has to know that events are missing.
fn tell_limit(event: &Event) {
    tracing::warn!(
        minute = event.get("/minute_rate_limited").and_then(|it| it.as_i64()),
        "Slack gives no more events for this minute: it sends an app 30,000 an hour from a workspace, and those beyond are lost. Subscribe to fewer types, or run in fewer channels"
    );
}
