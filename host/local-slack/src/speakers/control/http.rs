//! The control interface over HTTP, under `/control/`: JSON in, JSON out.
//!
//! | request | body or query | does |
//! |---|---|---|
//! | `POST emit` | one of `event`, `text`, `base64` (a text frame), `raw_base64` (no frame); `connection` | sends it |
//! | `POST burst` | `frames`, `bytes`, `channels`, `per_second` | sends generated messages, as [`Burst`] |
//! | `POST say` | `user`, `channel`, `text`, `thread_ts` | posts as a user |
//! | `POST channel`, `user` | `name`, `real_name` | adds a channel, a user; no event is sent |
//! | `POST rename` | `channel`, `name` | gives a channel another name; no event is sent |
//! | `POST deactivate` | `user` | switches an account off; no event is sent |
//! | `POST presence` | `user`, `active` | makes a user active or away |
//! | `POST drop`, `freeze`, `thaw` | `connection` | does so to one socket, or all |
//! | `POST goodbye` | `connection`, `close_after_ms` | says goodbye, and closes if a time is given |
//! | `POST answer` | `method` and the fields of [`Answer`] | prescribes the next answers of a method |
//! | `DELETE answers` | | takes prescribed answers back |
//! | `POST scopes`, `app_scopes` | `scopes` | sets what tokens, or app-level tokens, may do |
//! | `POST revoke` | `token`, `error` | lets a token fail from now on |
//! | `POST expire_tokens` | | lets tokens of `oauth.v2.access` expire now |
//! | `POST event` | `event` | delivers an event in Slack's wrapper |
//! | `POST envelope` | `type`, `payload`, `accepts_response_payload` | delivers any envelope |
//! | `POST slash` | `user`, `channel`, `command`, `text` | types a slash command |
//! | `POST interact` | `user`, `channel`, `payload` | clicks, submits, looks up: as [`Control::interact`] |
//! | `POST app_rate_limited` | | tells the app that it got too much |
//! | `POST traffic` | the fields of [`super::Traffic`] | sends numbered events; the answer is a [`super::Report`] |
//! | `POST disconnect` | `connection`, `reason` | says `disconnect` in Socket Mode, and closes |
//! | `POST slow` | `connection`, `bytes_per_second` | reads clients slowly; without a rate, fast again |
//! | `POST storm` | the fields of [`super::Storm`] | disconnects, cuts and silences at random |
//! | `POST fault` | the fields of [`crate::Fault`] | turns a fault in deliveries on |
//! | `GET faults`, `DELETE faults` | | lists them, turns them off |
//! | `POST events_url` | `url` | sets where HTTP requests go; without one, Socket Mode is used |
//! | `POST verify_url`, `ssl_check` | | asks the app as Slack does |
//! | `GET calls`, `frames`, `connections`, `deliveries` | `method`, `contains`, `wait` (a number), `timeout` (s) | lists, once there are so many |
//! | `DELETE calls`, `frames`, `deliveries` | | forgets them |
//!
//! Of calls and deliveries, only settled ones count for `wait`, and only they are listed then.
//! The error of a request is in `error`, with status 400 or 404, or 408 where the awaited events did not happen in
//! time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::core::Core;
use crate::delivery::Outcome;
use crate::http::{HttpRequest, Payload, json as json_response};
use crate::speakers::control::burst::Burst;
use crate::speakers::control::handle::Control;
use crate::speakers::control::sockets::Frame;
use crate::state::access::Answer;
use crate::state::connection::ConnectionId;

mod app;
mod operation;

use operation::{OperationError, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    connection: Option<ConnectionId>,
    /// An event, sent as JSON.
    event: Option<Value>,
    /// A text frame.
    text: Option<String>,
    /// A text frame of any bytes.
    base64: Option<String>,
    /// Bytes for the TCP connection.
    raw_base64: Option<String>,
}

/// Which socket is meant; all, where it does not say.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    connection: Option<ConnectionId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    user: String,
    channel: String,
    text: String,
    thread_ts: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Goodbye {
    connection: Option<ConnectionId>,
    close_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Prescribe {
    method: String,
    #[serde(flatten)]
    answer: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scopes {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    token: Option<String>,
    #[serde(default = "revoked")]
    error: String,
}

fn revoked() -> String {
    "token_revoked".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    #[serde(default)]
    real_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    channel: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deactivate {
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presence {
    user: String,
    active: bool,
}

/// The query string of a list.
#[derive(Default)]
struct Look {
    method: Option<String>,
    contains: Option<String>,
    /// Wait until there are so many.
    wait: usize,
    /// For so many seconds at most.
    timeout: f64,
}

pub(crate) async fn answer(
    core: &Arc<Core>,
    operation: &str,
    request: HttpRequest,
) -> Response<Payload> {
    let control = Control::new(core.clone());
    match operate(&control, operation, request).await {
        Ok(value) => json_response(StatusCode::OK, &value),
        Err(wrong) => {
            let status = match wrong {
                OperationError::Arguments { .. } => StatusCode::BAD_REQUEST,
                OperationError::Operation(..) | OperationError::Control(_) => StatusCode::NOT_FOUND,
                OperationError::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
            };
            json_response(status, &json!({"error": wrong.to_string()}))
        }
    }
}

async fn operate(
    control: &Control,
    operation: &str,
    request: HttpRequest,
) -> Result<Value, OperationError> {
    let method = request.head.method.clone();
    let body = &request.body;
    let done = json!({});
    match (&method, operation) {
        (&Method::POST, "emit") => emit(control, read(operation, body)?),
        (&Method::POST, "burst") => {
            let sent = control.burst(read::<Burst>(operation, body)?).await;
            Ok(json!(sent))
        }
        (&Method::POST, "say") => {
            let say: Say = read(operation, body)?;
            let ts = control.say_in_thread(
                &say.user,
                &say.channel,
                &say.text,
                say.thread_ts.as_deref(),
            )?;
            Ok(json!({ "ts": ts }))
        }
        (&Method::POST, "channel" | "user") => {
            let named: Named = read(operation, body)?;
            let id = match operation {
                "channel" => control.add_channel(&named.name),
                _ => control.add_user(&named.name, &named.real_name),
            };
            Ok(json!({ "id": id }))
        }
        (&Method::POST, "rename") => {
            let rename: Rename = read(operation, body)?;
            control.rename_channel(&rename.channel, &rename.name)?;
            Ok(done)
        }
        (&Method::POST, "deactivate") => {
            control.deactivate_user(&read::<Deactivate>(operation, body)?.user)?;
            Ok(done)
        }
        (&Method::POST, "presence") => {
            let presence: Presence = read(operation, body)?;
            control.set_presence(&presence.user, presence.active)?;
            Ok(done)
        }
        (&Method::POST, "drop" | "freeze" | "thaw") => {
            let which = read::<Which>(operation, body)?.connection;
            let count = match operation {
                "drop" => control.drop_connections(which),
                "freeze" => control.freeze(which),
                _ => control.thaw(which),
            };
            Ok(json!({ "connections": count }))
        }
        (&Method::POST, "goodbye") => {
            let goodbye: Goodbye = read(operation, body)?;
            let linger = goodbye.close_after_ms.map(Duration::from_millis);
            let count = control.goodbye(goodbye.connection, linger).await;
            Ok(json!({ "connections": count }))
        }
        (&Method::POST, "answer") => {
            let prescribe: Prescribe = read(operation, body)?;
            let wrong =
                |error: serde_json::Error| OperationError::arguments(operation, &error.to_string());
            let answer: Answer = serde_json::from_value(prescribe.answer).map_err(wrong)?;
            control.answer(&prescribe.method, answer);
            Ok(done)
        }
        (&Method::DELETE, "answers") => {
            control.clear_answers();
            Ok(done)
        }
        (&Method::POST, "scopes" | "app_scopes") => {
            let scopes: Scopes = read(operation, body)?;
            let scopes: Vec<&str> = scopes.scopes.iter().map(String::as_str).collect();
            match operation {
                "scopes" => control.set_scopes(&scopes),
                _ => control.set_app_scopes(&scopes),
            }
            Ok(done)
        }
        (&Method::POST, "revoke") => {
            let revoke: Revoke = read(operation, body)?;
            let token = revoke.token.as_deref().unwrap_or(&control.core.token);
            control.revoke(token, &revoke.error);
            Ok(done)
        }
        (&Method::GET, "calls" | "frames" | "connections" | "deliveries") => {
            list(control, operation, &request).await
        }
        (&Method::DELETE, "calls") => {
            control.clear_calls();
            Ok(done)
        }
        (&Method::DELETE, "frames") => {
            control.clear_frames();
            Ok(done)
        }
        _ => app::operate(control, &method, operation, body)
            .await?
            .ok_or_else(|| OperationError::Operation(method, operation.to_owned())),
    }
}

fn emit(control: &Control, emit: Emit) -> Result<Value, OperationError> {
    let wrong = |sentence: &str| OperationError::arguments("emit", sentence);
    let decode = |text: String| {
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| wrong("that is not base64"))
    };
    let frame = match (emit.event, emit.text, emit.base64, emit.raw_base64) {
        (Some(event), None, None, None) => Frame::Text(Bytes::from(event.to_string())),
        (None, Some(text), None, None) => Frame::Text(Bytes::from(text)),
        (None, None, Some(text), None) => Frame::Text(decode(text)?),
        (None, None, None, Some(raw)) => Frame::Raw(decode(raw)?),
        _ => return Err(wrong("give one of event, text, base64 and raw_base64")),
    };
    let count = control.emit_frame(emit.connection, &frame);
    Ok(json!({ "connections": count }))
}

async fn list(
    control: &Control,
    operation: &str,
    request: &HttpRequest,
) -> Result<Value, OperationError> {
    let look = look(operation, request)?;
    let items = || -> Vec<Value> {
        let all: Vec<Value> = match operation {
            "calls" => {
                let calls = control.calls(look.method.as_deref());
                let answered = calls
                    .iter()
                    .filter(|call| look.wait == 0 || !call.answer.is_null());
                answered.map(|call| json!(call)).collect()
            }
            "deliveries" => {
                let deliveries = control.deliveries();
                let settled = deliveries
                    .iter()
                    .filter(|one| look.wait == 0 || one.outcome != Outcome::Open);
                settled.map(|one| json!(one)).collect()
            }
            "frames" => control.frames().iter().map(|frame| json!(frame)).collect(),
            _ => control
                .connections()
                .iter()
                .map(|connection| json!(connection))
                .collect(),
        };
        let wanted = |item: &Value| match &look.contains {
            Some(text) => {
                item.to_string().contains(text.as_str())
                    || item["text"]
                        .as_str()
                        .is_some_and(|t| t.contains(text.as_str()))
            }
            None => true,
        };
        all.into_iter().filter(wanted).collect()
    };
    let enough = control
        .core
        .journal
        .wait(|| Some(items()).filter(|items| items.len() >= look.wait));
    let found = tokio::time::timeout(Duration::from_secs_f64(look.timeout), enough).await;
    found
        .map(|items| json!({ operation: items }))
        .map_err(|_| OperationError::TimedOut(look.timeout))
}

fn look(operation: &str, request: &HttpRequest) -> Result<Look, OperationError> {
    let mut look = Look {
        timeout: 10.0,
        ..Look::default()
    };
    for (key, value) in
        form_urlencoded::parse(request.head.uri.query().unwrap_or_default().as_bytes())
    {
        let wrong =
            |_| OperationError::arguments(operation, &format!("{key}={value} is not a number"));
        match &*key {
            "method" => look.method = Some(value.into_owned()),
            "contains" => look.contains = Some(value.into_owned()),
            "wait" => {
                look.wait = value
                    .parse()
                    .map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?
            }
            "timeout" => {
                let seconds: f64 = value
                    .parse()
                    .map_err(|error: std::num::ParseFloatError| wrong(error.to_string()))?;
                look.timeout = seconds.clamp(0.0, 3600.0);
            }
            _ => {
                return Err(OperationError::arguments(
                    operation,
                    &format!("{key} is unknown"),
                ));
            }
        }
    }
    Ok(look)
}
