//! Pages: opaque cursors that say where the next one begins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::speakers::web_api::arguments::Arguments;
use crate::speakers::web_api::refusal::Refusal;

/// The cursor that begins at `place`; `kind` keeps the cursors of different lists apart.
pub(super) fn encode(kind: &str, place: &str) -> String {
    STANDARD.encode(format!("{kind}:{place}"))
}

/// Where the page that was asked for begins; `None` for the first.
pub(super) fn decode(arguments: &Arguments, kind: &str) -> Result<Option<String>, Refusal> {
    let Some(cursor) = arguments.text("cursor")? else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text
        .as_deref()
        .and_then(|text| text.strip_prefix(kind)?.strip_prefix(':'));
    place
        .map(|place| Some(place.to_owned()))
        .ok_or_else(|| "invalid_cursor".into())
}

/// `response_metadata` with the cursor of the page after; an empty one says that there is none.
pub(super) fn metadata(next: Option<String>) -> Value {
    json!({"next_cursor": next.unwrap_or_default()})
}

/// How long the page is to be: between 1 and `most`, `default` where nothing is said.
pub(super) fn limit(arguments: &Arguments, default: usize, most: usize) -> Result<usize, Refusal> {
    match arguments.number("limit") {
        Ok(None | Some(0)) => Ok(default),
        Ok(Some(limit)) => match usize::try_from(limit) {
            Ok(limit) if limit <= most => Ok(limit),
            _ => Err("invalid_limit".into()),
        },
        Err(_) => Err("invalid_limit".into()),
    }
}
