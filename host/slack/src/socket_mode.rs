//! Socket Mode: a few WebSockets at once, each made anew before Slack ends it, and an acknowledgement for each envelope.
//!
//! Three parts, from the inside out: a `message` is what Slack said; a `connection` lives on one socket and owns it;
//! a `slot` keeps one connection there, or makes the next one. This file runs the slots, and holds what they share: the
//! turns in which connections are opened, whether any is there, and the count of our sockets.
//!
//! An envelope's way: read, taken apart (`crate::envelope`), handed out with its [`Ack`](crate::Ack); the receiver
//! gives the acknowledgement when the event is safe, and the connection sends it, before it reads on. What is not
//! acknowledged within 3 seconds, Slack gives again, on any connection.

mod connection;
mod health;
mod merge;
pub(crate) mod message;
mod presence;
mod slot;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use health::Health;

use crate::{
    api::WebApi,
    rtm,
    transport::{Fatal, Incoming, Session},
};
use merge::Merger;
use presence::Presence;

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

/// Keeps Socket Mode's connections, and tells `out` all that comes on them.
///
/// `app` has the app-level token; `session` is whom the bot's own token speaks as. [`Incoming::Connected`] comes with the
/// first connection, [`Incoming::Refreshed`] with one beside others, [`Incoming::Disconnected`] when none is left, or none
/// can be made.
///
/// `Ok` when `cancel` fired (what is handed out may still be acknowledged for a moment, then the sockets are closed
/// properly) or nobody listens to `out` any more; `Err` on what can't be retried. All else is retried for ever.
///
/// Pings, Slack's wish that we connect anew, and each hello but that of the connection that begins a session are the
/// connections' own and don't come out; all else does, known or not. While `out` is full, only a little more is read; pings and acknowledgements go on.
pub async fn run(
    app: WebApi,
    session: Session,
    config: Config,
    out: mpsc::Sender<Incoming>,
    cancel: CancellationToken,
) -> Result<(), Fatal> {
    let connections = config.connections.clamp(1, MAX_CONNECTIONS);
    let cancel = cancel.child_token();
    let shared = Arc::new(Shared {
        app,
        presence: Presence::new(session, out.clone(), cancel.clone()),
        merger: Merger::new(out),
        cancel: cancel.clone(),
        turns: Turns::default(),
        config,
    });
    let merging = AbortOnDropHandle::new(tokio::spawn(shared.merger.clone().run(cancel.clone())));
    let mut slots = JoinSet::new();
    for _ in 0..connections {
        slots.spawn(slot::keep(Arc::clone(&shared)));
    }
    let mut result = Ok(());
    while let Some(ended) = slots.join_next().await {
        // One that ends, ends all: for the same reason, the others would.
        cancel.cancel();
        match ended {
            Ok(Err(error)) => result = result.and(Err(Fatal(error))),
            Ok(Ok(())) => {}
            Err(why) => tracing::error!(%why, "a Socket Mode connection's task failed"),
        }
    }
    drop(merging);
    result
}

/// What all connections work with.
#[derive(Debug)]
struct Shared {
    app: WebApi,
    config: Config,
    merger: Merger,
    cancel: CancellationToken,
    presence: Presence,
    turns: Turns,
}

/// Connections are opened one at a time, with a little time between.
#[derive(Debug, Default)]
struct Turns {
    next: Mutex<Option<Instant>>,
}

impl Turns {
    /// Waits for a turn.
    async fn mine(&self, stagger: Duration) {
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
    fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(until, |next| next.max(until)));
    }
}

#[cfg(test)]
mod tests;
