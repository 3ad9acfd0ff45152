//! Socket Mode: a few WebSockets at once, each made anew before Slack ends it, and an acknowledgement for each envelope.
//!
//! Three parts, from the inside out: a `message` is what Slack said; a `connection` lives on one socket and owns it;
//! a `slot` keeps one connection there, or makes the next one. This file runs the slots, and holds what they share: the
//! turns in which connections are opened, whether any is there, and the count of our sockets.
//!
//! An envelope's way: read, taken apart (`crate::envelope`), handed out with its [`Ack`](crate::Ack); the receiver
//! gives the acknowledgement when the event is safe, and the connection sends it, before it reads on. What is not
//! acknowledged within 3 seconds, Slack gives again, on any connection.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::WebApi;
use crate::transport::{Fatal, Incoming, Session};

mod connection;
mod health;
mod life;
mod merge;
pub(crate) mod message;
mod presence;
mod shared;
mod slot;

pub use health::Health;
pub use shared::{Config, MAX_CONNECTIONS};

use merge::Merger;
use presence::Presence;
use shared::{Shared, Turns};

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

#[cfg(test)]
mod tests;
