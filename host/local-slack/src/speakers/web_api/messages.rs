//! `conversations.history` and `conversations.replies`.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::speakers::web_api::{conversations, cursor};
use crate::state::ts::Ts;
use crate::state::workspace::Message;

pub(super) const SCOPES: &[&str] = &[
    "channels:history",
    "groups:history",
    "im:history",
    "mpim:history",
];

/// Pages of messages are at most this long.
const LONGEST_PAGE: usize = 999;

/// The methods that apps outside of Slack's Marketplace may call once a minute, for so many messages
/// (<https://docs.slack.dev/apis/web-api/rate-limits/#rate-limits-for-non-marketplace-apps>).
pub(super) const LIMITED: [&str; 2] = ["conversations.history", "conversations.replies"];
const LIMITED_PAGE: usize = 15;

/// Which messages are asked for.
struct Range {
    oldest: Ts,
    latest: Ts,
    inclusive: bool,
    limit: usize,
    /// Where the page begins, by its cursor.
    from: Option<Ts>,
    with_metadata: bool,
}

impl Range {
    fn read(request: &Request<'_>, default: usize, most: usize) -> Result<Self, Refusal> {
        let arguments = request.arguments;
        let time = |key: &str, error: &'static str| -> Result<Option<Ts>, Refusal> {
            let text = arguments.text(key)?;
            text.map(|text| Ts::parse(&text).ok_or(Refusal::from(error)))
                .transpose()
        };
        Ok(Range {
            limit: match request.core.options.history_per_minute {
                Some(_) => cursor::limit(arguments, default, most)?.min(LIMITED_PAGE),
                None => cursor::limit(arguments, default, most)?,
            },
            latest: time("latest", "invalid_ts_latest")?.unwrap_or(Ts(u64::MAX)),
            oldest: time("oldest", "invalid_ts_oldest")?.unwrap_or_default(),
            inclusive: arguments.flag("inclusive"),
            from: match cursor::decode(arguments, "nts")? {
                Some(place) => Some(place.parse().map(Ts).map_err(|_| "invalid_cursor")?),
                None => None,
            },
            with_metadata: arguments.flag("include_all_metadata"),
        })
    }

    fn has(&self, ts: Ts) -> bool {
        let ends = [self.oldest, self.latest];
        self.oldest < ts && ts < self.latest || self.inclusive && ends.contains(&ts)
    }

    fn shown(&self, message: &Message) -> Value {
        let mut message = message.clone();
        if !self.with_metadata {
            message.remove("metadata");
        }
        Value::Object(message)
    }

    /// Takes a page of what is left; the cursor of the next one, where there is one.
    fn page<'a>(
        &self,
        mut rest: impl Iterator<Item = (&'a Ts, &'a Message)>,
    ) -> (Vec<Value>, Option<String>) {
        let page = rest.by_ref().take(self.limit);
        let page = page.map(|(_, message)| self.shown(message)).collect();
        let next = rest.next();
        (
            page,
            next.map(|(ts, _)| cursor::encode("nts", &ts.0.to_string())),
        )
    }
}

/// The answer with a page; Slack leaves the cursor out on the last page of messages.
fn answer(messages: Vec<Value>, next: Option<String>) -> Body {
    let mut body = fields([
        ("messages", Value::Array(messages)),
        ("has_more", json!(next.is_some())),
    ]);
    if next.is_some() {
        body.insert("response_metadata".to_owned(), cursor::metadata(next));
    }
    body
}

/// Whether a message stands in a thread that another one began.
fn is_reply(message: &Message) -> bool {
    message
        .get("thread_ts")
        .is_some_and(|thread| *thread != message["ts"])
}

/// The newest come first.
pub(super) fn history(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let range = Range::read(request, 100, LONGEST_PAGE)?;
    let workspace = lock(&request.core.workspace);
    let user = request.user(&workspace);
    let index = conversations::named(&workspace, request.arguments, user)?;
    let conversation = &workspace.conversations[index];
    if !conversation.has(user) {
        return Err("not_in_channel".into());
    }
    let newest_first = conversation.messages.iter().rev().filter(|(ts, message)| {
        let broadcast = message
            .get("subtype")
            .is_some_and(|kind| kind == "thread_broadcast");
        // Replies stand in their thread, unless they were sent to all.
        let shown = !is_reply(message) || broadcast;
        shown && range.has(**ts) && range.from.is_none_or(|from| **ts <= from)
    });
    let (messages, next) = range.page(newest_first);
    let mut body = answer(messages, next);
    body.insert("pin_count".to_owned(), json!(0));
    Ok(body)
}

/// A thread, the message that began it first; any message of it may be named.
pub(super) fn replies(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let range = Range::read(request, 1000, 1000)?;
    let ts = request.arguments.required("ts")?;
    let ts = Ts::parse(&ts).ok_or("thread_not_found")?;
    let workspace = lock(&request.core.workspace);
    let user = request.user(&workspace);
    let index = conversations::named(&workspace, request.arguments, user)?;
    let conversation = &workspace.conversations[index];
    if !conversation.has(user) {
        return Err("not_in_channel".into());
    }
    let messages = &conversation.messages;
    let named = messages.get(&ts).ok_or("thread_not_found")?;
    let parent = named.get("thread_ts").and_then(Value::as_str);
    let parent = parent.and_then(Ts::parse).unwrap_or(ts);
    let thread = json!(parent.to_string());
    let oldest_first = messages.range(parent..).filter(|(ts, message)| {
        // Whatever the range is, the parent leads the first page.
        let leads = **ts == parent && range.from.is_none();
        let replies = is_reply(message) && message["thread_ts"] == thread;
        let later = range.from.is_none_or(|from| **ts >= from);
        leads || replies && range.has(**ts) && later
    });
    let (messages, next) = range.page(oldest_first);
    Ok(answer(messages, next))
}
