//! Slack's messages on a Socket Mode connection: envelopes, and messages for the connection itself.

use djangobot_event::{Event, ParseError, Value};

use crate::envelope::{self, Wrapping};
use crate::transport::{BadFrame, Origin};

/// An acknowledgement names it, and is dropped by Slack when it is long; Slack's ids have 36 bytes.
const MAX_ENVELOPE_ID: usize = 1_000;

/// Longer JSON pings are answered without what they carry.
const MAX_PING: usize = 1_000;

/// A message of Slack's.
#[derive(Debug)]
pub(crate) enum Message {
    /// The connection is made; and how many the app has in all.
    Hello {
        num_connections: Option<u32>,
        /// As Slack said it.
        hello: Event,
    },
    Disconnect(Reason),
    /// To be answered with this text.
    Ping(String),
    Pong,
    /// For others.
    Envelope(Box<Envelope>),
    /// It is not a JSON object. It may be an envelope nevertheless, and is then to be acknowledged at once, because
    /// Slack would redeliver it for ever.
    Bad {
        error: BadFrame,
        envelope_id: Option<String>,
    },
}

/// An envelope with an event. Its id, by which it is acknowledged, is in the origin.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) event: Result<Event, BadFrame>,
    pub(crate) origin: Origin,
    pub(crate) accepts_payload: bool,
}

/// Why Slack wants to end a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is old, or its server is to be stopped: make a new connection, then leave. It has Slack's word for the
    /// reason.
    Refresh(String),
    /// The app has too many: leave.
    TooMany,
    /// Socket Mode is switched off for the app.
    LinkDisabled,
}

/// Reads a frame.
pub(crate) fn read(raw: bytes::Bytes) -> Message {
    let frame = match Event::parse(raw.clone()) {
        Ok(frame) => frame,
        Err(error) => {
            return Message::Bad {
                envelope_id: envelope::id_in(&raw).filter(|id| id.len() <= MAX_ENVELOPE_ID),
                error: BadFrame::Unreadable { raw, error },
            };
        }
    };
    match frame.text("/type").as_deref() {
        Some("hello") => Message::Hello {
            num_connections: frame
                .field("num_connections")
                .and_then(|count| count.as_i64()?.try_into().ok()),
            hello: frame,
        },
        Some("disconnect") => {
            Message::Disconnect(match frame.text("/reason").unwrap_or_default().as_ref() {
                "too_many_websockets" => Reason::TooMany,
                "link_disabled" => Reason::LinkDisabled,
                other => Reason::Refresh(other.to_owned()),
            })
        }
        Some("ping") => Message::Ping(pong(frame)),
        Some("pong") => Message::Pong,
        kind => {
            let wrapping = Wrapping::of(kind.unwrap_or_default().to_owned().into());
            Message::Envelope(Box::new(opened(wrapping, frame)))
        }
    }
}

/// A frame that was skipped.
pub(super) fn too_long(length: u64, limit: usize, head: &[u8]) -> Message {
    Message::Bad {
        error: BadFrame::TooLong { length, limit },
        envelope_id: envelope::id_in(head).filter(|id| id.len() <= MAX_ENVELOPE_ID),
    }
}

fn opened(wrapping: Wrapping, frame: Event) -> Envelope {
    let text = |key| frame.field(key).and_then(Value::into_text);
    let envelope_id = text("envelope_id")
        .filter(|id| id.len() <= MAX_ENVELOPE_ID)
        .map(|id| id.into_owned());
    let retry_reason = text("retry_reason")
        .filter(|reason| !reason.is_empty())
        .map(|reason| reason.into_owned());
    let retries = frame
        .field("retry_attempt")
        .and_then(|attempt| attempt.as_i64());
    let accepts_payload = frame
        .field("accepts_response_payload")
        .and_then(|accepts| accepts.as_bool())
        .unwrap_or(false);

    let is_known = !matches!(wrapping, Wrapping::Other(_));
    let (event, mut origin) = match frame.subtree("/payload") {
        Some(payload) => {
            let (event, origin) = wrapping.open(payload);
            (Ok(event), origin)
        }
        // The payload of known types is an object; otherwise the whole envelope is handed on.
        None if is_known => {
            let error = BadFrame::Unreadable {
                raw: frame.raw().clone(),
                error: ParseError::NotAnObject {
                    found: "an envelope without one",
                },
            };
            (Err(error), Origin::default())
        }
        None => {
            let (event, origin) = wrapping.open(frame);
            (Ok(event), origin)
        }
    };
    origin.envelope_id = envelope_id;
    origin.retry_reason = retry_reason;
    origin.attempt = retries.map_or(1, |retries| {
        u32::try_from(retries).unwrap_or(0).saturating_add(1)
    });
    origin.answerable &= accepts_payload;
    if origin.kind.as_deref() == Some("") {
        origin.kind = None;
    }
    Envelope {
        event,
        origin,
        accepts_payload,
    }
}

/// The answer to a ping in JSON: all that it carries, as RTM has it.
fn pong(mut ping: Event) -> String {
    let id = ping.field("id").map(djangobot_event::NewValue::from);
    let mut answer = Vec::new();
    if ping.raw().len() <= MAX_PING
        && ping.set("/type", "pong").is_ok()
        && id.is_none_or(|id| ping.set("/reply_to", id).is_ok())
    {
        ping.write_json(&mut answer);
    }
    String::from_utf8(answer)
        .ok()
        .filter(|answer| !answer.is_empty())
        .unwrap_or_else(|| r#"{"type":"pong"}"#.to_owned())
}

#[cfg(test)]
mod tests;
