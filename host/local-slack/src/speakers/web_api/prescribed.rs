//! Answers that a test prescribed, and the delays and cuts of answers.

use std::sync::Mutex;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::http::{HangUp, Payload, json as json_response, plain};
use crate::lock::lock;
use crate::state::access::{Access, Answer};

/// An answer, before the headers that all answers have.
pub(crate) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Value,
}

/// The answer that was prescribed for an operation that is not a method, if there is one.
pub(crate) async fn prescribed(
    access: &Mutex<Access>,
    what: &str,
) -> Result<Option<Response<Payload>>, HangUp> {
    let Some(answer) = lock(access).prescribed(what, "") else {
        return Ok(None);
    };
    held_back(&answer).await?;
    let replaced = answer.replaces();
    Ok(replaced.then(|| broken_off(response(&prescribed_reply(&answer)), Some(&answer))))
}

/// Holds an answer back for as long as is prescribed.
pub(crate) async fn held_back(answer: &Answer) -> Result<(), HangUp> {
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    if answer.hang_up { Err(HangUp) } else { Ok(()) }
}

pub(crate) fn response(reply: &Reply) -> Response<Payload> {
    let mut response = match &reply.body {
        Value::String(text) => plain(reply.status, text),
        body => json_response(reply.status, body),
    };
    if let Some(seconds) = reply.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Cuts the body short where that is prescribed; the length of the whole is announced all the same.
pub(crate) fn broken_off(
    response: Response<Payload>,
    prescribed: Option<&Answer>,
) -> Response<Payload> {
    if !prescribed.is_some_and(|answer| answer.truncate) {
        return response;
    }
    let length = response.body().len();
    let mut response = response.map(Payload::cut_short);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

pub(crate) fn prescribed_reply(answer: &Answer) -> Reply {
    let status = match (answer.status, answer.retry_after) {
        (0, Some(_)) => 429,
        (0, None) => 200,
        (status, _) => status,
    };
    let error = answer.error.as_deref().unwrap_or(match status {
        429 => "ratelimited",
        503 => "service_unavailable",
        _ => "internal_error",
    });
    Reply {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        retry_after: answer.retry_after,
        body: match &answer.body {
            Some(body) => body.clone(),
            None => json!({"ok": false, "error": error}),
        },
    }
}
