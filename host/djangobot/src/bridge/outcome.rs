//! Outcomes: `slack.sent` and `slack.failed`, and the report of one on the channel that the app named.

use std::time::Duration;

use djangobot_channels::{ChannelLayer, ChannelName, LayerError, RefusalKind};
use djangobot_event::Event;
use djangobot_slack::Backoff;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::tap::Tap;
use crate::masking;

/// How often an outcome is sent to a reply channel that is full or away.
const TRIES: u32 = 8;

/// The reason for which an outcome did not reach its channel.
pub(crate) enum ReplyError {
    /// The channel did not take it.
    Undeliverable(String),
    /// A stop ended the tries.
    Stopped,
}

impl ReplyError {
    /// The reason as a clause that can follow "because".
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Undeliverable(why) => why,
            Self::Stopped => "djangobot stops",
        }
    }
}

/// Puts an outcome on a reply channel, with [`TRIES`] tries.
///
/// # Errors
///
/// Fails if the channel does not take it, or if `stop` ends the tries.
pub(crate) async fn report(
    layer: &dyn ChannelLayer,
    tap: Option<&dyn Tap>,
    channel: &ChannelName,
    outcome: Value,
    stop: &CancellationToken,
) -> Result<(), ReplyError> {
    let failed = ReplyError::Undeliverable;
    let text = serde_json::to_vec(&outcome).map_err(|error| failed(error.to_string()))?;
    let message = Event::parse(text).map_err(|error| failed(error.to_string()))?;
    if let Some(tap) = tap {
        tap.answer(channel, &message);
    }
    put(layer, channel, &message, stop).await
}

/// Puts a message on a channel, with [`TRIES`] tries.
///
/// # Errors
///
/// Fails if the channel does not take it, or if `stop` ends the tries.
pub(crate) async fn put(
    layer: &dyn ChannelLayer,
    channel: &ChannelName,
    message: &Event,
    stop: &CancellationToken,
) -> Result<(), ReplyError> {
    let failed = ReplyError::Undeliverable;
    let member = layer.encode(channel, message);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut why = String::new();
    for _ in 0..TRIES {
        match layer.send(channel, std::slice::from_ref(&member)).await {
            Ok(sent) if sent.receivers == Some(0) => {
                why = format!("nobody is subscribed to {channel}")
            }
            Ok(sent) if sent.accepted == 0 => why = format!("{channel} is full"),
            Ok(_) => return Ok(()),
            // An outcome that is too large is refused at each try.
            Err(error) if error.refusal().is_some_and(RefusalKind::is_about_content) => {
                return Err(failed(error.to_string()));
            }
            Err(LayerError::Closed) => return Err(ReplyError::Stopped),
            Err(error) => why = error.to_string(),
        }
        if stop.run_until_cancelled(backoff.wait()).await.is_none() {
            return Err(ReplyError::Stopped);
        }
    }
    Err(failed(why))
}

/// The message `slack.sent`: the keys of Slack's answer, and the app's id of the request.
pub(crate) fn sent(reply: &Reply, mut response: Value) -> Value {
    // Some methods answer with tokens, which must not go through a layer that others can read.
    masking::mask_tokens(&mut response);
    let mut answer = match response {
        Value::Object(answer) => answer,
        other => Map::from_iter([("response".to_owned(), other)]),
    };
    answer.insert("type".into(), "slack.sent".into());
    answer.insert("ok".into(), true.into());
    answer.insert("method".into(), reply.method.as_str().into());
    answer.insert("request".into(), reply.request.clone());
    Value::Object(answer)
}

/// The message `slack.failed`: Slack's error code or ours, a sentence, and the app's id of the request.
pub(crate) fn failed(reply: &Reply, refusal: &SendFailure) -> Value {
    json!({
        "type": "slack.failed", "ok": false, "error": refusal.error, "detail": refusal.detail,
        "method": reply.method, "request": reply.request,
    })
}
