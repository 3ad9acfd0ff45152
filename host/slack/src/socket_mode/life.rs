//! The life of a connection, as the connection and its slot agree on it: how it begins, what it is asked for, how it
//! ends.

use std::time::{Instant, SystemTime};

use djangobot_event::Event;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{ApiError, Failure, Refusal};
use crate::connection_end::{ConnectionEnd, Outcome};
use crate::socket_mode::message::Message;
use crate::socket_mode::shared::Shared;

/// When something was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadTimes {
    pub(super) received: SystemTime,
    pub(super) arrived: Instant,
}

/// The first message on a connection.
pub(super) enum Greeting {
    Hello(Event),
    /// Another message came in its place.
    Other(Message),
}

/// The signals between a connection and its slot.
pub(super) struct SlotSignals {
    /// Used by the connection when Slack asks for another one in its place.
    pub(super) renewal: Option<oneshot::Sender<()>>,
    /// Cancelled when another connection has replaced it: then it ends as soon as everything that it handed out is
    /// acknowledged.
    pub(super) retire: CancellationToken,
    /// Retires the connection that this one replaces, when this one has begun its session, or ends.
    pub(super) replaces: Option<DropGuard>,
}

/// How a connection ended, and whether its session had begun.
pub(super) struct LifeReport {
    pub(super) outcome: Outcome,
    pub(super) had_arrived: bool,
}

/// The end of a connection that Slack counts as one too many.
pub(super) fn too_many(shared: &Shared) -> ConnectionEnd {
    ConnectionEnd {
        at_least: shared.config.crowded,
        ..ConnectionEnd::because("Slack says that the app has too many Socket Mode connections")
    }
}

/// Why nothing can be done where Socket Mode is switched off for the app.
pub(super) fn link_disabled() -> ApiError {
    let refusal = Refusal {
        code: "link_disabled".into(),
        ..Refusal::default()
    };
    ApiError {
        method: "Socket Mode".into(),
        channel: None,
        failure: Failure::Refused(Box::new(refusal)),
    }
}
