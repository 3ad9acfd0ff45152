//! The settings of Socket Mode, and the parts that all its connections share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// envelope to one of several, and what waits on all of them is put in the order of its times. With all that Slack
    /// allows there is no room for a new one beside an old one.
    pub connections: usize,
    /// How each of them is kept.
    pub each: rtm::Config,
    /// What is at least between the openings of two, so that they are not all refreshed at once either.
    pub stagger: Duration,
    /// The least wait after Slack said that there are too many connections.
    pub crowded: Duration,
    /// How long after its arrival an envelope is to be acknowledged: Slack's 3 seconds, less the way there.
    pub ack_within: Duration,
    /// How long a connection that is to end waits for acknowledgements that are still to come.
    pub drain: Duration,
    /// Where the connections say how they are.
    pub health: Arc<Health>,
}

impl Default for Config {
    fn default() -> Config {
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

/// What all connections work with.
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
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + stagger);
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Slack wants nobody to come for this long.
    pub(super) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(until, |next| next.max(until)));
    }
}
