//! Socket Mode: a few WebSockets at once, each replaced before Slack ends it, and an acknowledgement for each envelope.
//!
//! It has three parts, from the inside out: a `message` is one frame of Slack's; a `connection` owns one socket; a
//! `slot` keeps one connection open, or makes the next one. This file runs the slots; `shared` has what they share: the
//! turns in which connections are opened, whether any is open, and the count of our sockets.
//!
//! An envelope is read, taken apart (`crate::envelope`) and handed out with its [`Ack`](crate::Ack); the receiver
//! acknowledges it when the event is safe, and the connection sends that before it reads on. Slack redelivers an
//! envelope that is not acknowledged within 3 seconds, on any connection.

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

/// Keeps Socket Mode's connections open, and sends everything that comes on them to `out`.
///
/// `app` has the app-level token; `session` is the identity of the bot's own token. [`Incoming::Connected`] comes with
/// the first connection, [`Incoming::Refreshed`] with each further one, [`Incoming::Disconnected`] when none is left,
/// or none can be made.
///
/// It returns `Ok` when `cancel` fired (events that were handed out may still be acknowledged for a moment, then the
/// sockets are closed properly) or the receiver of `out` is gone. Everything but a [`Fatal`] error is retried for ever.
///
/// Pings, requests to reconnect, and each hello but that of the connection that begins a session concern the
/// connections alone and don't come out; all other frames do, known or not. While `out` is full, only a little more is
/// read; pings and acknowledgements go on.
///
/// # Errors
/// A [`Fatal`] error, which no further attempt can heal.
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
        // The end of one slot ends all of them: the others would end for the same reason.
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
