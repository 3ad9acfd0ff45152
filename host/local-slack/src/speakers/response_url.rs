//! Response URLs: where an app answers a command or an interaction later, five times within half an hour.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::lock;
use crate::server::{Payload, json as json_response, plain};
use crate::state::workspace::{Audience, Event, Post, Ts};

const USES: u32 = 5;
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// The name under which uses stand among the calls.
const METHOD: &str = "response_url";

/// By the last part of their path.
pub(crate) type ResponseUrls = HashMap<String, ResponseUrl>;

#[derive(Debug)]
pub(crate) struct ResponseUrl {
    place: Place,
    uses_left: u32,
    until: Instant,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) user: usize,
    pub(crate) conversation: usize,
    /// The message that the interaction came from.
    pub(crate) message: Option<Ts>,
}

/// Makes one; the last part of its path.
pub(crate) fn make(core: &Core, place: Place) -> String {
    let id = format!("{:032x}", rand::random::<u128>());
    let mut all = lock(&core.response_urls);
    let now = Instant::now();
    all.retain(|_, url| url.until > now);
    let url = ResponseUrl {
        place,
        uses_left: USES,
        until: now + LIFETIME,
    };
    all.insert(id.clone(), url);
    id
}

/// The whole URL.
pub(crate) fn address(core: &Core, id: &str) -> String {
    core.url("http", &format!("/response/{id}"))
}

/// Where answers to this one go.
pub(crate) fn place(core: &Core, id: &str) -> Option<Place> {
    lock(&core.response_urls).get(id).map(|url| url.place)
}

/// Answers a request to a response URL.
pub(crate) fn answer(core: &Core, id: &str, body: &Bytes) -> Response<Payload> {
    let read = serde_json::from_slice::<Value>(body);
    let number = core.journal.called(
        METHOD,
        json!({"id": id, "body": read.as_ref().ok().unwrap_or(&Value::Null)}),
    );
    let (status, answer) = match (read, spend(core, id)) {
        (_, Err(error)) => (StatusCode::NOT_FOUND, json!({"ok": false, "error": error})),
        (Ok(response @ Value::Object(_)), Ok(place)) => {
            respond(core, place, &response);
            (StatusCode::OK, json!("ok"))
        }
        (_, Ok(_)) => (
            StatusCode::BAD_REQUEST,
            json!({"ok": false, "error": "invalid_payload"}),
        ),
    };
    core.journal
        .answered(number, status.as_u16(), answer.clone());
    match answer.as_str() {
        Some(text) => plain(status, text),
        None => json_response(status, &answer),
    }
}

fn spend(core: &Core, id: &str) -> Result<Place, &'static str> {
    let mut all = lock(&core.response_urls);
    let url = all.get_mut(id).ok_or("invalid_url")?;
    if url.until <= Instant::now() {
        return Err("expired_url");
    }
    url.uses_left = url.uses_left.checked_sub(1).ok_or("used_url")?;
    Ok(url.place)
}

/// Does what an answer asks for: a message for one person or for all, or a change of the message that was clicked.
pub(crate) fn respond(core: &Core, place: Place, response: &Value) {
    let text = match response {
        // A command may be answered with plain text.
        Value::String(text) => text.clone(),
        _ => response["text"].as_str().unwrap_or_default().to_owned(),
    };
    let mut extra = Map::new();
    for key in ["blocks", "attachments", "metadata"] {
        if let Some(value) = response.get(key) {
            extra.insert(key.to_owned(), value.clone());
        }
    }
    let asks = |key: &str| response[key] == true || response[key] == "true";
    core.change(|workspace| {
        let bot = workspace.bot;
        if let Some(ts) = place.message {
            if asks("delete_original") {
                // A message that is gone already needs no deleting.
                workspace.delete(bot, place.conversation, ts).ok();
                return;
            }
            if asks("replace_original") {
                extra.insert("text".to_owned(), json!(text));
                workspace.update(bot, place.conversation, ts, extra).ok();
                return;
            }
        }
        if text.is_empty() && extra.is_empty() {
            return;
        }
        let post = Post {
            user: bot,
            conversation: place.conversation,
            text,
            thread: response["thread_ts"].as_str().and_then(Ts::parse),
            extra,
            ..Post::default()
        };
        if response["response_type"] == "in_channel" {
            workspace.post(post);
            return;
        }
        let ts = workspace.tick();
        let mut value = Value::Object(workspace.compose(&post, ts));
        value["channel"] = json!(workspace.conversations[place.conversation].id);
        value["is_ephemeral"] = json!(true);
        value["event_ts"] = json!(ts.to_string());
        workspace.events.push(Event {
            audience: Audience::User(place.user),
            value,
        });
    });
}
