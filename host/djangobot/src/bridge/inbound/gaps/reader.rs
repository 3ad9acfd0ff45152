//! The reader of one gap's history: conversation by conversation, it makes the events that would have come live.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use djangobot_event::Event;
use djangobot_slack::api::ApiError;
use djangobot_slack::history::{Gap, GapMessages, History, HistoryError};
use djangobot_slack::roster::ConversationKind;
use djangobot_slack::{Backoff, Ts};
use metrics::Gauge;
use tokio::sync::mpsc;

use crate::bridge::inbound::activity::{ActiveConversation, event_of};
use crate::bridge::inbound::gaps::forms::Forms;
use crate::bridge::moment::slack_now;
use crate::config::{HistoryEvent, HistorySettings};

/// Conversations in which something came within so many seconds before the last event are read before the others.
const RECENT: u64 = 24 * 3600;
/// A conversation that was read before is read again from so long before the moment up to which it was read: Slack's
/// history may have lacked the newest messages then.
const OVERLAP: Duration = Duration::from_secs(5);
/// How often reading is tried while Slack answers no calls: for about a day, with pauses of up to [`LONGEST_PAUSE`].
const TRIES: u32 = 100;
/// The first pause after such a failure.
const PAUSE: Duration = Duration::from_secs(15);
/// The longest pause after such a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How often the reader checks whether Slack limits the calls.
const LOOK: Duration = Duration::from_millis(500);

/// Reads the history of one gap.
pub(super) struct Reader {
    pub(super) history: History,
    pub(super) settings: HistorySettings,
    /// Makes events of the messages.
    pub(super) forms: Forms,
    /// The conversations in which something came live, the latest first.
    pub(super) active: Vec<ActiveConversation>,
    /// The moment after which messages are read.
    pub(super) since: Ts,
    /// Conversations that are read already, and up to which moment.
    pub(super) done: HashMap<String, Ts>,
    /// The conversations of `done` that this reader has read.
    pub(super) read: HashSet<String>,
    /// Conversations whose reading failed: they come last.
    pub(super) failed: Vec<String>,
    /// Shows how many conversations are still to be read.
    pub(super) unread: Gauge,
    pub(super) has_logged_limit: bool,
    /// Conversations in which live events wait: they come first.
    pub(super) wanted: mpsc::Receiver<String>,
    pub(super) out: mpsc::Sender<ReaderReport>,
}

/// A report of the reader.
pub(super) enum ReaderReport {
    /// The conversations that it will read.
    Joined(Vec<String>),
    /// One of them is done, up to this moment. If it could not be read, it has no messages.
    Conversation {
        id: String,
        messages: Vec<Event>,
        upto: Ts,
    },
    /// The reader ends. If not all is read, the gap stays open for the next connection.
    Over { is_whole: bool },
}

/// The reason for which reading ends before all is read.
enum ReadError {
    /// Slack answers no calls now.
    Unavailable(ApiError),
    /// The receiver of the reports is gone: another reader took over, or the bridge stops.
    Superseded,
}

/// A conversation to be read.
struct Conversation {
    id: String,
    /// The event by which its messages come.
    kind: HistoryEvent,
}

impl Reader {
    /// Reads until all is read, or until [`TRIES`] are used up; the last report says which.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        for tries in 1.. {
            match self.read().await {
                Ok(()) => break,
                Err(ReadError::Superseded) => return,
                Err(ReadError::Unavailable(error)) if tries >= TRIES => {
                    tracing::error!(
                        "messages of a gap can't be read from Slack's history: {error}; they are tried again only after the next connection to Slack"
                    );
                    let _ = self.out.send(ReaderReport::Over { is_whole: false }).await;
                    return;
                }
                Err(ReadError::Unavailable(error)) => {
                    let pause = backoff.failed();
                    tracing::warn!(
                        "messages of a gap can't be read from Slack's history now: {error}; trying again in {} s",
                        pause.as_secs()
                    );
                    tokio::time::sleep(pause).await;
                }
            }
        }
        let _ = self.out.send(ReaderReport::Over { is_whole: true }).await;
    }

    /// Reads all conversations once. Those that fail are kept in `failed`, and the first error is given at the end.
    async fn read(&mut self) -> Result<(), ReadError> {
        let (conversations, not_listed) = self.conversations().await;
        let ids = conversations.iter().map(|it| it.id.clone()).collect();
        self.report(ReaderReport::Joined(ids)).await?;
        let mut waiting: VecDeque<Conversation> = conversations.into();
        let mut unreadable = 0;
        let mut failure = not_listed;
        let mut failed_before = false;
        while !waiting.is_empty() {
            while let Ok(wanted) = self.wanted.try_recv() {
                // One that is read already, or is not to be read, is not found.
                if let Some(at) = waiting.iter().position(|it| it.id == wanted) {
                    waiting.swap(0, at);
                }
            }
            self.unread.set(waiting.len() as f64);
            let Some(Conversation { id: channel, kind }) = waiting.pop_front() else {
                break;
            };
            // Taken before the call, which may lack messages that are said during it.
            let upto = slack_now(&self.history);
            let messages = match self.fill(&channel, waiting.len()).await {
                Ok(filled) => {
                    if !filled.is_whole {
                        tracing::warn!(
                            channel,
                            read = filled.messages.len(),
                            "the gap has more messages in this conversation than are read; slack.history.messages allows more"
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
                // One failure may be the conversation's own, and the others go on. Two in a row are Slack's.
                Err(HistoryError::Failed(error)) => {
                    if !self.failed.contains(&channel) {
                        self.failed.push(channel.clone());
                    }
                    if std::mem::replace(&mut failed_before, true) {
                        return Err(ReadError::Unavailable(error));
                    }
                    tracing::warn!(
                        channel,
                        "a conversation's history can't be read now: {error}; the other conversations go on, and this one is tried again after them"
                    );
                    failure.get_or_insert(error);
                    continue;
                }
            };
            failed_before = false;
            self.failed.retain(|it| *it != channel);
            self.read.insert(channel.clone());
            self.done.insert(channel.clone(), upto);
            self.report(ReaderReport::Conversation {
                id: channel,
                messages,
                upto,
            })
            .await?;
        }
        self.unread.set(self.failed.len() as f64);
        failure.map_or(Ok(()), |error| Err(ReadError::Unavailable(error)))
    }

    /// The conversations to be read, in their order, and the error if Slack can't list them now. In that case they are
    /// those in which something came live.
    async fn conversations(&self) -> (Vec<Conversation>, Option<ApiError>) {
        let (listed, failed) = match self.history.joined(&self.kinds()).await {
            Ok(joined) => {
                for (kind, error) in &joined.not_listed {
                    tracing::warn!(
                        kind,
                        "conversations of one kind can't be listed: {error}; their messages are not read from Slack's history"
                    );
                }
                let listed = joined.conversations.into_iter();
                let listed = listed.map(|(id, kind)| Conversation {
                    id,
                    kind: event_of(kind),
                });
                (listed.collect(), None)
            }
            Err(error) => {
                let known = self.active.len();
                tracing::warn!(
                    "the conversations that the bot is in can't be listed: {error}; only conversations in which something came live are read from Slack's history; they are {known}"
                );
                let known = self.active.iter();
                let known = known.map(|it| Conversation {
                    id: it.id.clone(),
                    kind: it.kind,
                });
                let known = known.collect();
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
                    "the bot is in more conversations than are read after a gap; slack.history.conversations allows more"
                );
            }
            conversations.truncate(most);
        }
        (conversations, failed)
    }

    /// Orders conversations: direct messages first, then those in which something came recently, each with the latest
    /// first, then the rest, and at the end those that failed. Drops those of which nothing is wanted.
    fn in_order(&self, conversations: Vec<Conversation>) -> Vec<Conversation> {
        let newest = self.active.first().map_or(0, |it| it.at);
        let places: HashMap<&str, (usize, u64)> = self
            .active
            .iter()
            .enumerate()
            .map(|(place, it)| (&*it.id, (place, it.at)))
            .collect();
        let mut seen = HashSet::new();
        let mut conversations: Vec<Conversation> = conversations
            .into_iter()
            .filter(|Conversation { id, kind }| {
                self.forms.wants(*kind) && !self.read.contains(id) && seen.insert(id.clone())
            })
            .collect();
        conversations.sort_by_key(|Conversation { id, kind }| {
            let place = places.get(&**id);
            // `active` begins with the newest one, so that no time in it is later.
            let is_recent = place.is_some_and(|(_, at)| newest - at <= RECENT);
            let rank = match kind {
                _ if self.failed.contains(id) => 3,
                HistoryEvent::Im | HistoryEvent::Mpim => 0,
                _ if is_recent => 1,
                _ => 2,
            };
            (rank, place.map_or(usize::MAX, |(place, _)| *place))
        });
        conversations
    }

    /// Reads one conversation. Logs once how long all of them will take if Slack limits the calls; `others` are still
    /// to come.
    async fn fill(&mut self, channel: &str, others: usize) -> Result<GapMessages, HistoryError> {
        let read = self.done.get(channel).copied().unwrap_or_default();
        let since = self.since.max(read.saturating_sub(OVERLAP));
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
                () = tokio::time::sleep(LOOK), if !self.has_logged_limit => {
                    if let Some(every) = history.every() {
                        self.log_limit(every, others + 1);
                    }
                }
            }
        }
    }

    fn log_limit(&mut self, every: Duration, conversations: usize) {
        self.has_logged_limit = true;
        let seconds = every.as_secs().max(1) * conversations as u64;
        tracing::warn!(
            conversations,
            seconds,
            "Slack lets this app read history once in {} s, 15 messages at a time, as it does for apps that are distributed outside of its Marketplace; to read {conversations} conversations takes at least {}; direct messages and the conversations of the last day come first",
            every.as_secs(),
            for_people(seconds),
        );
    }

    /// The kinds of conversations of whose messages events are made.
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

    async fn report(&self, read: ReaderReport) -> Result<(), ReadError> {
        self.out.send(read).await.map_err(|_| ReadError::Superseded)
    }
}

/// A duration for a log line, rounded up.
fn for_people(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}
