//! Answers of an app: those that it posts to a response URL, and those in its acknowledgements.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::delivery::AppAnswer;
use crate::http::{Payload, json as json_response, plain};
use crate::state::response_urls::Place;
use crate::state::ts::Ts;
use crate::state::workspace::{Audience, Event, Post};

/// The name under which uses of a response URL stand in the journal of calls.
const METHOD: &str = "response_url";

/// Takes an answer that came in an acknowledgement.
pub(crate) fn take(core: &Core, answer: &AppAnswer) {
    if let Some(place) = core.response_urls.place(&answer.response_url) {
        respond(core, place, &answer.response);
    }
}

/// Answers a request to a response URL.
pub(crate) fn answer(core: &Core, id: &str, body: &Bytes) -> Response<Payload> {
    let read = serde_json::from_slice::<Value>(body);
    let number = core.journal.called(
        METHOD,
        json!({"id": id, "body": read.as_ref().ok().unwrap_or(&Value::Null)}),
    );
    let (status, answer) = match (read, core.response_urls.spend(id)) {
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

/// Carries out an answer: a message for one person or for all, or a change of the message that was clicked.
fn respond(core: &Core, place: Place, response: &Value) {
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
