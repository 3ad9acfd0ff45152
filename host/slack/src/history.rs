//! Slack's history: the messages that came while we were not connected.
//!
//! History has messages and replies. Edits, deletions, reactions and all other events that were missed are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use djangobot_event::Event;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::{ApiError, Class, WebApi};
use crate::pacing::Pacer;
use crate::reading;
use crate::roster::ConversationKind;
use crate::ts::Ts;

/// Messages, or conversations, in a page: what Slack recommends at most.
const PAGE: usize = 200;

const CONVERSATIONS: &str = "users.conversations";
const HISTORY: &str = "conversations.history";
const REPLIES: &str = "conversations.replies";

/// Where calls are further apart than this, only the most useful ones are made.
const SLOW: Duration = Duration::from_secs(10);

/// Reads Slack's history at the pace that Slack allows; 429 is obeyed, and errors that may pass are retried.
#[derive(Clone, Debug)]
pub struct History {
    api: WebApi,
    pacer: Pacer,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The token may not read it: a scope is missing, or the bot is not in the conversation. The next attempt would
    /// fail as well.
    #[error("{0}")]
    NotPossible(ApiError),
    /// Slack can't be reached, or not with this token.
    #[error("{0}")]
    Failed(ApiError),
}

/// The conversations that the token's user is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedConversations {
    /// Their ids and kinds.
    pub conversations: Vec<(String, ConversationKind)>,
    /// The kinds that can't be listed, each with its error.
    pub not_listed: Vec<(&'static str, ApiError)>,
}

/// A span of time in a conversation whose messages are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The conversation's id.
    pub channel: &'a str,
    /// The last message that is known.
    pub after: Ts,
    /// The first message that is known again, if there is one.
    pub until: Option<Ts>,
    /// Threads that began from here on are looked through for replies that came within the gap; `None`: only those that
    /// began within it are. It costs more calls.
    pub threads_since: Option<Ts>,
    /// So many messages are read at most, and as many again are searched for threads.
    pub at_most: usize,
}

/// The messages of a gap.
#[derive(Clone, Debug, Default)]
pub struct GapMessages {
    /// The messages as RTM would have sent them, oldest first.
    pub messages: Vec<Event>,
    /// Whether these are all. If not, `at_most` was too small.
    pub is_whole: bool,
}

#[derive(Deserialize)]
struct Metadata {
    next_cursor: Option<String>,
}

/// Messages are not read into trees: each is an event of its own.
#[derive(Deserialize)]
struct Messages {
    messages: Vec<Box<RawValue>>,
    response_metadata: Option<Metadata>,
}

impl Messages {
    /// Gives `each` the messages among the first `most` entries of a page; returns the number of these entries, and the
    /// next page's cursor. An entry that is not a message, or has no timestamp, is left out.
    fn read(self, most: usize, each: &mut impl FnMut(Event, Ts)) -> (usize, Option<String>) {
        let mut read = 0;
        for raw in self.messages.into_iter().take(most) {
            read += 1;
            if let Ok(message) = Event::parse(raw.get().to_owned())
                && message.text("/type").is_none_or(|it| it == "message")
                && let Some(ts) = ts_of(&message, "/ts")
            {
                each(message, ts);
            }
        }
        let cursor = self.response_metadata.and_then(|it| it.next_cursor);
        (read, cursor)
    }
}

/// The messages of a gap that were found so far.
struct GapSearch<'a> {
    gap: &'a Gap<'a>,
    said: ByTime,
    /// Threads in which something may have been said within the gap, by their first messages.
    threads: BTreeSet<Ts>,
}

impl<'a> GapSearch<'a> {
    fn new(gap: &'a Gap<'a>) -> Self {
        Self {
            gap,
            said: ByTime::new(),
            threads: BTreeSet::new(),
        }
    }

    /// Takes in a message of the conversation's history.
    fn message(&mut self, message: Event, ts: Ts) {
        if begins_thread(&message, ts, self.gap) {
            self.threads.insert(ts);
        }
        self.reply(message, ts);
    }

    /// Takes in a message of a thread.
    fn reply(&mut self, message: Event, ts: Ts) {
        if self.gap.has(ts) {
            self.said.insert(ts, message);
        }
    }

    /// All of them as RTM would have sent them, oldest first.
    fn messages(self) -> Vec<Event> {
        let said = self.said.into_values();
        said.filter_map(|message| as_sent(message, self.gap.channel))
            .collect()
    }
}

/// A page that was read: whether there is another one, and if so how many messages this one had; an empty one counts
/// too.
enum Page {
    Last,
    More(usize),
}

/// Messages by their time; each is there once, though a reply that was sent to all stands in two lists.
type ByTime = BTreeMap<Ts, Event>;

impl History {
    /// A reader with this token and pace.
    pub fn new(api: WebApi, pacer: Pacer) -> Self {
        History { api, pacer }
    }

    /// Slack's time, as [`WebApi::slack_time`] knows it.
    pub fn slack_time(&self) -> Option<Ts> {
        self.api.slack_time()
    }

    /// How long one call has to wait for the one before, where Slack limits this app: see [`Pacer::history_every`].
    pub fn every(&self) -> Option<Duration> {
        self.pacer.history_every()
    }

    /// Lists the conversations of these `kinds` that the token's user is in, without archived ones.
    ///
    /// # Errors
    /// A [`HistoryError`]; kinds that can't be listed while others can are in [`JoinedConversations::not_listed`].
    pub async fn joined(
        &self,
        kinds: &[ConversationKind],
    ) -> Result<JoinedConversations, HistoryError> {
        let mut joined = JoinedConversations::default();
        match self.list(kinds, &mut joined.conversations).await {
            Ok(()) => return Ok(joined),
            Err(HistoryError::NotPossible(_)) => joined.conversations.clear(),
            Err(error) => return Err(error),
        }
        // One missing scope hides all kinds, so that each is asked for by itself.
        for kind in kinds {
            match self.list(&[*kind], &mut joined.conversations).await {
                Ok(()) => {}
                Err(HistoryError::NotPossible(error)) => {
                    joined.not_listed.push((name_of(*kind), error));
                }
                Err(error) => return Err(error),
            }
        }
        match joined.not_listed.last() {
            Some((_, error)) if joined.not_listed.len() == kinds.len() => {
                Err(HistoryError::NotPossible(error.clone()))
            }
            _ => Ok(joined),
        }
    }

    /// Reads the messages of a gap.
    ///
    /// # Errors
    /// A [`HistoryError`]; the messages that were read before it are lost.
    pub async fn fill(&self, gap: &Gap<'_>) -> Result<GapMessages, HistoryError> {
        let mut found = GapSearch::new(gap);
        let mut args = arguments(gap.channel, gap.after);
        if let Some(until) = gap.until {
            args.insert("latest".into(), until.to_string().into());
        }
        let mut is_whole = self
            .pages(HISTORY, args, gap.at_most, |message, ts| {
                found.message(message, ts);
            })
            .await?;
        if let Some(since) = gap.threads_since
            && since < gap.after
        {
            let mut args = arguments(gap.channel, since);
            args.insert("latest".into(), gap.after.to_string().into());
            args.insert("inclusive".into(), true.into());
            let mut left = gap.at_most;
            // Where Slack limits the calls, they are spent on the messages of the gap itself.
            while left > 0 && !self.is_slow() {
                let mut looked = |message: Event, ts: Ts| found.message(message, ts);
                match self.page(HISTORY, &mut args, left, &mut looked).await? {
                    Page::Last => break,
                    Page::More(read) => left = left.saturating_sub(read),
                }
            }
            is_whole &= left > 0;
        }
        for thread in std::mem::take(&mut found.threads) {
            let mut args = arguments(gap.channel, gap.after);
            args.insert("ts".into(), thread.to_string().into());
            if let Some(until) = gap.until {
                args.insert("latest".into(), until.to_string().into());
            }
            let left = gap.at_most.saturating_sub(found.said.len());
            // The thread's first message leads its first page, wherever the gap is.
            is_whole &= self
                .pages(REPLIES, args, left.saturating_add(1), |message, ts| {
                    if ts != thread {
                        found.reply(message, ts);
                    }
                })
                .await?;
        }
        let messages = found.messages();
        Ok(GapMessages { messages, is_whole })
    }

    async fn list(
        &self,
        kinds: &[ConversationKind],
        found: &mut Vec<(String, ConversationKind)>,
    ) -> Result<(), HistoryError> {
        let types: Vec<&str> = kinds.iter().map(|kind| name_of(*kind)).collect();
        let args = Map::from_iter([
            ("types".to_owned(), Value::from(types.join(","))),
            ("exclude_archived".to_owned(), true.into()),
            ("limit".to_owned(), PAGE.into()),
        ]);
        let page = |page: Vec<Value>| found.extend(page.iter().filter_map(conversation));
        reading::list(&self.api, &self.pacer, CONVERSATIONS, args, page, |_| {}).await?;
        Ok(())
    }

    /// Reads messages page by page, `at_most` so many; true when these were all. Entries that are not messages are left
    /// out.
    async fn pages(
        &self,
        method: &str,
        mut args: Map<String, Value>,
        at_most: usize,
        mut each: impl FnMut(Event, Ts),
    ) -> Result<bool, HistoryError> {
        let mut left = at_most;
        while left > 0 {
            match self.page(method, &mut args, left, &mut each).await? {
                Page::Last => return Ok(true),
                Page::More(read) => left = left.saturating_sub(read),
            }
        }
        Ok(false)
    }

    /// Reads one page, of at most `most` messages, and turns to the next.
    async fn page(
        &self,
        method: &str,
        args: &mut Map<String, Value>,
        most: usize,
        each: &mut impl FnMut(Event, Ts),
    ) -> Result<Page, HistoryError> {
        args.insert("limit".into(), PAGE.min(most).into());
        let page: Messages = reading::read(&self.api, &self.pacer, method, args, |_| {}).await?;
        let (read, cursor) = page.read(most, each);
        Ok(match reading::turn_page(method, args, cursor)? {
            true => Page::More(read.max(1)),
            false => Page::Last,
        })
    }

    /// Whether Slack allows this app so few calls that only the most useful ones are made.
    fn is_slow(&self) -> bool {
        self.every().is_some_and(|every| every >= SLOW)
    }
}

impl Gap<'_> {
    fn has(&self, ts: Ts) -> bool {
        ts > self.after && self.until.is_none_or(|until| ts < until)
    }
}

/// The name of a kind of conversations in `users.conversations`.
fn name_of(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Channel => "public_channel",
        ConversationKind::Private => "private_channel",
        ConversationKind::Im => "im",
        ConversationKind::Mpim => "mpim",
    }
}

/// The id and kind of a conversation in a list.
fn conversation(listed: &Value) -> Option<(String, ConversationKind)> {
    let id = listed["id"].as_str().filter(|id| !id.is_empty())?;
    let is = |key: &str| listed[key] == true;
    let kind = if is("is_im") || id.starts_with('D') {
        ConversationKind::Im
    } else if is("is_mpim") {
        ConversationKind::Mpim
    } else if is("is_private") || is("is_group") {
        ConversationKind::Private
    } else {
        ConversationKind::Channel
    };
    Some((id.to_owned(), kind))
}

/// Whether a message began a thread in which a reply may have come within the gap.
fn begins_thread(message: &Event, ts: Ts, gap: &Gap<'_>) -> bool {
    let has_replies = message
        .get("/reply_count")
        .and_then(|count| count.as_i64())
        .is_some_and(|count| count > 0);
    let is_first = ts_of(message, "/thread_ts") == Some(ts);
    // Where Slack does not say when the last reply came, it may have.
    let is_late = ts_of(message, "/latest_reply").is_none_or(|latest| latest > gap.after);
    has_replies && is_first && is_late
}

/// A message of a history as RTM would have sent it: there the conversation is in it.
fn as_sent(mut message: Event, channel: &str) -> Option<Event> {
    let ts = message.text("/ts")?.into_owned();
    message.set("/type", "message").ok()?;
    message.set("/channel", channel).ok()?;
    message.set("/event_ts", ts).ok()?;
    let mut text = Vec::new();
    message.write_json(&mut text);
    Event::parse(text).ok()
}

/// The timestamp that is the text at `pointer`.
fn ts_of(message: &Event, pointer: &str) -> Option<Ts> {
    Ts::parse(&message.text(pointer)?)
}

fn arguments(channel: &str, after: Ts) -> Map<String, Value> {
    Map::from_iter([
        ("channel".to_owned(), channel.into()),
        ("oldest".to_owned(), after.to_string().into()),
    ])
}

impl From<ApiError> for HistoryError {
    fn from(error: ApiError) -> Self {
        match error.class() {
            Class::Permanent | Class::AlreadyDone => HistoryError::NotPossible(error),
            Class::Fatal
            | Class::Refresh
            | Class::RateLimited { .. }
            | Class::Retry
            | Class::Ambiguous => HistoryError::Failed(error),
        }
    }
}

/// For the fuzz targets: the messages of a gap in an answer of `conversations.history`, and the threads that it names.
pub(crate) fn fuzzed_messages(page: &[u8], gap: &Gap<'_>) -> Option<(Vec<Event>, Vec<Ts>)> {
    let page: Messages = serde_json::from_slice(page).ok()?;
    let mut found = GapSearch::new(gap);
    page.read(gap.at_most, &mut |message, ts| found.message(message, ts));
    let threads = std::mem::take(&mut found.threads).into_iter();
    Some((found.messages(), threads.collect()))
}

/// For the fuzz targets: the conversations that an answer of `users.conversations` lists.
pub(crate) fn fuzzed_conversations(page: &[u8]) -> Option<Vec<(String, ConversationKind)>> {
    let (entries, _) = reading::entries::<Value>(page)?;
    Some(entries.iter().filter_map(conversation).collect())
}

#[cfg(test)]
mod tests;
