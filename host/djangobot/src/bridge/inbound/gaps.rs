//! Gaps: times in which nobody listened to Slack, filled with the messages that Slack's history has of them.
//!
//! RTM repeats nothing, and in Socket Mode and over HTTP Slack gives up redelivering after some six minutes. Messages
//! of a longer outage are only in the history. So [`Gaps`] reads the conversations that the bot is in, from the last
//! moment up to which all events are known to be safe. For a bounded time, live events of a conversation wait until its
//! history is read, so that the order within it is kept. Conversations in which something waits are read before the
//! others.

pub(crate) mod forms;
pub(crate) mod gap_fill;
mod reader;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use djangobot_slack::history::History;
use djangobot_slack::{Frame, Ts};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::bridge::inbound::activity::Activity;
use crate::bridge::inbound::custody::{Ledger, RETRIES};
use crate::bridge::moment::{between, http_date, slack_now};
use crate::bridge::plugin_call;
use crate::config::{HistoryEvent, HistorySettings, HistoryWhen, Transport};
use crate::metrics::Metrics;

use forms::Forms;
use gap_fill::{GapFill, ReleasedFrame, history_key_of, merge};
use reader::{Reader, ReaderReport};

/// The most live events that wait for their conversation's history. Where there are more, all go on, even out of order,
/// because memory is bounded.
const MAX_HELD: usize = 10_000;
/// A silence from which on history is read. Slack redelivers for longer than this, so that a shorter one loses nothing
/// where Slack redelivers at all.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long live events may wait on RTM after the reading of history began.
const PATIENCE_RTM: Duration = Duration::from_secs(10);
/// How long they may wait in Socket Mode and over HTTP, where Slack waits 3 seconds for the acknowledgement.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// The most conversations that are wanted first. Further ones are read in their turn.
const URGENT: usize = 64;
/// The most conversations that are read and have not gone on. Beyond it the reader waits, because the messages of all
/// of them are in memory.
const REPORTS: usize = 8;
/// How often it is noted that we listen, and checked whether live events waited long enough.
const CHECK_EVERY: Duration = Duration::from_millis(400);
/// Slack makes the third attempt after more than a minute, so that an event that is new on this attempt was missed for
/// as long.
const LATE_ATTEMPT: u32 = 3;

/// Follows the connections to Slack, and fills the gaps between them.
pub(crate) struct Gaps {
    history: History,
    settings: HistorySettings,
    transport: Transport,
    ledger: Ledger,
    activity: Activity,
    metrics: Metrics,
    listening: ListeningState,
    filling: Option<GapFill>,
}

/// Whether we listen, and the signs that we did not.
struct ListeningState {
    /// The bot's own user while there is a session; `None` while there is none.
    bot_user: Option<String>,
    ticks: Interval,
    /// Whether the connection that is gone was deaf: it said nothing for a while.
    was_deaf: bool,
    /// When a frame came last.
    last_arrival: Option<Arrival>,
    /// The last time in which nothing came for long.
    silence: Option<Silence>,
}

/// The moment at which a frame came, by the machine's clock and by Slack's.
struct Arrival {
    at: Instant,
    ts: Ts,
}

/// A time in which no frame came.
struct Silence {
    since: Ts,
    ended: Instant,
}

impl Gaps {
    pub(crate) fn new(
        history: History,
        settings: HistorySettings,
        transport: Transport,
        ledger: Ledger,
        activity: Activity,
        metrics: Metrics,
    ) -> Self {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            history,
            settings,
            transport,
            ledger,
            activity,
            metrics,
            listening: ListeningState {
                bot_user: None,
                ticks,
                was_deaf: false,
                last_arrival: None,
                silence: None,
            },
            filling: None,
        }
    }

    /// A session has begun, for the bot's user `user`. The time from the last safe moment to now may be a gap.
    pub(crate) fn connected(&mut self, user: &str) {
        let now = self.now();
        self.listening.bot_user = Some(user.to_owned());
        let was_deaf = std::mem::take(&mut self.listening.was_deaf);
        let listened_until = self.ledger.listened_until();
        if listened_until == Ts::default() {
            return self.ledger.start_listening(now);
        }
        // `since` is the earlier one: events that came before we stopped to listen may not be safe.
        let since = self.ledger.safe_until();
        let away = between(listened_until, now);
        if away >= OUTAGE || self.transport == Transport::Rtm {
            self.log_outage(listened_until, now);
        }
        let is_outage = was_deaf
            || between(since, now) >= OUTAGE
            || self.transport == Transport::Rtm
            || self.filling.is_some();
        match self.settings.when {
            HistoryWhen::Outage if !is_outage => self.ledger.close_gap(),
            _ => self.fill(since),
        }
        self.ledger.note_listening(now);
    }

    /// The last session has ended.
    pub(crate) fn disconnected(&mut self) {
        self.listening.bot_user = None;
    }

    /// A connection was deaf for a while: events that Slack wrote to it may be lost.
    pub(crate) fn note_deaf(&mut self) {
        if self.listening.bot_user.is_none() {
            self.listening.was_deaf = true;
        } else if self.settings.when != HistoryWhen::Never {
            tracing::warn!(
                "a connection to Slack went deaf; messages that may have been lost on it are read from Slack's history"
            );
            self.fill(self.ledger.safe_until());
        }
    }

    /// An event is new although this is Slack's `attempt`th try to deliver it, so that we did not listen before.
    pub(crate) fn note_late(&mut self, attempt: u32) {
        if attempt < LATE_ATTEMPT
            || self.settings.when == HistoryWhen::Never
            || self.filling.is_some()
        {
            return;
        }
        // Taken, so that one silence is filled once.
        let Some(Silence { since, ended }) = self.listening.silence.take() else {
            return;
        };
        if ended.elapsed() < RETRIES {
            self.log_outage(since, self.now());
            self.fill(since);
        }
    }

    /// Logs how long nobody listened, and which events of that time no history has.
    fn log_outage(&self, from: Ts, until: Ts) {
        let away = between(from, until);
        let messages = match self.settings.is_on() {
            true => "messages of that time are read from Slack's history",
            false => {
                "messages of that time are not read from Slack's history, as slack.history.when and slack.history.reach say"
            }
        };
        let (from, until) = (http_date(from), http_date(until));
        let seconds = away.as_secs();
        if away < OUTAGE {
            tracing::info!(
                from,
                until,
                seconds,
                "nobody listened to Slack for {seconds} s; {messages}; reactions, edits and other events that are not messages are not in it"
            );
        } else {
            tracing::warn!(
                from,
                until,
                seconds,
                "nobody listened to Slack for {seconds} s, from {from} to {until}; {messages}. Slack's history has no slash commands, clicks, dialogs, shortcuts, reactions, edits, deletions or other events: those of that time that Slack does not redeliver are lost"
            );
        }
    }

    /// Begins to read the messages after `since`, the last moment up to which all is known to be safe.
    fn fill(&mut self, since: Ts) {
        let Some(user) = self.listening.bot_user.clone() else {
            return;
        };
        if !self.settings.is_on() {
            return self.ledger.close_gap();
        }
        let events = self.events();
        if events.is_empty() {
            tracing::warn!(
                "no messages are read from Slack's history: no message and no app_mention has come live so far, which shows what the app is subscribed to; slack.history.events can name the kinds"
            );
            return self.ledger.close_gap();
        }
        let now = self.now();
        let earliest = now.saturating_sub(self.settings.reach);
        let since = self.ledger.open_gap(since).max(earliest);
        // Events that waited for the last reader wait for this one, and conversations that it read are not read again.
        let before = self.filling.take();
        let (held, done) = before.map_or_else(Default::default, |it| (it.held, it.done));
        let patience = match self.transport {
            Transport::Rtm => PATIENCE_RTM,
            Transport::SocketMode | Transport::Http => PATIENCE,
        };
        let (urgent, wanted) = mpsc::channel(URGENT);
        let (out, read) = mpsc::channel(REPORTS);
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
            has_logged_limit: false,
            wanted,
            out,
        };
        self.filling = Some(GapFill {
            pending: None,
            done,
            held_until: Some(Instant::now() + patience),
            held,
            filled: 0,
            urgent,
            read,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())),
        });
    }

    /// The kinds of events that may be made from history: those that the app is given live too.
    fn events(&self) -> Vec<HistoryEvent> {
        if self.transport == Transport::Rtm {
            // RTM gives all messages, and no mentions.
            return HistoryEvent::MESSAGES.to_vec();
        }
        let mut events = self.activity.kinds();
        let named = self.settings.events.iter();
        events.extend(named.filter(|it| !events.contains(it)).collect::<Vec<_>>());
        events
    }

    /// Takes a frame that came live. Holds it if it has to wait for its conversation's history; gives the frames that
    /// go on now.
    pub(crate) fn hold(&mut self, frame: Frame) -> Vec<Frame> {
        self.note_arrival(&frame);
        let Some(filling) = &mut self.filling else {
            return vec![frame];
        };
        // Commands and clicks do not wait for history: their user waits for an answer.
        let is_event = frame.ack.is_none() || frame.origin.event_id.is_some();
        let conversation = match &frame.event {
            Ok(event) if is_event => plugin_call::conversation(event),
            _ => String::new(),
        };
        if conversation.is_empty() || !filling.must_wait(&conversation) {
            return vec![frame];
        }
        if filling.held.len() >= MAX_HELD {
            let mut all = filling.release_all("too many of them wait");
            all.push(frame);
            return all;
        }
        if filling.held.push(&conversation, frame) {
            // If this channel is full, many are wanted already, and this one is read in its turn.
            let _ = filling.urgent.try_send(conversation);
        }
        Vec::new()
    }

    /// Notes when a frame came, and times in which none did.
    fn note_arrival(&mut self, frame: &Frame) {
        let listening = &mut self.listening;
        let at = frame.arrived;
        let silent_for = |last: &Arrival| at.saturating_duration_since(last.at);
        if let Some(last) = &listening.last_arrival
            && silent_for(last) < CHECK_EVERY
        {
            return;
        }
        // Silence is measured by the machine's clock, which never jumps, and noted by Slack's, which messages have.
        let ts = slack_now(&self.history);
        if let Some(last) = listening.last_arrival.replace(Arrival { at, ts })
            && silent_for(&last) >= OUTAGE
        {
            listening.silence = Some(Silence {
                since: last.ts,
                ended: at,
            });
        }
    }

    /// The next frames that go on: messages of history, and live ones that waited for them. Gives an empty list at each
    /// check, so that the caller's loop goes round.
    pub(crate) async fn next(&mut self) -> Vec<ReleasedFrame> {
        let read = async {
            match &mut self.filling {
                Some(filling) => filling.read.recv().await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            read = read => read,
            _ = self.listening.ticks.tick() => return self.check(),
        };
        let Some(filling) = &mut self.filling else {
            return Vec::new();
        };
        match read {
            Some(ReaderReport::Joined(ids)) => {
                let pending: HashSet<String> = ids.into_iter().collect();
                let held = filling.held.conversations();
                let free: Vec<String> = held.filter(|id| !pending.contains(*id)).cloned().collect();
                filling.pending = Some(pending);
                let freed = free.iter().flat_map(|id| filling.held.take(id));
                live(freed)
            }
            Some(ReaderReport::Conversation { id, messages, upto }) => {
                if let Some(pending) = &mut filling.pending {
                    pending.remove(&id);
                }
                let held = filling.held.take(&id);
                filling.done.insert(id, upto);
                merge(messages, held)
            }
            Some(ReaderReport::Over { is_whole: true }) => {
                tracing::info!(
                    messages = filling.filled,
                    "Slack's history was read; {} messages of it had not come live",
                    filling.filled
                );
                let rest = self.give_up();
                self.ledger.close_gap();
                live(rest)
            }
            Some(ReaderReport::Over { is_whole: false }) | None => live(self.give_up()),
        }
    }

    /// Notes that we listen, finds times in which we did not, and releases frames that waited long enough.
    fn check(&mut self) -> Vec<ReleasedFrame> {
        if self.listening.bot_user.is_some() {
            let (now, listened_until) = (self.now(), self.ledger.listened_until());
            let is_on = self.settings.when != HistoryWhen::Never;
            if between(listened_until, now) >= OUTAGE {
                // The session goes on, so the process or the machine stood still.
                self.log_outage(listened_until, now);
                if is_on {
                    self.fill(self.ledger.safe_until());
                }
            } else if let Some(since) = self.ledger.take_overdue(now)
                && is_on
            {
                tracing::warn!(
                    "some events were stored neither in the channel layer nor on the disk before Slack stopped redelivering them; messages among them are read from Slack's history"
                );
                self.fill(since);
            }
            self.ledger.note_listening(now);
        }
        match &mut self.filling {
            Some(filling) if filling.held_until.is_some_and(|at| at <= Instant::now()) => {
                live(filling.release_all("reading it takes too long"))
            }
            _ => Vec::new(),
        }
    }

    /// Counts a message of history that had not come before.
    pub(crate) fn count_found(&mut self) {
        self.metrics.history().increment(1);
        if let Some(filling) = &mut self.filling {
            filling.filled += 1;
        }
    }

    /// Ends the filling for a stop; gives the held frames that are nowhere else. A message of a conversation that is
    /// still to be read is dropped if no acknowledgement waits for it: the next start fills the gap and finds it again,
    /// behind the messages before it.
    pub(crate) fn stop(&mut self) -> Vec<Frame> {
        let Some(filling) = self.filling.take() else {
            return Vec::new();
        };
        let GapFill { pending, held, .. } = filling;
        let comes_again = |id: &str, frame: &Frame| {
            let is_pending = pending.as_ref().is_some_and(|pending| pending.contains(id));
            is_pending && frame.ack.is_none() && history_key_of(frame).is_some()
        };
        let held = held.into_conversations().flat_map(|(id, mut frames)| {
            frames.retain(|frame| !comes_again(&id, frame));
            frames
        });
        held.collect()
    }

    fn now(&self) -> Ts {
        slack_now(&self.history)
    }

    /// Ends the filling; gives the frames that waited for it. The gap stays open until a later filling succeeds.
    fn give_up(&mut self) -> Vec<Frame> {
        self.metrics.history_unread().set(0.0);
        let filling = self.filling.take();
        filling.map_or_else(Vec::new, |filling| filling.held.into_frames().collect())
    }
}

/// Frames that came live and go on.
fn live(frames: impl IntoIterator<Item = Frame>) -> Vec<ReleasedFrame> {
    frames.into_iter().map(ReleasedFrame::live).collect()
}
