//! Ways for the fuzz targets to what has no other way in; no part of the interface.

use bytes::Bytes;
use djangobot_event::Event;

use crate::history::{self, Gap};
use crate::roster::ConversationKind;
use crate::socket_mode::message::{self, Message};
use crate::transport::{BadFrame, Origin};
use crate::ts::Ts;
use crate::{envelope, rtm};

/// What a frame is to a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one of them lives at a time, in a fuzz target"
)]
pub enum Said {
    /// For the connection itself.
    Own,
    /// To be answered with this text.
    Answer(String),
    /// For others.
    Handed {
        /// What is within, or why it can't be read.
        event: Result<Event, BadFrame>,
        /// How Slack gave it.
        origin: Origin,
        /// Whether Slack takes an answer.
        accepts_payload: bool,
    },
    /// No JSON object.
    Bad {
        /// To be acknowledged with this id.
        envelope_id: Option<String>,
        /// What is wrong with it.
        error: BadFrame,
    },
}

/// Reads a frame of Socket Mode.
pub fn socket_mode(raw: Bytes) -> Said {
    match message::read(raw) {
        Message::Hello { .. } | Message::Disconnect(_) | Message::Pong => Said::Own,
        Message::Ping(answer) => Said::Answer(answer),
        Message::Envelope(envelope) => Said::Handed {
            event: envelope.event,
            origin: envelope.origin,
            accepts_payload: envelope.accepts_payload,
        },
        Message::Bad { error, envelope_id } => Said::Bad { envelope_id, error },
    }
}

/// The id of an envelope of which only a part can be read.
pub fn envelope_id(frame: &[u8]) -> Option<String> {
    envelope::id_in(frame)
}

/// Whether a frame of RTM is for the connection alone.
pub fn is_own(event: &Event) -> bool {
    matches!(rtm::meaning(event), rtm::Meaning::Ours)
}

/// What an answer of `conversations.history` says of a gap, and the threads that it names; `None` where it is none.
pub fn messages_of_history(page: &[u8], gap: &Gap<'_>) -> Option<(Vec<Event>, Vec<Ts>)> {
    history::fuzzed_messages(page, gap)
}

/// The conversations that an answer of `users.conversations` lists; `None` where it is none.
pub fn conversations_of_list(page: &[u8]) -> Option<Vec<(String, ConversationKind)>> {
    history::fuzzed_conversations(page)
}
