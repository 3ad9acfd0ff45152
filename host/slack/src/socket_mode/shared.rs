//! The settings of Socket Mode, and the parts that all its connections share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use djangobot_event::lock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::WebApi;
use crate::rtm;
use crate::socket_mode::health::Health;
use crate::socket_mode::merge::Merger;
use crate::socket_mode::presence::Presence;

/// How many connections Slack allows for an app.
pub const MAX_CONNECTIONS: usize = 10;

/// How Socket Mode's connections are kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many there are, 1 to [`MAX_CONNECTIONS`]. One is enough: it is replaced before it ends. Slack gives each
    /// envelope to one of several, and the events that wait on all of them are merged by their times. With all that
    /// Slack allows, a new connection can't be opened before the old one is closed.
    pub connections: usize,
    /// How each of them is kept.
    pub each: rtm::Config,
    /// The least time between the openings of two connections, so that Slack does not refresh all of them at once
    /// either.
    pub stagger: Duration,
    /// The least wait after Slack said that there are too many connections.
    pub crowded: Duration,
    /// How long after its arrival an envelope is to be acknowledged: Slack's 3 seconds, less the way there.
    pub ack_within: Duration,
    /// How long a connection that is to end waits for acknowledgements that are still to come.
    pub drain: Duration,
    /// The counts of the connections, for metrics.
    pub health: Arc<Health>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            connections: 1,
            each: rtm::Config::default(),
            stagger: Duration::from_millis(500),
            crowded: Duration::from_secs(10),
            ack_within: Duration::from_millis(2500),
            drain: Duration::from_secs(3),
            health: Arc::default(),
        }
    }
}

/// The parts that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: WebApi,
    pub(super) config: Config,
    pub(super) merger: Merger,
    pub(super) cancel: CancellationToken,
    pub(super) presence: Presence,
    pub(super) turns: Turns,
}

/// Connections are opened one at a time, with a little time between.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: Mutex<Option<Instant>>,
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn mine(&self, stagger: Duration) {
        let now = Instant::now();
        let at = {
            let mut next = lock::lock(&self.next);
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + stagger);
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Lets no connection be opened for this long, as Slack asked.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut next = lock::lock(&self.next);
        *next = Some(next.map_or(until, |next| next.max(until)));
    }
}
