//! Reads an answer of the Web API: success, or a failure.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::error::{Failure, Refusal};

/// The wait where Slack says that we are too fast and does not say for how long.
pub(super) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The shortest wait after a 429: where Slack says 0, it would be called as fast as it answers.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that is believed: a server that asks for more is broken or hostile.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The members that every answer may have; the others are the method's own.
#[derive(Deserialize)]
struct Envelope<'a> {
    ok: bool,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(default)]
    needed: Option<String>,
    #[serde(default)]
    provided: Option<String>,
    #[serde(default)]
    errors: Option<Value>,
    #[serde(default)]
    response_metadata: Option<Metadata>,
    #[serde(default)]
    retry_after: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    messages: Vec<String>,
}

/// Returns `Ok` for an answer with `"ok": true`, and the failure for all others.
pub(crate) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(body);
    let is_limited = status == StatusCode::TOO_MANY_REQUESTS;
    let code = envelope
        .as_ref()
        .ok()
        .and_then(|envelope| envelope.error.as_deref());
    if is_limited || matches!(code, Some("ratelimited" | "rate_limited")) {
        let in_header = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let in_body = envelope
            .as_ref()
            .ok()
            .and_then(|envelope| envelope.retry_after);
        let retry_after = in_header
            .or(in_body)
            .map_or(DEFAULT_RETRY_AFTER, Duration::from_secs)
            .clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER);
        return Err(Failure::RateLimited { retry_after });
    }
    match envelope {
        Ok(envelope) if envelope.ok && status.is_success() => Ok(()),
        Ok(Envelope {
            ok: false,
            error,
            needed,
            provided,
            errors,
            response_metadata,
            ..
        }) => {
            let mut messages = response_metadata.unwrap_or_default().messages;
            if let Some(Value::Array(errors)) = errors {
                messages.extend(
                    errors
                        .iter()
                        .map(|it| it.as_str().map_or_else(|| it.to_string(), String::from)),
                );
            }
            let code = error.map_or_else(|| "unknown_error".into(), Cow::into_owned);
            Err(Failure::Refused(Box::new(Refusal {
                code,
                needed,
                provided,
                messages,
            })))
        }
        _ if !status.is_success() => Err(Failure::Status(status.as_u16())),
        Ok(_) => Ok(()),
        Err(why) => Err(Failure::Unreadable(why.to_string())),
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|why| Failure::Unreadable(why.to_string()))
}
