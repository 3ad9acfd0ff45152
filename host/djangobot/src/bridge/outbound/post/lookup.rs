//! The lookup of a post in Slack's history, which shows whether a doubtful call had its effect before it is made again.

use std::time::{Duration, Instant};

use djangobot_plugins::Roster as _;
use djangobot_slack::{Class, Ts};
use serde_json::{Map, Value};

use crate::bridge::outbound::post::call::{Call, CallTime, LowerBound, MARGIN, MARK, Record};
use crate::bridge::outbound::post::caller::Caller;
use crate::bridge::outbound::post::likeness::{Likeness, compare};
use crate::bridge::outbound::post::patience::Patience;
use crate::bridge::outbound::post::send_error::{SendError, refused};
use crate::bridge::outbound::post::snapshots::{Extent, Place, Snapshot};
use crate::bridge::reply::SendFailure;

/// Slack recommends no more messages to a page.
const PAGE: u64 = 200;
/// The most pages that are read. In a conversation with more messages since the call, the lookup gives up.
const PAGES: usize = 50;
/// The most pages that are read if the time of the call is not known, since the whole history would be meant then.
const PAGES_WITHOUT_TIME: usize = 5;
/// How long a lookup may wait for its turns in all, since its conversation waits for it. One turn of an app that may
/// read history once a minute is within it.
const TURNS: Duration = Duration::from_secs(75);
/// How long a lookup may take if the message's own time is over: its last call may have had its effect.
const LAST: Duration = Duration::from_secs(60);

/// The error if Slack's limit lets no lookup be made in time.
const HISTORY_LIMITED: &str = "history_limited";

/// The bounds of a lookup in time.
struct Bounds {
    /// How much longer it may wait for its turns.
    turns: Duration,
    /// The moment after which no page is read.
    until: Instant,
}

/// The error of a lookup that did not find out whether the post is there.
pub(super) enum LookupError {
    /// Slack does not let us read the history, or it has too many messages.
    Impossible(SendFailure),
    /// A stop came, or Slack refuses all calls.
    Ended(SendError),
}

impl From<SendError> for LookupError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Failed(refusal) => Self::Impossible(refusal),
            SendError::Stopped | SendError::Barred(_) => Self::Ended(error),
        }
    }
}

impl Caller {
    /// Looks for the message that `call` posted at `time`, if it did. `None` says that it surely is not there.
    ///
    /// # Errors
    ///
    /// Fails if that can't be found out.
    pub(super) async fn look_up(
        &self,
        call: &Call,
        record: &Record,
        time: CallTime,
        patience: &mut Patience,
    ) -> Result<Option<Value>, LookupError> {
        let place = Place {
            channel: call.channel.clone().unwrap_or_default(),
            thread: call.thread().map(str::to_owned),
        };
        let since = time.since.in_slack_time(self.api.slack_time());
        if let Some(snapshot) = self.snapshots.get(&place, since, &time) {
            if let Some(found) = self.find_posted(call, record, &snapshot.messages).await {
                return Ok(Some(found.clone()));
            }
            match &snapshot.extent {
                Extent::Whole => return Ok(None),
                Extent::Cut(failure) => return Err(LookupError::Impossible(failure.clone())),
                Extent::Part => {}
            }
        }
        // A message without a note of its call may be one of many that are in doubt since a crash. The reading then
        // serves all of the conversation, and if it is not whole, any of them may be posted twice.
        let is_shared = matches!(time.since, LowerBound::Accepted(_));
        let mut bounds = Bounds {
            turns: match is_shared {
                true => patience.rest().max(TURNS),
                false => TURNS,
            },
            until: Instant::now() + patience.rest().max(LAST),
        };
        // A reading that begins before this moment could miss the post, and where Slack lets an app read a history once
        // a minute, it would be the only one.
        self.wait(tokio::time::sleep_until(time.is_seen_from().into()))
            .await?;
        let mut snapshot = Snapshot {
            // A little further back, so that the reading serves messages that came a little earlier, too.
            since: since.saturating_sub(MARGIN),
            began: Instant::now(),
            messages: Vec::new(),
            extent: Extent::Part,
        };
        let read = self.read(call, record, &place, &mut snapshot, &mut bounds, patience);
        let found = read.await;
        if is_shared {
            self.snapshots.put(place, snapshot);
        }
        found
    }

    /// Reads the history into `snapshot` until the post is found.
    async fn read(
        &self,
        call: &Call,
        record: &Record,
        place: &Place,
        snapshot: &mut Snapshot,
        bounds: &mut Bounds,
        patience: &mut Patience,
    ) -> Result<Option<Value>, LookupError> {
        let mut arguments = Map::from_iter([
            ("channel".to_owned(), Value::from(&*place.channel)),
            ("limit".to_owned(), PAGE.into()),
            ("include_all_metadata".to_owned(), true.into()),
        ]);
        let pages = if snapshot.since > Ts::default() {
            arguments.insert("oldest".into(), snapshot.since.to_string().into());
            PAGES
        } else {
            PAGES_WITHOUT_TIME
        };
        if let Some(thread) = &place.thread {
            arguments.insert("ts".into(), thread.as_str().into());
        }
        let method = place.method();
        for _ in 0..pages {
            let page = match self.page(method, &arguments, bounds, patience).await {
                Ok(page) => page,
                // There is no such thread, so the post is not in it.
                Err(LookupError::Impossible(refusal)) if refusal.error == "thread_not_found" => {
                    snapshot.extent = Extent::Whole;
                    return Ok(None);
                }
                Err(error) => {
                    // One message has waited for its turns. Those behind it need not.
                    if let LookupError::Impossible(failure) = &error
                        && failure.error == HISTORY_LIMITED
                    {
                        snapshot.extent = Extent::Cut(failure.clone());
                    }
                    return Err(error);
                }
            };
            let messages = page["messages"].as_array().map_or(&[][..], Vec::as_slice);
            let found = self.find_posted(call, record, messages).await;
            snapshot
                .messages
                .extend(messages.iter().filter(|it| self.may_be_ours(it)).cloned());
            let cursor = page.pointer("/response_metadata/next_cursor");
            let cursor = cursor.and_then(Value::as_str).filter(|it| !it.is_empty());
            if cursor.is_none() {
                snapshot.extent = Extent::Whole;
            }
            match cursor {
                Some(cursor) if found.is_none() => {
                    arguments.insert("cursor".into(), cursor.into());
                }
                _ => return Ok(found.cloned()),
            }
        }
        let detail = format!("Slack's {method} has more messages since then than are looked at.");
        let failure = SendFailure::new("too_much_history", detail);
        snapshot.extent = Extent::Cut(failure.clone());
        Err(LookupError::Impossible(failure))
    }

    /// The first of `messages` that `call` posted.
    async fn find_posted<'a>(
        &self,
        call: &Call,
        record: &Record,
        messages: &'a [Value],
    ) -> Option<&'a Value> {
        let key = record.key.to_string();
        for message in messages {
            let is_it = match compare(call, &key, message) {
                Likeness::Same => true,
                Likeness::Alike => {
                    let ts = message["ts"].as_str().unwrap_or_default();
                    // A disk that can't be read knows of none.
                    self.is_ours(message) && !record.outbox.is_known(ts).await.unwrap_or(false)
                }
                Likeness::Other => false,
            };
            if is_it {
                return Some(message);
            }
        }
        None
    }

    /// Whether the bot wrote it.
    fn is_ours(&self, message: &Value) -> bool {
        self.team.me().is_some_and(|me| {
            let is_bot = |bot: &String| message["bot_id"] == *bot;
            message["user"] == me.user_id || me.bot_id.as_ref().is_some_and(is_bot)
        })
    }

    /// Whether a call may have posted it. All others are of no use to any lookup.
    fn may_be_ours(&self, message: &Value) -> bool {
        let is_marked = message["metadata"]["event_type"] == MARK;
        // As long as we do not know who we are, everybody's may be ours.
        let is_unknown = self.team.me().is_none();
        is_marked || is_unknown || message["files"].is_array() || self.is_ours(message)
    }

    /// Reads one page within `bounds`. Failures that may pass are tried again for the rest of the message's time.
    async fn page(
        &self,
        method: &str,
        arguments: &Map<String, Value>,
        bounds: &mut Bounds,
        patience: &mut Patience,
    ) -> Result<Value, LookupError> {
        loop {
            if self.pacer.wait(method, None) > bounds.turns {
                return Err(LookupError::Impossible(self.limited_history(method)));
            }
            // Pages that come slowly are not failures, so that nothing else would end them.
            if Instant::now() > bounds.until {
                return Err(patience.timed_out().into());
            }
            let waits = Instant::now();
            self.wait_for_turn(method, None, patience).await?;
            bounds.turns = bounds.turns.saturating_sub(waits.elapsed());
            let token_version = self.api.token_version();
            let error = match self.api.call(method, arguments).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            match error.class() {
                Class::RateLimited { retry_after } => {
                    self.note_rate_limit(method, None, retry_after);
                    self.pause(&error, patience).await?;
                }
                Class::Retry | Class::Ambiguous => self.pause(&error, patience).await?,
                Class::Fatal | Class::Refresh => {
                    self.renew(&error, token_version, patience).await?
                }
                Class::Permanent | Class::AlreadyDone => {
                    return Err(LookupError::Impossible(refused(&error)));
                }
            }
        }
    }

    /// The failure of a lookup for which the conversation would have to wait too long, because of Slack's rate limit.
    fn limited_history(&self, method: &str) -> SendFailure {
        let rule = match self.pacer.history_every() {
            Some(every) => format!(
                ": about one call each {} s, as for apps that are distributed outside of its Marketplace",
                every.as_secs()
            ),
            None => String::new(),
        };
        SendFailure::new(
            HISTORY_LIMITED,
            format!("Slack limits this app's calls of {method}{rule}."),
        )
    }
}
