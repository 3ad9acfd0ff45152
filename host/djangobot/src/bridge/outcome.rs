//! The outcome of what an app asked for, in its words, on the channel that the app named.

use std::time::Duration;

use djangobot_channels::{ChannelLayer, ChannelName, LayerError, RefusalKind};
use djangobot_event::Event;
use djangobot_slack::Backoff;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::bridge::reply::{Reply, SendFailure};
use crate::bridge::tap::Tap;
use crate::masking;

/// How often an outcome is offered to a reply channel that is full or away.
const TRIES: u32 = 8;

/// Why the app has not heard.
pub(crate) enum ReplyError {
    /// It can't be told.
    Never(String),
    /// We stop.
    Stopped,
}

impl ReplyError {
    /// As a clause.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Never(why) => why,
            Self::Stopped => "djangobot stops",
        }
    }
}

/// Puts an outcome on a reply channel.
pub(crate) async fn report(
    layer: &dyn ChannelLayer,
    tap: Option<&dyn Tap>,
    channel: &ChannelName,
    outcome: Value,
    stop: &CancellationToken,
) -> Result<(), ReplyError> {
    let never = |why: String| ReplyError::Never(why);
    let text = serde_json::to_vec(&outcome).map_err(|error| never(error.to_string()))?;
    let message = Event::parse(text).map_err(|error| never(error.to_string()))?;
    if let Some(tap) = tap {
        tap.answer(channel, &message);
    }
    let member = layer.encode(channel, &message);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut why = String::new();
    for _ in 0..TRIES {
        match layer.send(channel, std::slice::from_ref(&member)).await {
            Ok(sent) if sent.receivers == Some(0) => {
                why = format!("nobody is subscribed to {channel}")
            }
            Ok(sent) if sent.accepted == 0 => why = format!("{channel} is full"),
            Ok(_) => return Ok(()),
            // An answer that is too large is refused however often it is offered.
            Err(error) if error.refusal().is_some_and(RefusalKind::is_about_content) => {
                return Err(never(error.to_string()));
            }
            Err(LayerError::Closed) => return Err(ReplyError::Stopped),
            Err(error) => why = error.to_string(),
        }
        if stop.run_until_cancelled(backoff.wait()).await.is_none() {
            return Err(ReplyError::Stopped);
        }
    }
    Err(never(why))
}

/// `slack.sent`: Slack's own answer, flat, and the caller's id.
pub(crate) fn sent(reply: &Reply, mut response: Value) -> Value {
    // Some methods answer with tokens, which pass through a layer that others read, too.
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

/// `slack.failed`: Slack's error code or ours, a sentence, and the caller's id.
pub(crate) fn failed(reply: &Reply, refusal: &SendFailure) -> Value {
    json!({
        "type": "slack.failed", "ok": false, "error": refusal.error, "detail": refusal.detail,
        "method": reply.method, "request": reply.request,
    })
}
