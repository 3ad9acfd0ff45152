//! Gaps in what came from Slack, filled from its history.
//!
//! RTM repeats nothing, and in Socket Mode and over HTTP Slack gives up after some six minutes: what was said while nobody
//! listened for longer is only in the history. Then the conversations that the bot is in are read from the last moment up
//! to which all is known to be safe. For a while, what comes live in a conversation waits until it is read, so that the
//! order within it is kept; one in which something waits is read before others.

pub(crate) mod filling;
pub(crate) mod forms;
mod reader;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use djangobot_slack::Frame;
use djangobot_slack::history::History;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::bridge::inbound::activity::Activity;
use crate::bridge::inbound::custody::{Ledger, RETRIES};
use crate::bridge::moment::{Micros, between, now_of, time_of};
use crate::bridge::plugin_call;
use crate::config::{HistoryEvent, HistorySettings, HistoryWhen, Transport};
use crate::metrics::Metrics;
use filling::{Filling, Found, merge, said_in};
use forms::Forms;
use reader::{Read, Reader};

/// Events that may wait for their conversation's history; beyond it they go on, order or not.
const HELD: usize = 10_000;
/// Slack gives again for longer than this what nobody listened to.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long what comes live may wait for history after it began to be read. In Socket Mode and over HTTP Slack waits for
/// the acknowledgement.
const PATIENCE_RTM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How often it is noted that we listen.
const LOOK: Duration = Duration::from_millis(400);
/// An event that comes so often without having arrived before was missed for more than a minute.
const LATE: u32 = 3;

/// Follows connections, and fills what lies between them.
pub(crate) struct Gaps {
    history: History,
    settings: HistorySettings,
    transport: Transport,
    ledger: Ledger,
    activity: Activity,
    metrics: Metrics,
    listening: Listening,
    filling: Option<Filling>,
}

/// Whether we listen, and what is known of how well.
struct Listening {
    /// Our own user, once a session has begun; none while there is no session.
    as_user: Option<String>,
    ticks: Interval,
    /// A connection that is gone said nothing for a while.
    was_deaf: bool,
    /// When something came last.
    arrived: Option<(Instant, Micros)>,
    /// The begin of the last time in which nothing came for long, and when it ended.
    silence: Option<(Micros, Instant)>,
}

impl Gaps {
    pub(crate) fn new(
        history: History,
        (settings, transport): (HistorySettings, Transport),
        (ledger, activity): (Ledger, Activity),
        metrics: Metrics,
    ) -> Self {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            history,
            settings,
            transport,
            ledger,
            activity,
            metrics,
            listening: Listening {
                as_user: None,
                ticks,
                was_deaf: false,
                arrived: None,
                silence: None,
            },
            filling: None,
        }
    }

    /// A session has begun, for this user: what came before it and after the last moment that is known may be a gap.
    pub(crate) fn connected(&mut self, user: &str) {
        let now = self.now();
        self.listening.as_user = Some(user.to_owned());
        let was_deaf = std::mem::take(&mut self.listening.was_deaf);
        let heard = self.ledger.heard();
        if heard == 0 {
            return self.ledger.begin(now);
        }
        let since = self.ledger.safe_until();
        let away = between(heard, now);
        if away >= OUTAGE || self.transport == Transport::Rtm {
            self.tell_outage(heard, now);
        }
        let is_outage = was_deaf
            || between(since, now) >= OUTAGE
            || self.transport == Transport::Rtm
            || self.filling.is_some();
        match self.settings.when {
            HistoryWhen::Outage if !is_outage => self.ledger.thaw(),
            _ => self.fill(since),
        }
        self.ledger.hear(now);
    }

    /// No session is left.
    pub(crate) fn disconnected(&mut self) {
        self.listening.as_user = None;
    }

    /// A connection said nothing for a while, so that Slack gave to nobody what it gave to it.
    pub(crate) fn deaf(&mut self) {
        if self.listening.as_user.is_none() {
            self.listening.was_deaf = true;
        } else if self.settings.when != HistoryWhen::Never {
            tracing::warn!(
                "a connection to Slack went deaf: what may have been lost on it is read from Slack's history"
            );
            self.fill(self.ledger.safe_until());
        }
    }

    /// An event is new although Slack gives it for the `attempt`th time.
    pub(crate) fn came_late(&mut self, attempt: u32) {
        if attempt < LATE || self.settings.when == HistoryWhen::Never || self.filling.is_some() {
            return;
        }
        // Told once for each such time.
        let Some((since, ended)) = self.listening.silence.take() else {
            return;
        };
        if ended.elapsed() < RETRIES {
            self.tell_outage(since, self.now());
            self.fill(since);
        }
    }

    /// Says how long nobody listened, and what of that time is in no history.
    fn tell_outage(&self, from: Micros, until: Micros) {
        let away = between(from, until);
        let messages = match self.settings.is_on() {
            true => "messages of that time are read from Slack's history",
            false => {
                "when and reach below [slack.history] say that messages are not read from Slack's history"
            }
        };
        let (from, until) = (time_of(from), time_of(until));
        let seconds = away.as_secs();
        if away < OUTAGE {
            tracing::info!(
                from,
                until,
                seconds,
                "nobody listened to Slack for {seconds} s; {messages}, but not reactions, edits and other events that are no messages"
            );
        } else {
            tracing::warn!(
                from,
                until,
                seconds,
                "nobody listened to Slack for {seconds} s, from {from} to {until}; {messages}. No history has the slash commands, clicks, dialogs, shortcuts, reactions, edits, deletions and other events of that time: those that Slack does not give again are lost"
            );
        }
    }

    /// Begins to read what was said after `since`, which is all before now that is not known to be safe.
    fn fill(&mut self, since: Micros) {
        let Some(user) = self.listening.as_user.clone() else {
            return;
        };
        if !self.settings.is_on() {
            return self.ledger.thaw();
        }
        let events = self.events();
        if events.is_empty() {
            tracing::warn!(
                "nothing is read from Slack's history: no message and no app_mention came live so far, and events below [slack.history] names none"
            );
            return self.ledger.thaw();
        }
        let now = self.now();
        let reach = self.settings.reach.as_micros() as Micros;
        let since = self.ledger.freeze(since).max(now.saturating_sub(reach));
        // What waited for the last reader waits for this one, and what that one read is not read once more.
        let before = self.filling.take();
        let (held, count, done) =
            before.map_or_else(Default::default, |it| (it.held, it.count, it.done));
        let patience = match self.transport {
            Transport::Rtm => PATIENCE_RTM,
            Transport::SocketMode | Transport::Http => PATIENCE,
        };
        let (urgent, wanted) = mpsc::channel(64);
        let (out, read) = mpsc::channel(8);
        let reader = Reader {
            history: self.history.clone(),
            settings: self.settings.clone(),
            forms: Forms {
                events,
                has_channel_type: self.transport != Transport::Rtm,
                me: user,
            },
            active: self.activity.conversations(),
            since,
            done: done.clone(),
            read: HashSet::new(),
            failed: Vec::new(),
            unread: self.metrics.history_unread(),
            has_told_limit: false,
            wanted,
            out,
        };
        self.filling = Some(Filling {
            pending: None,
            done,
            held_until: Some(Instant::now() + patience),
            held,
            count,
            filled: 0,
            urgent,
            read,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())),
        });
    }

    /// What may be made from history: what the app is given live too.
    fn events(&self) -> Vec<HistoryEvent> {
        if self.transport == Transport::Rtm {
            // It gives all messages, and no mentions.
            return HistoryEvent::MESSAGES.to_vec();
        }
        let mut events = self.activity.kinds();
        let named = self.settings.events.iter();
        events.extend(named.filter(|it| !events.contains(it)).collect::<Vec<_>>());
        events
    }

    /// Keeps a frame that has to wait for its conversation's history; gives back what does not.
    pub(crate) fn hold(&mut self, frame: Frame) -> Vec<Frame> {
        self.arrived(&frame);
        let Some(filling) = &mut self.filling else {
            return vec![frame];
        };
        // Who clicks or commands waits for an answer.
        let is_event = frame.ack.is_none() || frame.origin.event_id.is_some();
        let conversation = match &frame.event {
            Ok(event) if is_event => plugin_call::conversation(event),
            _ => String::new(),
        };
        if conversation.is_empty() || !filling.waits(&conversation) {
            return vec![frame];
        }
        if filling.count >= HELD {
            let mut all = filling.release_all("too many of them wait");
            all.push(frame);
            return all;
        }
        filling.count += 1;
        let held = filling.held.entry(conversation.clone()).or_default();
        held.push_back(frame);
        if held.len() == 1 {
            // Where many are wanted, one more is read in its turn.
            let _ = filling.urgent.try_send(conversation);
        }
        Vec::new()
    }

    /// Notes when something came, and times in which nothing did.
    fn arrived(&mut self, frame: &Frame) {
        let listening = &mut self.listening;
        let last = listening.arrived.map(|(at, _)| at);
        if last.is_some_and(|at| frame.arrived.saturating_duration_since(at) < LOOK) {
            return;
        }
        let now = now_of(&self.history);
        if let Some((at, moment)) = listening.arrived.replace((frame.arrived, now))
            && frame.arrived.saturating_duration_since(at) >= OUTAGE
        {
            listening.silence = Some((moment, frame.arrived));
        }
    }

    /// What history has, and what waited for it; nothing, from time to time.
    pub(crate) async fn next(&mut self) -> Vec<Found> {
        let read = async {
            match &mut self.filling {
                Some(filling) => filling.read.recv().await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            read = read => read,
            _ = self.listening.ticks.tick() => return self.look(),
        };
        let Some(filling) = &mut self.filling else {
            return Vec::new();
        };
        match read {
            Some(Read::Joined(ids)) => {
                let pending: HashSet<String> = ids.into_iter().collect();
                let free: Vec<String> = filling
                    .held
                    .keys()
                    .filter(|id| !pending.contains(*id))
                    .cloned()
                    .collect();
                filling.pending = Some(pending);
                let freed = free.iter().flat_map(|id| filling.release(id));
                live(freed)
            }
            Some(Read::Conversation { id, messages, upto }) => {
                if let Some(pending) = &mut filling.pending {
                    pending.remove(&id);
                }
                let held = filling.release(&id);
                filling.done.insert(id, upto);
                merge(messages, held)
            }
            Some(Read::Over { is_whole: true }) => {
                tracing::info!(
                    messages = filling.filled,
                    "Slack's history was read: so many messages had not come live"
                );
                let rest = self.give_up();
                self.ledger.thaw();
                live(rest)
            }
            Some(Read::Over { is_whole: false }) | None => live(self.give_up()),
        }
    }

    /// Notes that we listen, finds times in which we did not, and lets go on what waited long enough.
    fn look(&mut self) -> Vec<Found> {
        if self.listening.as_user.is_some() {
            let (now, heard) = (self.now(), self.ledger.heard());
            let is_on = self.settings.when != HistoryWhen::Never;
            if between(heard, now) >= OUTAGE {
                // The process, or the machine, stood still.
                self.tell_outage(heard, now);
                if is_on {
                    self.fill(self.ledger.safe_until());
                }
            } else if let Some(since) = self.ledger.overdue(now)
                && is_on
            {
                tracing::warn!(
                    "events could be kept nowhere until Slack gave them up; messages among them are read from Slack's history"
                );
                self.fill(since);
            }
            self.ledger.hear(now);
        }
        match &mut self.filling {
            Some(filling) if filling.held_until.is_some_and(|at| at <= Instant::now()) => {
                live(filling.release_all("reading takes long"))
            }
            _ => Vec::new(),
        }
    }

    /// Counts a message of history that had not come before.
    pub(crate) fn found(&mut self) {
        self.metrics.history().increment(1);
        if let Some(filling) = &mut self.filling {
            filling.filled += 1;
        }
    }

    /// Ends the filling for a stop; gives what is nowhere but here. A message of a conversation that was going to be read
    /// is not, where nobody waits for its acknowledgement: it comes again, behind those before it, when the gap is filled
    /// after the next start.
    pub(crate) fn stop(&mut self) -> Vec<Frame> {
        let Some(filling) = self.filling.take() else {
            return Vec::new();
        };
        let Filling { pending, held, .. } = filling;
        let comes_again = |id: &str, frame: &Frame| {
            let is_pending = pending.as_ref().is_some_and(|pending| pending.contains(id));
            is_pending && frame.ack.is_none() && said_in(frame).is_some()
        };
        let held = held.into_iter().flat_map(|(id, mut frames)| {
            frames.retain(|frame| !comes_again(&id, frame));
            frames
        });
        held.collect()
    }

    fn now(&self) -> Micros {
        now_of(&self.history)
    }

    /// Ends the filling; gives what waited for it. The gap stays open until a later one is filled.
    fn give_up(&mut self) -> Vec<Frame> {
        self.metrics.history_unread().set(0.0);
        let held = self.filling.take().map(|filling| filling.held);
        held.into_iter()
            .flatten()
            .flat_map(|(_, frames)| frames)
            .collect()
    }
}

fn live(frames: impl IntoIterator<Item = Frame>) -> Vec<Found> {
    frames.into_iter().map(|frame| (frame, false)).collect()
}
