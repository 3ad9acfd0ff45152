//! Work that is due at a time, the earliest first.

use std::cmp::{Ordering, Reverse};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::delivery::pending::Pending;
use crate::state::connection::ConnectionId;

#[derive(Debug)]
pub(super) enum Due {
    /// The next attempt.
    Retry(Pending),
    /// An envelope that was delayed.
    Send(ConnectionId, Bytes),
    /// The envelope that was held back goes, if none has overtaken it.
    Release,
    /// An acknowledgement that is to count as if it came only now.
    Ack(u64, Option<Value>),
    /// The end of a freeze.
    Thaw(ConnectionId),
    /// A request that was delayed.
    Post(Pending),
}

#[derive(Debug)]
pub(super) struct Appointment {
    pub(super) at: Instant,
    /// Of work that is due at the same time, the first that was added comes first.
    number: u64,
    pub(super) due: Due,
}

impl Appointment {
    pub(super) fn new(at: Instant, number: u64, due: Due) -> Self {
        Appointment { at, number, due }
    }

    fn rank(&self) -> Reverse<(Instant, u64)> {
        Reverse((self.at, self.number))
    }
}

impl Ord for Appointment {
    fn cmp(&self, other: &Appointment) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Appointment) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Appointment {
    fn eq(&self, other: &Appointment) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Appointment {}
