//! What a connection to Slack hands to the bridge, whatever its kind: sessions begun, frames, connections lost.

mod ack;

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use djangobot_event::{Event, ParseError};
use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::respond::ResponseUrl;
use crate::token::BotAccessToken;

pub use ack::{Ack, AnswerError, Given, SOCKET_MODE_LIMIT, Waiting};
pub(crate) use ack::{SocketAck, frame as ack_frame};

/// What a transport tells. It comes through a bounded channel, in the order in which it happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are frames, and a box for each would cost more than the room"
)]
pub enum Incoming {
    /// Slack can't be asked yet whom we speak as; events that come meanwhile are most likely of this session.
    Expected(Session),
    /// Slack is there: it has said hello on a connection, or can reach us. What it says comes next, on RTM with the hello.
    Connected(Session),
    /// One more connection of the session is there, which most likely stands in the place of another one. Slack does not
    /// tell a new connection what happened before it, beyond the events themselves.
    Refreshed,
    /// Something that Slack sent, and that is not the transport's own business.
    Frame(Frame),
    /// A connection said nothing for so long that it was given up. Slack may have given events to it that nobody has.
    Deaf,
    /// No connection is left, or could be made. Another one is tried after `retry_in`.
    Disconnected {
        /// Why, for people: a clause without a full stop.
        reason: String,
        /// When the next attempt is made; zero for at once.
        retry_in: Duration,
    },
}

/// Whom a connection speaks as, and to which workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `U...`: our own user.
    pub self_id: String,
    /// Our own handle.
    pub self_name: String,
    /// `T...`.
    pub team_id: String,
    /// The workspace's name.
    pub team_name: String,
    /// `example` of `example.slack.com`.
    pub team_domain: String,
}

/// A frame that came, read once.
#[derive(Debug)]
pub struct Frame {
    /// The event, or why the frame is none. A bad frame costs itself, never the connection.
    ///
    /// It is what becomes flat: the frame itself on RTM, the inner `event` of the Events API, the payload of a slash
    /// command or an interaction.
    pub event: Result<Event, BadFrame>,
    /// How Slack gave it.
    pub origin: Origin,
    /// What Slack waits for; `None` where it does not wait.
    pub ack: Option<Ack>,
    /// When its last byte was read from the socket, by the calendar.
    pub received: SystemTime,
    /// The same moment on the clock that never goes back.
    pub arrived: Instant,
}

impl Frame {
    /// A session's first frame, as RTM has it: Slack's own `hello`, or where it says none, one of ours.
    pub fn hello(said: Option<Event>) -> Frame {
        let ours = || {
            Event::parse(r#"{"type":"hello"}"#).map_err(|error| BadFrame::Unreadable {
                raw: Bytes::new(),
                error,
            })
        };
        Frame {
            event: said.map_or_else(ours, Ok),
            origin: Origin::default(),
            ack: None,
            received: SystemTime::now(),
            arrived: Instant::now(),
        }
    }
}

/// How Slack gave an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `Ev...`: the event's own id, the same each time that Slack gives it.
    pub event_id: Option<String>,
    /// The id of the Socket Mode envelope that it came in.
    pub envelope_id: Option<String>,
    /// What Slack signed the HTTP request with that it came in: the same where somebody sends the request again.
    pub signature: Option<String>,
    /// 1, and one more for each time that Slack says it gave it before.
    pub attempt: u32,
    /// Why Slack gives it again, in its words: `timeout`, `http_error`, ...
    pub retry_reason: Option<String>,
    /// The workspace that it is from, where Slack says so.
    pub team_id: Option<String>,
    /// The type to route by, where that is not the event's own `type`: `slash_commands`, or an unknown envelope's type.
    pub kind: Option<Cow<'static, str>>,
    /// Slack takes an answer in the acknowledgement, and the event is of a kind that wants one: a slash command, a menu
    /// that asks for its options, a dialog that was submitted.
    pub answerable: bool,
    /// Where Slack takes answers later: the addresses of a command or an interaction.
    pub response_urls: Vec<ResponseUrl>,
    /// What stood beside the event: a JSON object of `authorizations`, `event_time` and the like. Never a token.
    pub beside: Option<Bytes>,
    /// The token with which the app answers as one of its functions, which stood in the event.
    pub bot_access_token: Option<BotAccessToken>,
}

/// Given for the first time, and nothing more is known.
impl Default for Origin {
    fn default() -> Origin {
        Origin {
            event_id: None,
            envelope_id: None,
            signature: None,
            attempt: 1,
            retry_reason: None,
            team_id: None,
            kind: None,
            answerable: false,
            response_urls: Vec::new(),
            beside: None,
            bot_access_token: None,
        }
    }
}

/// A frame that is no event.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// It is no JSON object, or no UTF-8.
    #[error("a frame of {} bytes is no event: {error}", raw.len())]
    Unreadable {
        /// The frame as it came.
        raw: Bytes,
        /// What is wrong with it, and where.
        error: ParseError,
    },
    /// It is longer than we take in; it was skipped.
    #[error("a frame of {length} bytes is longer than the {limit} that are taken in")]
    TooLong {
        /// The frame's length in bytes.
        length: u64,
        /// What the configuration allows.
        limit: usize,
    },
}

/// What no further attempt can heal: the token, its scopes, the workspace's rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub ApiError);
