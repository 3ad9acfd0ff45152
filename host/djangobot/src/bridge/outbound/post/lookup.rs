//! The lookup of a post in Slack's history, which shows whether a doubtful call had its effect before it is made again.

use std::time::{Duration, Instant};

use djangobot_plugins::Roster as _;
use djangobot_slack::{Class, Ts};
use serde_json::{Map, Value};

use super::call::{Call, CallTime, LowerBound, MARGIN, MARK, Record};
use super::caller::Caller;
use super::patience::Patience;
use super::send_error::{SendError, refused};
use super::snapshots::{Extent, Place, Snapshot};
use crate::bridge::outbound::files::SHARE;
use crate::bridge::reply::SendFailure;

/// Slack recommends no more messages to a page.
const PAGE: u64 = 200;
/// The most pages that are read. In a conversation with more messages since the call, the lookup gives up.
const PAGES: usize = 50;
/// The most pages that are read if the time of the call is not known.
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
    /// Looks for the message that `call` posted at `time`, if it did; `None`: it surely is not there.
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
            if let Some(found) = self.first_that_is(call, record, &snapshot.messages).await {
                return Ok(Some(found.clone()));
            }
            match &snapshot.extent {
                Extent::Whole => return Ok(None),
                Extent::Cut(failure) => return Err(LookupError::Impossible(failure.clone())),
                Extent::Part => {}
            }
        }
        // A message without a note of its call may be one of many that are in doubt since a crash. The reading then serves
        // all of the conversation, and if it is not whole, any of them may be posted twice.
        let is_shared = matches!(time.since, LowerBound::Accepted(_));
        let mut bounds = Bounds {
            turns: match is_shared {
                true => patience.rest().max(TURNS),
                false => TURNS,
            },
            until: Instant::now() + patience.rest().max(LAST),
        };
        // A look before that could miss the post, and where Slack lets an app read a history once a minute, it would be
        // the only one.
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
            let found = self.first_that_is(call, record, messages).await;
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
    async fn first_that_is<'a>(
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
            let seen = self.api.token_version();
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
                Class::Fatal | Class::Refresh => self.renew(&error, seen, patience).await?,
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

/// The likeness of a message of the history to the one that was to be posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// It has the same mark, or the same files.
    Same,
    /// It has the same text, and no mark.
    Alike,
    Other,
}

fn compare(call: &Call, key: &str, message: &Value) -> Likeness {
    if call.method.name == SHARE {
        let shown = message["files"].as_array().into_iter().flatten();
        let mut shown = shown.filter_map(|file| file["id"].as_str());
        return match shown.any(|id| call.files.iter().any(|it| it == id)) {
            true => Likeness::Same,
            false => Likeness::Other,
        };
    }
    let metadata = &message["metadata"];
    if metadata["event_type"] == MARK {
        return match call.is_marked() && metadata["event_payload"]["id"] == key {
            true => Likeness::Same,
            false => Likeness::Other,
        };
    }
    if call.is_marked() {
        return Likeness::Other;
    }
    let own = call.arguments.get("metadata").unwrap_or(&Value::Null);
    // Slack shows metadata only to some, so that a message without any may have been posted with it.
    let may_be_ours = metadata.is_null() || metadata == own;
    match may_be_ours
        && visible_text(&Value::Object(call.arguments.clone())) == visible_text(message)
    {
        true => Likeness::Alike,
        false => Likeness::Other,
    }
}

/// The text that people see of a message: its `text`, or the texts in its blocks and attachments if it has none.
fn visible_text(message: &Value) -> String {
    for key in ["text", "markdown_text"] {
        if let Some(text) = message[key].as_str()
            && !text.trim().is_empty()
        {
            return normalize(text);
        }
    }
    let mut texts = Vec::new();
    gather_texts(&message["blocks"], &mut texts);
    gather_texts(&message["attachments"], &mut texts);
    texts.join("\n")
}

fn gather_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather_texts(item, texts)),
        Value::Object(fields) => {
            for key in ["title", "text", "fields", "elements", "alt_text"] {
                match fields.get(key) {
                    Some(Value::String(text)) => texts.push(normalize(text)),
                    Some(inner) => gather_texts(inner, texts),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// A text without all that Slack writes in another way than it was sent: entities, brackets around links, emoji,
/// spaces.
fn normalize(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let mut words = String::new();
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        let name = |rest: &str| {
            let inner = rest.strip_prefix(':')?;
            let (name, _) = inner.split_once(':')?;
            let is_name =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_+-'".contains(c);
            (!name.is_empty() && name.chars().all(is_name)).then_some(name.len() + 2)
        };
        if let Some(length) = name(rest) {
            rest = &rest[length..];
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '<' | '>' => {}
            // A link's label stands behind its address.
            '|' => {}
            _ if next.is_whitespace() || is_sign(next) => words.push(' '),
            _ => words.push(next),
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `c` may be (a part of) an emoji.
fn is_sign(c: char) -> bool {
    matches!(c as u32, 0x200D | 0x2049..=0x2BFF | 0x3030 | 0x303D | 0x3297 | 0x3299 | 0xFE0F | 0x1F000..=0x1FAFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use djangobot_slack::method;
    use serde_json::json;

    fn call(arguments: Value, key: Option<&str>) -> Call {
        let Value::Object(mut arguments) = arguments else {
            panic!("arguments are an object")
        };
        if let Some(key) = key {
            let mark = json!({"event_type": MARK, "event_payload": {"id": key}});
            arguments.insert("metadata".into(), mark);
        }
        let method = method::get("chat.postMessage").unwrap();
        Call::new(method, Some(("channel", "C1".into())), arguments)
    }

    #[test]
    fn a_marked_post_is_known_by_its_mark_alone() {
        let call = call(json!({"text": "hi"}), Some("k1"));
        let marked = |id: &str, text: &str| json!({"text": text, "metadata": {"event_type": MARK, "event_payload": {"id": id}}});
        assert_eq!(
            compare(&call, "k1", &marked("k1", "edited since")),
            Likeness::Same
        );
        assert_eq!(compare(&call, "k1", &marked("k2", "hi")), Likeness::Other);
        assert_eq!(
            compare(&call, "k1", &json!({"text": "hi"})),
            Likeness::Other
        );
    }

    #[test]
    fn shared_files_are_known_by_the_ids_that_slack_gave_them() {
        let method = method::get(SHARE).unwrap();
        let mut call = Call::new(method, Some(("channel_id", "C1".into())), Map::new());
        call.set_files(vec![json!({"id": "F1", "title": "a"})]);
        let check = |message: Value, expect| assert_eq!(compare(&call, "k", &message), expect);
        check(json!({"text": "", "files": [{"id": "F1"}]}), Likeness::Same);
        check(
            json!({"text": "", "files": [{"id": "F2"}]}),
            Likeness::Other,
        );
        check(json!({"text": ""}), Likeness::Other);
    }

    #[test]
    fn a_post_with_metadata_of_the_app_is_known_by_its_text() {
        let own = json!({"event_type": "task", "event_payload": {"n": 1}});
        let check = |sent: Value, message: Value, expect: Likeness| {
            let mut sent = sent;
            sent["metadata"] = own.clone();
            assert_eq!(
                compare(&call(sent.clone(), None), "k", &message),
                expect,
                "{sent} {message}"
            );
        };
        let (alike, other) = (Likeness::Alike, Likeness::Other);
        check(json!({"text": "hi"}), json!({"text": "hi"}), alike);
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": own}),
            alike,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "ho", "metadata": own}),
            other,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": {"event_type": "task", "event_payload": {"n": 2}}}),
            other,
        );
        check(
            json!({"text": "hi"}),
            json!({"text": "hi", "metadata": {"event_type": MARK, "event_payload": {"id": "k"}}}),
            other,
        );
        check(
            json!({"text": "a < b & see https://example.com 🚀 now"}),
            json!({"text": "a &lt; b &amp; see <https://example.com> :rocket: now"}),
            alike,
        );
        let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "*hi*"}}]);
        let mut kept = blocks.clone();
        kept[0]["block_id"] = "b1".into();
        check(
            json!({"blocks": blocks}),
            json!({"text": "", "blocks": kept}),
            alike,
        );
        check(
            json!({"blocks": blocks}),
            json!({"blocks": [{"type": "section", "text": {"text": "*ho*"}}]}),
            other,
        );
    }
}
