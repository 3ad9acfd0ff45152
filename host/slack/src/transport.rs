//! What a connection to Slack hands to the bridge, whatever its kind: sessions begun, frames, connections lost.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use djangobot_event::{Event, ParseError};

use crate::api::ApiError;

/// What a transport tells. It comes through a bounded channel, in the order in which it happened.
#[derive(Debug)]
pub enum Incoming {
    /// A connection is made and Slack has said hello on it; the hello and all that follows come next.
    Connected(Session),
    /// Something that Slack sent, and that is not the transport's own business.
    Frame(Frame),
    /// The connection is lost, or could not be made. Another one is tried after `retry_in`.
    Disconnected {
        /// Why, for people: a clause without a full stop.
        reason: String,
        /// When the next attempt is made; zero for at once.
        retry_in: Duration,
    },
}

/// Whom a connection speaks as, and to which workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    pub event: Result<Event, BadFrame>,
    /// When its last byte was read from the socket, by the calendar.
    pub received: SystemTime,
    /// The same moment on the clock that never goes back.
    pub arrived: Instant,
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
