//! Entry points for the fuzz targets; not a part of the interface.

use bytes::Bytes;
use djangobot_event::Event;

use crate::history::{self, Gap};
use crate::roster::ConversationKind;
use crate::socket_mode::message::{self, Message};
use crate::transport::{BadFrame, Origin};
use crate::ts::Ts;
use crate::{envelope, rtm};

/// The meaning of a frame for a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one of them lives at a time, in a fuzz target"
)]
pub enum FrameMeaning {
    /// For the connection itself.
    Own,
    /// To be answered with this text.
    Answer(String),
    /// For others.
    Handed {
        /// The event in it, or why it can't be read.
        event: Result<Event, BadFrame>,
        /// How Slack delivered it.
        origin: Origin,
        /// Whether Slack takes an answer.
        accepts_payload: bool,
    },
    /// It is not a JSON object.
    Bad {
        /// To be acknowledged with this id.
        envelope_id: Option<String>,
        /// The error in it.
        error: BadFrame,
    },
}

/// Reads a frame of Socket Mode.
pub fn socket_mode(raw: Bytes) -> FrameMeaning {
    match message::read(raw) {
        Message::Hello { .. } | Message::Disconnect(_) | Message::Pong => FrameMeaning::Own,
        Message::Ping(answer) => FrameMeaning::Answer(answer),
        Message::Envelope(envelope) => FrameMeaning::Handed {
            event: envelope.event,
            origin: envelope.origin,
            accepts_payload: envelope.accepts_payload,
        },
        Message::Bad { error, envelope_id } => FrameMeaning::Bad { envelope_id, error },
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

/// The messages of a gap in an answer of `conversations.history`, and the threads that it names; `None` where it can't
/// be read.
pub fn messages_of_history(page: &[u8], gap: &Gap<'_>) -> Option<(Vec<Event>, Vec<Ts>)> {
    history::fuzzed_messages(page, gap)
}

/// The conversations that an answer of `users.conversations` lists; `None` where it can't be read.
pub fn conversations_of_list(page: &[u8]) -> Option<Vec<(String, ConversationKind)>> {
    history::fuzzed_conversations(page)
}
