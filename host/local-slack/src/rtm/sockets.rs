//! The open sockets: to be written to, frozen and cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::frame::{self, Kind};
use super::outbox::Outbox;
use crate::journal::now;
use crate::lock;

/// One socket in the life of the server; never given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) id: ConnectionId,
    pub(crate) user: usize,
    /// Seconds since 1970.
    pub(crate) since: f64,
    pub(crate) outbox: Outbox,
    /// Cuts the connection.
    pub(crate) close: CancellationToken,
    /// Users whose presence the client wants to hear of.
    pub(crate) watched: Mutex<BTreeSet<usize>>,
    pub(crate) batch_presence: bool,
    frozen: watch::Sender<bool>,
    /// A close frame was sent; there is never a second one.
    closed: AtomicBool,
}

impl Socket {
    /// Queues whole frames; a client that is too far behind is cut off.
    pub(crate) fn send(&self, frames: Bytes) {
        if self.outbox.push(frames).is_err() {
            tracing::warn!(connection = %self.id, "the client does not read; its socket is cut");
            self.close.cancel();
        }
    }

    pub(crate) fn send_json(&self, value: &Value) {
        self.send(frame::frame(Kind::Text, value.to_string().as_bytes()));
    }

    /// Begins the closing handshake, or answers it.
    pub(crate) fn send_close(&self, payload: &[u8]) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.send(frame::frame(Kind::Close, payload));
        }
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    pub(crate) async fn thawed(&self) {
        // The sender lives as long as `self`.
        self.frozen
            .subscribe()
            .wait_for(|frozen| !frozen)
            .await
            .ok();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Mutex<BTreeMap<ConnectionId, Arc<Socket>>>,
    next: AtomicU64,
}

impl Sockets {
    pub(crate) fn open(&self, user: usize, batch_presence: bool) -> Arc<Socket> {
        let socket = Arc::new(Socket {
            id: ConnectionId(self.next.fetch_add(1, Ordering::Relaxed) + 1),
            user,
            since: now(),
            outbox: Outbox::default(),
            close: CancellationToken::new(),
            watched: Mutex::default(),
            batch_presence,
            frozen: watch::Sender::new(false),
            closed: AtomicBool::new(false),
        });
        lock(&self.open).insert(socket.id, socket.clone());
        socket
    }

    pub(crate) fn close(&self, id: ConnectionId) {
        lock(&self.open).remove(&id);
    }

    /// All that are open, or the one with this id.
    pub(crate) fn get(&self, id: Option<ConnectionId>) -> Vec<Arc<Socket>> {
        let open = lock(&self.open);
        match id {
            Some(id) => open.get(&id).into_iter().cloned().collect(),
            None => open.values().cloned().collect(),
        }
    }

    /// Sends a text frame to all that `wanted` picks; it is written once for all of them.
    pub(crate) fn send_where(&self, text: &[u8], wanted: impl Fn(&Socket) -> bool) {
        let mut frame = None;
        for socket in lock(&self.open).values() {
            if wanted(socket) {
                let frame = frame.get_or_insert_with(|| frame::frame(Kind::Text, text));
                socket.send(frame.clone());
            }
        }
    }
}
