//! The content of a delivery, ready to be put into an envelope or a request.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::socket::frame::{self, Kind};

#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// The envelope's type: `events_api`, `slash_commands`, `interactive`, or a type that a test invents.
    pub(crate) kind: Cow<'static, str>,
    /// JSON.
    pub(crate) payload: Bytes,
    /// `Ev...`, where it is an event.
    pub(crate) event_id: Option<String>,
    /// Whether the app may answer in its acknowledgement.
    pub(crate) accepts_response: bool,
    pub(crate) is_retried: bool,
    /// Over HTTP, parcels of the same lane are posted in their order.
    pub(crate) lane: String,
    /// The person who waits for an answer.
    pub(crate) answerer: Option<Answerer>,
}

/// The person who waits for an answer to a slash command or the like.
#[derive(Debug, Clone)]
pub(crate) struct Answerer {
    /// The action of the person, for a note that it failed.
    pub(crate) what: String,
    /// The response URL whose place an answer goes to; `None` where an answer is for Slack itself.
    pub(crate) response_url: Option<String>,
}

impl Parcel {
    pub(crate) fn new(kind: impl Into<Cow<'static, str>>, payload: &Value) -> Self {
        Parcel {
            kind: kind.into(),
            payload: Bytes::from(payload.to_string()),
            event_id: payload["event_id"].as_str().map(str::to_owned),
            accepts_response: false,
            is_retried: false,
            lane: String::new(),
            answerer: None,
        }
    }

    /// An event in its wrapper, of which only the payload is known.
    pub(crate) fn event(payload: Bytes) -> Self {
        Parcel {
            kind: Cow::Borrowed("events_api"),
            payload,
            event_id: None,
            accepts_response: false,
            is_retried: true,
            lane: String::new(),
            answerer: None,
        }
    }

    pub(crate) fn retried(self) -> Self {
        Parcel {
            is_retried: true,
            ..self
        }
    }

    pub(crate) fn answerable(self, accepts_response: bool) -> Self {
        Parcel {
            accepts_response,
            ..self
        }
    }

    pub(crate) fn in_lane(self, lane: String) -> Self {
        Parcel { lane, ..self }
    }

    pub(crate) fn answered_to(self, answerer: Answerer) -> Self {
        Parcel {
            answerer: Some(answerer),
            ..self
        }
    }

    /// The same number for all of a lane.
    pub(super) fn lane_number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lane.hash(&mut hasher);
        hasher.finish()
    }

    /// The envelope of Socket Mode, as a frame.
    pub(super) fn envelope(&self, envelope_id: &str, retry: u32, reason: &str) -> Bytes {
        let mut tail = format!(
            r#","type":{},"accepts_response_payload":{}"#,
            json!(self.kind),
            self.accepts_response
        );
        // Only events are redelivered, so that only they have a count of attempts.
        if self.is_retried {
            // Writing to a text cannot fail.
            write!(
                tail,
                r#","retry_attempt":{retry},"retry_reason":"{reason}""#
            )
            .ok();
        }
        tail.push('}');
        let head = format!(r#"{{"envelope_id":"{envelope_id}","payload":"#);
        frame::joined(
            Kind::Text,
            &[head.as_bytes(), &self.payload, tail.as_bytes()],
        )
    }
}
