//! The messages of every kind of connection to the bridge: sessions begun, frames, connections lost.

mod ack;

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use djangobot_event::{Event, ParseError};
use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::respond::ResponseUrl;
use crate::token::BotAccessToken;

pub use ack::{Ack, AckOutcome, AckReceiver, AnswerError, SOCKET_MODE_LIMIT};
pub(crate) use ack::{SocketAck, frame as ack_frame};

/// A message of a transport. It comes through a bounded channel, in the order in which things happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are frames, and a box for each would cost more than the room"
)]
pub enum Incoming {
    /// Slack can't be asked yet for our identity; events that come meanwhile most likely belong to this session.
    Expected(Session),
    /// Slack is there: it has said hello on a connection, or can reach us. What it says comes next, on RTM with the
    /// hello.
    Connected(Session),
    /// One more connection of the session is open, most likely in place of another one. Slack does not send a new
    /// connection what happened before it, apart from the events themselves.
    Refreshed,
    /// A frame that Slack sent and that does not concern the transport alone.
    Frame(Frame),
    /// A connection was silent for so long that it was given up. Slack may have sent events on it that were lost.
    Deaf,
    /// No connection is left, or none could be made. The next attempt follows after `retry_in`.
    Disconnected {
        /// Why, for people: a clause without a full stop.
        reason: String,
        /// When the next attempt is made; zero for at once.
        retry_in: Duration,
    },
}

/// The identity of a connection: our user and the workspace.
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
    /// The event, or why the frame is not one. A bad frame never costs the connection.
    ///
    /// It is flat: the frame itself on RTM, the inner `event` of the Events API, the payload of a slash
    /// command or an interaction.
    pub event: Result<Event, BadFrame>,
    /// How Slack delivered it.
    pub origin: Origin,
    /// The acknowledgement that Slack waits for; `None` where it does not wait.
    pub ack: Option<Ack>,
    /// When its last byte was read from the socket, by the calendar.
    pub received: SystemTime,
    /// The same moment on the clock that never goes back.
    pub arrived: Instant,
}

impl Frame {
    /// A session's first frame, as RTM has it: Slack's own `hello`, or where it says none, one of ours.
    pub fn hello(said: Option<Event>) -> Self {
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

/// How Slack delivered an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `Ev...`: the event's own id, the same in each delivery.
    pub event_id: Option<String>,
    /// The id of the Socket Mode envelope that it came in.
    pub envelope_id: Option<String>,
    /// The signature of the HTTP request that it came in. It is the same where somebody repeats the request.
    pub signature: Option<String>,
    /// The number of the delivery, from 1, as Slack counts it.
    pub attempt: u32,
    /// Why Slack redelivers it, in its words: `timeout`, `http_error`, ...
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
    /// The other members of the event's wrapper: a JSON object of `authorizations`, `event_time` and the like. It never
    /// holds a token.
    pub wrapper: Option<Bytes>,
    /// The token with which the app answers as one of its functions, which stood in the event.
    pub bot_access_token: Option<BotAccessToken>,
}

/// A first delivery of which nothing more is known.
impl Default for Origin {
    fn default() -> Self {
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
            wrapper: None,
            bot_access_token: None,
        }
    }
}

/// A frame that is not an event.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// It is not a JSON object, or not UTF-8.
    #[error("a frame of {} bytes is not an event: {error}", raw.len())]
    Unreadable {
        /// The frame as it came.
        raw: Bytes,
        /// The error in it, and its place.
        error: ParseError,
    },
    /// It is longer than the limit; it was skipped.
    #[error("a frame of {length} bytes exceeds the limit of {limit} bytes")]
    TooLong {
        /// The frame's length in bytes.
        length: u64,
        /// The limit of the configuration.
        limit: usize,
    },
}

/// An error that no further attempt can heal: the token, its scopes, the workspace's rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub ApiError);
