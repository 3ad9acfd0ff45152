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
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use metrics::Counter;
use tokio::sync::mpsc;

use crate::bridge::lanes::{Lanes, lane_number};
use crate::bridge::passage;
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

/// Takes what a transport hands out and puts it on the layer.
pub(crate) struct Inbound {
    pub(crate) envelope: Envelope,
    pub(crate) deliveries: Deliveries,
    pub(crate) answers: Answers,
    pub(crate) gaps: Gaps,
    /// What came of late: Slack may give it again.
    pub(crate) ledger: Ledger,
    pub(crate) activity: Activity,
    pub(crate) plugins: PluginHost,
    /// What plugins of the way out want to be sent.
    pub(crate) messages: mpsc::Receiver<djangobot_plugins::Message>,
    pub(crate) roster: Arc<RosterKeeper>,
    /// Told of each session with Slack.
    pub(crate) team: Team,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Where the app's messages for Slack come from, and so no event may go to.
    pub(crate) send_channel: ChannelName,
    /// By Slack's type.
    pub(crate) routes: HashMap<Box<str>, ChannelName>,
    /// By Slack's type too, of what came from Slack.
    pub(crate) counters: HashMap<Box<str>, Counter>,
    pub(crate) labels: Labels,
    /// What was logged already and is from then on only counted.
    pub(crate) told: HashSet<String>,
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

type Work = FuturesUnordered<BoxFuture<'static, (String, Passed, Received)>>;

impl Inbound {
    /// Forwards until the transport ends, then returns what may still wait for the layer.
    pub(crate) async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Incoming>,
        limit: Duration,
    ) -> Deliveries {
        let mut lanes = Lanes::default();
        let mut work: Work = FuturesUnordered::new();
        let mut arrivals = Vec::with_capacity(TOGETHER);
        loop {
            let has_room = lanes.running() + lanes.behind() < MAX_PASSING;
            tokio::select! {
                count = incoming.recv_many(&mut arrivals, TOGETHER), if has_room => {
                    if count == 0 {
                        break;
                    }
                    for arrival in arrivals.drain(..) {
                        self.arrived(arrival, &mut lanes, &mut work).await;
                    }
                }
                found = self.gaps.next() => {
                    for (frame, is_old) in found {
                        self.frame(frame, is_old, &mut lanes, &mut work).await;
                    }
                }
                Some(ended) = work.next() => self.ended(ended, &mut lanes, &mut work).await,
                Some(message) = self.messages.recv() => {
                    let custody = self.ledger.unnamed();
                    self.send(message, custody).await;
                }
            }
        }
        for frame in self.gaps.stop() {
            self.frame(frame, false, &mut lanes, &mut work).await;
        }
        let last = async {
            while let Some(ended) = work.next().await {
                self.ended(ended, &mut lanes, &mut work).await;
            }
        };
        let in_time = tokio::time::timeout(limit, last).await.is_ok();
        let left = lanes.running() + lanes.behind();
        if !in_time && left > 0 {
            tracing::error!(
                events = left,
                "stopped with events that plugins had not finished with; they are lost"
            );
        }
        while let Ok(message) = self.messages.try_recv() {
            let custody = self.ledger.unnamed();
            self.send(message, custody).await;
        }
        self.deliveries
    }

    async fn arrived(&mut self, arrival: Incoming, lanes: &mut Lanes<Job>, work: &mut Work) {
        match arrival {
            Incoming::Expected(session) => {
                self.envelope.set_team(&session.team_id);
                self.team.expect(session);
            }
            Incoming::Connected(session) => self.connected(session),
            Incoming::Refreshed => self.roster.session_began(),
            Incoming::Frame(frame) => {
                for frame in self.gaps.hold(frame) {
                    self.frame(frame, false, lanes, work).await;
                }
            }
            Incoming::Deaf => self.gaps.deaf(),
            Incoming::Disconnected { .. } => {
                self.gaps.disconnected();
                self.readiness.slack.store(false, Ordering::Relaxed);
                self.metrics.connected().set(0.0);
                self.metrics.reconnects().increment(1);
            }
        }
    }

    async fn frame(&mut self, frame: Frame, is_old: bool, lanes: &mut Lanes<Job>, work: &mut Work) {
        if let Err(unfit) = self.forward(frame, is_old, lanes, work).await {
            self.refuse(&unfit);
        }
    }

    /// One event's whole way in: [`Inbound::deliver`] is its second half. An old one is from Slack's history.
    async fn forward(
        &mut self,
        frame: Frame,
        is_old: bool,
        lanes: &mut Lanes<Job>,
        work: &mut Work,
    ) -> Result<(), Unfit> {
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
            && self.envelope.has_reply_channel()
            && ack.as_ref().is_some_and(|ack| self.answers.wants(ack));
        let (question, ack) = if wants_answer {
            (ack, None)
        } else {
            (None, ack)
        };
        let receipt = Receipt { received, origin };
        let id = self.envelope.id(&kind, &event, &receipt);
        // What came before goes no further; Slack hears of it what it heard, or will hear, then.
        let origin = &receipt.origin;
        let given = origin.event_id.as_deref().or(origin.envelope_id.as_deref());
        let said = match given {
            Some(_) => self.envelope.id_in_history(&kind, &event),
            None => None,
        };
        let said = said.as_deref();
        let known_as = match given {
            Some(id) => EventId::Given { id, said },
            None if ack.is_some() || question.is_some() => EventId::Given { id: &id, said },
            None if is_old => EventId::History(&id),
            None => EventId::Live(&id),
        };
        let custody = match self.ledger.admit(known_as, ack) {
            Admission::New(custody) => custody,
            Admission::Again => {
                question.into_iter().for_each(Ack::confirm);
                if !is_old {
                    self.metrics.duplicates().increment(1);
                }
                tracing::debug!(%id, r#type = kind, "event received again");
                return Ok(());
            }
        };
        if is_old {
            self.gaps.found();
            self.count(&kind);
        } else {
            self.activity.note(&kind, &event, self.roster.roster());
            self.gaps.came_late(receipt.origin.attempt);
        }
        // The app may answer what somebody did, on a channel of its own.
        let reply_channel = match self.envelope.has_reply_channel() {
            true => {
                let addresses = &receipt.origin.response_urls;
                self.answers
                    .expect((&id, &kind), question, addresses, &custody)
                    .await
            }
            false => None,
        };
        self.roster.apply(&event);
        tracing::debug!(%id, r#type = kind, "event received");
        let received = Received {
            receipt,
            arrived,
            custody,
            reply_channel,
        };
        let passing = Passing::new(&id, &kind, event);

        // The plugins. An event whose plugins may take their time goes with its conversation, and others do not wait.
        let lane = passage::conversation(&passing.event);
        if lanes.is_busy(&lane) || self.plugins.may_wait(Direction::Inbound, &passing) {
            if let Some(job) = lanes.admit(&lane, Job { passing, received }) {
                work.push(self.pass(lane, job));
            }
            return Ok(());
        }
        if self.plugins.needs_roster(Direction::Inbound, &passing) {
            self.roster.ready().await;
        }
        let passed = self
            .plugins
            .pass(Direction::Inbound, passing, lane_number(&lane))
            .await;
        self.deliver(passed, received).await;
        Ok(())
    }

    /// An event's way through plugins that may take their time.
    fn pass(
        &self,
        lane: String,
        Job { passing, received }: Job,
    ) -> BoxFuture<'static, (String, Passed, Received)> {
        let (plugins, roster) = (self.plugins.clone(), self.roster.clone());
        Box::pin(async move {
            if plugins.needs_roster(Direction::Inbound, &passing) {
                roster.ready().await;
            }
            let passed = plugins
                .pass(Direction::Inbound, passing, lane_number(&lane))
                .await;
            (lane, passed, received)
        })
    }

    async fn ended(
        &mut self,
        (lane, passed, received): (String, Passed, Received),
        lanes: &mut Lanes<Job>,
        work: &mut Work,
    ) {
        self.deliver(passed, received).await;
        if let Some(job) = lanes.finished(&lane) {
            work.push(self.pass(lane, job));
        }
    }

    /// The second half of an event's way in: what came out of the plugins goes to its channels.
    async fn deliver(&mut self, passed: Passed, received: Received) {
        if let Some(dropped) = &passed.dropped {
            passage::tell_dropped(dropped, Direction::Inbound, &self.metrics);
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
            .envelope
            .wrap(event, &id, &channel, received.address(), &self.roster)
            .await
            .map_err(unfit)?;
        if let Some(tap) = &self.tap {
            tap.event(&channel, message.event());
        }
        self.deliveries
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
        match passage::message(&message) {
            Ok(event) => {
                let id = format!("send by {}", message.plugin).into();
                let channel = self.send_channel.clone();
                self.deliveries
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
                let (channel, exact) = channel_for(kind, &self.send_channel)?;
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
            self.metrics.odd_events("type").increment(1);
        }
        Ok(channel)
    }

    /// Counts an event from Slack by its type; odd types beyond the first are counted as one.
    fn count(&mut self, kind: &str) {
        self.metrics.saw_event();
        if let Some(counter) = self.counters.get(kind) {
            return counter.increment(1);
        }
        let label = self.labels.of(kind, kind);
        let counter = self.metrics.events(label);
        counter.increment(1);
        self.counters.insert(label.into(), counter);
    }

    fn connected(&mut self, session: Session) {
        self.envelope.set_team(&session.team_id);
        self.gaps.connected(&session.self_id);
        self.readiness.slack.store(true, Ordering::Relaxed);
        self.metrics.connected().set(1.0);
        self.roster.session_began();
        self.team.connected(session);
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
            self.metrics.odd_events(oddity).increment(1);
            if self.told.len() < MAX_ODD && self.told.insert(format!("{oddity} {kind}")) {
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
        self.metrics.bad_events(unfit.reason).increment(1);
        if self.told.insert(unfit.reason.to_owned()) {
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
