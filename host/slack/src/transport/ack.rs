//! The acknowledgement that Slack waits for: it is sent once, with an answer or without, or never.

use std::time::Instant;

use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::sync::{mpsc, oneshot};

/// Slack drops a Socket Mode frame of this many bytes or more without a word.
pub const SOCKET_MODE_LIMIT: usize = 20_000;

/// The acknowledgement that an event waits for. Where it is dropped unused, the event counts as not received, and Slack
/// redelivers it.
#[derive(Debug)]
pub struct Ack {
    accepts_payload: bool,
    deadline: Instant,
    /// Taken when the acknowledgement is given.
    way: Option<Way>,
}

/// The way back to Slack.
#[derive(Debug)]
enum Way {
    /// The HTTP request that is to be answered with it.
    Alone(oneshot::Sender<AckOutcome>),
    /// The connection that the envelope came on.
    Socket {
        connection: mpsc::UnboundedSender<SocketAck>,
        envelope_id: String,
    },
}

/// How an [`Ack`] was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Without an answer.
    Empty,
    /// With an answer, which is JSON.
    Answer(Bytes),
    /// It was dropped, so that nothing was acknowledged.
    Unused,
}

/// Waits for an [`Ack`].
#[derive(Debug)]
pub struct AckReceiver(oneshot::Receiver<AckOutcome>);

/// The outcome of an envelope, for the connection that it came on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SocketAck {
    /// The frame to be sent.
    Frame(String),
    /// Nothing is to be sent, so that Slack redelivers the envelope.
    Unused,
}

/// Why an answer was not sent. An empty acknowledgement was sent instead, unless Slack no longer waits for any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Slack takes no answer to an event of this kind.
    #[error("Slack takes no answer to this event: use its response_url, or call Slack's Web API")]
    NotAccepted,
    /// Slack would drop it without a word.
    #[error(
        "the answer makes a frame of {length} bytes, and Slack drops those of {SOCKET_MODE_LIMIT} or more: send it to \
         the response_url"
    )]
    TooLarge {
        /// The whole frame's length in bytes.
        length: usize,
    },
    /// Not JSON.
    #[error("the answer is not JSON: {0}")]
    NotJson(String),
    /// The connection is lost, or Slack's request was answered already.
    #[error("Slack no longer waits for the answer: send it to the response_url")]
    TooLate,
}

impl Ack {
    /// An acknowledgement, and the receiver that waits for it.
    pub fn new(accepts_payload: bool, deadline: Instant) -> (Self, AckReceiver) {
        let (sender, receiver) = oneshot::channel();
        let ack = Ack {
            accepts_payload,
            deadline,
            way: Some(Way::Alone(sender)),
        };
        (ack, AckReceiver(receiver))
    }

    /// The acknowledgement of a Socket Mode envelope. `connection` gets its outcome exactly once.
    pub(crate) fn of_envelope(
        envelope_id: String,
        accepts_payload: bool,
        deadline: Instant,
        connection: mpsc::UnboundedSender<SocketAck>,
    ) -> Self {
        Ack {
            accepts_payload,
            deadline,
            way: Some(Way::Socket {
                connection,
                envelope_id,
            }),
        }
    }

    /// Whether Slack takes an answer with it.
    pub fn accepts_payload(&self) -> bool {
        self.accepts_payload
    }

    /// Until when it should be given: Slack's 3 seconds, less what the way to Slack may take.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tells Slack that the event is received. Cheap, and waits for nothing.
    pub fn confirm(mut self) {
        if let Some(way) = self.way.take() {
            // Where the receiver is gone, Slack redelivers the event, and its id identifies it.
            let _ = way.give(AckOutcome::Empty);
        }
    }

    /// Tells Slack that the event is received, with an answer, which must be JSON. Waits for nothing.
    ///
    /// # Errors
    /// An [`AnswerError`]; an empty acknowledgement goes out instead.
    pub fn answer(mut self, payload: Bytes) -> Result<(), AnswerError> {
        let Some(way) = self.way.take() else {
            return Err(AnswerError::TooLate);
        };
        let fit = if self.accepts_payload {
            check(&payload).and_then(|()| way.check(&payload))
        } else {
            Err(AnswerError::NotAccepted)
        };
        match fit {
            Ok(()) => way.give(AckOutcome::Answer(payload)),
            Err(error) => {
                let _ = way.give(AckOutcome::Empty);
                Err(error)
            }
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(way) = self.way.take() {
            let _ = way.give(AckOutcome::Unused);
        }
    }
}

impl AckReceiver {
    /// Waits for the outcome of the acknowledgement. The caller puts a time limit around it.
    pub async fn given(self) -> AckOutcome {
        self.0.await.unwrap_or(AckOutcome::Unused)
    }
}

impl Way {
    fn check(&self, payload: &[u8]) -> Result<(), AnswerError> {
        match self {
            Way::Alone(_) => Ok(()),
            Way::Socket { envelope_id, .. } => match frame_with(envelope_id, Some(payload)).len() {
                ..SOCKET_MODE_LIMIT => Ok(()),
                length => Err(AnswerError::TooLarge { length }),
            },
        }
    }

    fn give(self, given: AckOutcome) -> Result<(), AnswerError> {
        match self {
            Way::Alone(sender) => sender.send(given).map_err(|_| AnswerError::TooLate),
            Way::Socket {
                connection,
                envelope_id,
            } => {
                let given = match given {
                    AckOutcome::Empty => SocketAck::Frame(frame(&envelope_id)),
                    AckOutcome::Answer(payload) => {
                        SocketAck::Frame(frame_with(&envelope_id, Some(&payload)))
                    }
                    AckOutcome::Unused => SocketAck::Unused,
                };
                connection.send(given).map_err(|_| AnswerError::TooLate)
            }
        }
    }
}

/// An empty Socket Mode acknowledgement.
pub(crate) fn frame(envelope_id: &str) -> String {
    frame_with(envelope_id, None)
}

/// A Socket Mode acknowledgement as Slack wants it.
fn frame_with(envelope_id: &str, payload: Option<&[u8]>) -> String {
    let mut text = String::with_capacity(64 + payload.map_or(0, <[u8]>::len));
    text.push_str(r#"{"envelope_id":"#);
    // Ids are UUIDs; one that is not must still come back as it was.
    text.push_str(&serde_json::Value::from(envelope_id).to_string());
    if let Some(payload) = payload {
        text.push_str(r#","payload":"#);
        text.push_str(&String::from_utf8_lossy(payload));
    }
    text.push('}');
    text
}

fn check(payload: &[u8]) -> Result<(), AnswerError> {
    let not_json = |why: &dyn std::fmt::Display| AnswerError::NotJson(why.to_string());
    let text = std::str::from_utf8(payload).map_err(|why| not_json(&why))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|why| not_json(&why))
}

#[cfg(test)]
mod tests;
