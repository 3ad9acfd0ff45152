//! Reads the history of one gap, conversation by conversation, and makes of it what would have come live.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use djangobot_event::Event;
use djangobot_slack::api::ApiError;
use djangobot_slack::history::{Gap, GapMessages, History, HistoryError};
use djangobot_slack::roster::ConversationKind;
use djangobot_slack::{Backoff, Ts};
use metrics::Gauge;
use tokio::sync::mpsc;

use super::forms::Forms;
use crate::bridge::inbound::activity::event_of;
use crate::bridge::moment::{Micros, now_of};
use crate::config::{HistoryEvent, HistorySettings};

/// Conversations in which something came within so many seconds before the last event are read before the others.
const LATELY: u64 = 24 * 3600;
/// What was read up to a moment is read on from so long before it: a message of that moment may not have been there yet.
const OVERLAP: Duration = Duration::from_secs(5);
/// How often reading is tried where Slack can't be asked: for about a day, at pauses of up to a quarter of an hour.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked whether Slack limits the calls.
const LOOK: Duration = Duration::from_millis(500);

/// Reads the history of one gap.
pub(super) struct Reader {
    pub(super) history: History,
    pub(super) settings: HistorySettings,
    /// What is made of what is read.
    pub(super) forms: Forms,
    /// The conversations in which something came, the latest first.
    pub(super) active: Vec<(String, HistoryEvent, u64)>,
    pub(super) since: Micros,
    /// Conversations that are read already, and up to when.
    pub(super) done: HashMap<String, Micros>,
    /// Those of them that this reader has read.
    pub(super) read: HashSet<String>,
    /// Those that failed, which come last.
    pub(super) failed: Vec<String>,
    /// How many are still to be read.
    pub(super) unread: Gauge,
    pub(super) has_told_limit: bool,
    /// Conversations in which something waits.
    pub(super) wanted: mpsc::Receiver<String>,
    pub(super) out: mpsc::Sender<Read>,
}

/// What the reader tells.
pub(super) enum Read {
    /// The conversations that it will read.
    Joined(Vec<String>),
    /// One of them, whether it could be read or not, and up to when it was.
    Conversation {
        id: String,
        messages: Vec<Event>,
        upto: Micros,
    },
    /// It is done; or Slack can't be asked, and the gap stays for the next connection.
    Over { is_whole: bool },
}

/// Why reading ends before all is read.
enum Stop {
    /// Slack can't be asked now.
    Failed(ApiError),
    /// Nobody listens any more: another connection was made since.
    ReplyError,
}

/// A conversation to be read, and by which event its messages come.
type Conversation = (String, HistoryEvent);

impl Reader {
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        for tries in 1.. {
            match self.read().await {
                Ok(()) => break,
                Err(Stop::ReplyError) => return,
                Err(Stop::Failed(error)) if tries >= TRIES => {
                    tracing::error!(
                        "what was said while nobody listened can't be read from Slack's history, and is not tried again before the next connection: {error}"
                    );
                    let _ = self.out.send(Read::Over { is_whole: false }).await;
                    return;
                }
                Err(Stop::Failed(error)) => {
                    let pause = backoff.failed();
                    tracing::warn!(
                        "what was said while nobody listened can't be read from Slack's history now, and is tried again in {} s: {error}",
                        pause.as_secs()
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
        let _ = self.out.send(Read::Over { is_whole: true }).await;
    }

    /// Reads all that can be.
    async fn read(&mut self) -> Result<(), Stop> {
        let (conversations, not_listed) = self.conversations().await;
        let ids = conversations.iter().map(|(id, _)| id.clone()).collect();
        self.tell(Read::Joined(ids)).await?;
        let mut waiting: VecDeque<Conversation> = conversations.into();
        let (mut unreadable, mut failure, mut failed_before) = (0, not_listed, false);
        while !waiting.is_empty() {
            while let Ok(wanted) = self.wanted.try_recv() {
                if let Some(at) = waiting.iter().position(|(id, _)| *id == wanted) {
                    waiting.swap(0, at);
                }
            }
            self.unread.set(waiting.len() as f64);
            let Some((channel, kind)) = waiting.pop_front() else {
                break;
            };
            let upto = now_of(&self.history);
            let messages = match self.fill(&channel, waiting.len()).await {
                Ok(filled) => {
                    if !filled.is_whole {
                        tracing::warn!(
                            channel,
                            read = filled.messages.len(),
                            "more was said while nobody listened than is read; messages below [slack.history] allows more"
                        );
                    }
                    self.forms.events(filled.messages, kind)
                }
                Err(HistoryError::NotPossible(error)) => {
                    if unreadable == 0 {
                        tracing::warn!("a conversation's history can't be read: {error}");
                    }
                    unreadable += 1;
                    Vec::new()
                }
                // One that fails by itself holds up no other; where two do, Slack can't be asked.
                Err(HistoryError::Failed(error)) => {
                    if !self.failed.contains(&channel) {
                        self.failed.push(channel.clone());
                    }
                    if std::mem::replace(&mut failed_before, true) {
                        return Err(Stop::Failed(error));
                    }
                    tracing::warn!(
                        channel,
                        "a conversation's history can't be read now; the others go on, and it is tried again behind them: {error}"
                    );
                    failure.get_or_insert(error);
                    continue;
                }
            };
            failed_before = false;
            self.failed.retain(|it| *it != channel);
            self.read.insert(channel.clone());
            self.done.insert(channel.clone(), upto);
            self.tell(Read::Conversation {
                id: channel,
                messages,
                upto,
            })
            .await?;
        }
        self.unread.set(self.failed.len() as f64);
        failure.map_or(Ok(()), |error| Err(Stop::Failed(error)))
    }

    /// What is to be read, in its order; and why Slack can't list all now, where it can't. Then those are read in which
    /// something came.
    async fn conversations(&self) -> (Vec<Conversation>, Option<ApiError>) {
        let (listed, failed) = match self.history.joined(&self.kinds()).await {
            Ok(joined) => {
                for (kind, error) in &joined.not_listed {
                    tracing::warn!(
                        kind,
                        "conversations of a kind are left out of gaps: {error}"
                    );
                }
                let listed = joined.conversations.into_iter();
                let listed = listed.map(|(id, kind)| (id, event_of(kind)));
                (listed.collect(), None)
            }
            Err(error) => {
                let known = self.active.len();
                tracing::warn!(
                    "the conversations that the bot is in can't be listed, so that others than those {known} in which something came live can't be read from Slack's history: {error}"
                );
                let known = self.active.iter();
                let known = known.map(|(id, kind, _)| (id.clone(), *kind)).collect();
                match error {
                    HistoryError::NotPossible(_) => (known, None),
                    HistoryError::Failed(error) => (known, Some(error)),
                }
            }
        };
        let mut conversations = self.in_order(listed);
        let most = self.settings.conversations.saturating_sub(self.read.len());
        if conversations.len() > most {
            if self.read.is_empty() {
                tracing::warn!(
                    conversations = conversations.len(),
                    read = most,
                    "the bot is in more conversations than are read after a gap; conversations below [slack.history] allows more"
                );
            }
            conversations.truncate(most);
        }
        (conversations, failed)
    }

    /// Direct messages first, then conversations in which something came of late, each the latest first, then the rest, and
    /// at the end those that failed.
    fn in_order(&self, conversations: Vec<Conversation>) -> Vec<Conversation> {
        let newest = self.active.first().map_or(0, |(_, _, at)| *at);
        let places: HashMap<&str, (usize, u64)> = self
            .active
            .iter()
            .enumerate()
            .map(|(place, (id, _, at))| (&**id, (place, *at)))
            .collect();
        let mut seen = HashSet::new();
        let mut conversations: Vec<Conversation> = conversations
            .into_iter()
            .filter(|(id, kind)| {
                // What this reader has read need not be read again.
                self.forms.wants(*kind) && !self.read.contains(id) && seen.insert(id.clone())
            })
            .collect();
        conversations.sort_by_key(|(id, kind)| {
            let place = places.get(&**id);
            let is_late = place.is_some_and(|(_, at)| newest - at <= LATELY);
            let rank = match kind {
                _ if self.failed.contains(id) => 3,
                HistoryEvent::Im | HistoryEvent::Mpim => 0,
                _ if is_late => 1,
                _ => 2,
            };
            (rank, place.map_or(usize::MAX, |(place, _)| *place))
        });
        conversations
    }

    /// Reads one conversation, and says once how long all will take where Slack limits that; `others` are still to come.
    async fn fill(&mut self, channel: &str, others: usize) -> Result<GapMessages, HistoryError> {
        let read = self.done.get(channel).copied().unwrap_or(0);
        let since = self
            .since
            .max(read.saturating_sub(OVERLAP.as_micros() as Micros));
        let since = Ts::from_micros(since);
        let gap = Gap {
            channel,
            after: since,
            until: None,
            threads_since: Some(since.saturating_sub(self.settings.reach)),
            at_most: self.settings.messages,
        };
        let history = self.history.clone();
        let filling = history.fill(&gap);
        tokio::pin!(filling);
        loop {
            tokio::select! {
                filled = &mut filling => return filled,
                () = tokio::time::sleep(LOOK), if !self.has_told_limit => {
                    if let Some(every) = history.every() {
                        self.tell_limit(every, others + 1);
                    }
                }
            }
        }
    }

    fn tell_limit(&mut self, every: Duration, conversations: usize) {
        self.has_told_limit = true;
        let seconds = every.as_secs().max(1) * conversations as u64;
        tracing::warn!(
            conversations,
            seconds,
            "Slack lets this app read history once in {} s, 15 messages at a time, as apps that are distributed outside of its Marketplace: to read {conversations} conversations takes at least {}; direct messages and the conversations of the last day come first",
            every.as_secs(),
            for_people(seconds),
        );
    }

    /// The kinds of conversations that hold what is wanted.
    fn kinds(&self) -> Vec<ConversationKind> {
        let kinds = [
            ConversationKind::Im,
            ConversationKind::Mpim,
            ConversationKind::Channel,
            ConversationKind::Private,
        ];
        let kinds = kinds.into_iter();
        kinds
            .filter(|kind| self.forms.wants(event_of(*kind)))
            .collect()
    }

    async fn tell(&self, read: Read) -> Result<(), Stop> {
        self.out.send(read).await.map_err(|_| Stop::ReplyError)
    }
}

fn for_people(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}
