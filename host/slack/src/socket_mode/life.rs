//! The life of a connection, as the connection and its slot agree on it: how it begins, what it is asked for, how it ends.

use std::time::{Instant, SystemTime};

use djangobot_event::Event;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{ApiError, Failure, Refusal};
use crate::ended::{Ended, Outcome};
use crate::socket_mode::message::Message;
use crate::socket_mode::shared::Shared;

/// When something was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) received: SystemTime,
    pub(super) arrived: Instant,
}

/// How Slack began.
pub(super) enum Spoken {
    Hello(Event),
    /// What it said instead.
    Other(Message),
}

/// The strings by which a connection and the slot that keeps it are tied.
pub(super) struct Ends {
    /// Pulled by the connection when Slack wants it to be made anew.
    pub(super) renewal: Option<oneshot::Sender<()>>,
    /// Pulled when another one stands in its place: then it ends as soon as what it handed out is acknowledged.
    pub(super) retire: CancellationToken,
    /// Retires the one that this one stands in the place of, when this one has arrived, or ends.
    pub(super) replaces: Option<DropGuard>,
}

/// How a connection ended, and whether it had arrived.
pub(super) struct Life {
    pub(super) outcome: Outcome,
    pub(super) had_arrived: bool,
}

/// How a connection ends that Slack says is one too many.
pub(super) fn too_many(shared: &Shared) -> Ended {
    Ended {
        at_least: shared.config.crowded,
        ..Ended::because("Slack says that the app has too many Socket Mode connections")
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
