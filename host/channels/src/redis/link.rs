//! The state of the connection that all callers of a server share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use crate::config::Login;
use crate::layer::LayerError;

/// How long a server that failed is passed over if another can be used instead. A server that hangs costs the next
/// caller a whole timeout, so it rests twice as long after each time, up to [`LONG_REST`].
const REST: Duration = Duration::from_secs(1);

/// The longest rest of a server that hangs.
const LONG_REST: Duration = Duration::from_secs(60);

/// The shared connection, with the number that distinguishes its errors from those of its successors.
#[derive(Clone)]
pub(super) struct SharedConnection {
    pub(super) connection: MultiplexedConnection,
    pub(super) generation: u64,
}

/// The last failure of a server.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) at: Instant,
    pub(super) error: LayerError,
}

/// The state of the shared connection.
///
/// `failure` is set when an attempt to connect fails or an error ends the connection, and is cleared by the next
/// connection. `hangs` counts how many of these failures in a row were timeouts. Any other failure of this kind, and
/// each new connection, sets it to 0.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) connection: Option<MultiplexedConnection>,
    /// Set when the server closes that connection, which RESP3 reports. Then the next call makes a new connection,
    /// instead of failing on the old one.
    pub(super) broken: Arc<AtomicBool>,
    /// Counts the connections, so that a late error of an old one does not end the current one.
    pub(super) generation: u64,
    pub(super) failure: Option<Failure>,
    /// How many times in a row the server did not answer in time.
    pub(super) hangs: u32,
    pub(super) closed: bool,
    /// The credentials that replaced the host's own.
    pub(super) login: Option<Login>,
}

impl Link {
    pub(super) fn count_hang(&mut self, hung: bool) {
        self.hangs = if hung {
            self.hangs.saturating_add(1)
        } else {
            0
        };
    }
}

/// How long a server rests after it hung `hangs` times in a row.
pub(super) fn rest(hangs: u32) -> Duration {
    (REST * 2_u32.saturating_pow(hangs.min(16))).min(LONG_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_hangs_rests_longer_each_time() {
        let seconds = [0, 1, 2, 5, 6, u32::MAX].map(|hangs| rest(hangs).as_secs());
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
    }
}
