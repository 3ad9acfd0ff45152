//! The open sockets: to be written to, frozen and cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lock::lock;
use crate::socket::frame::{self, Kind};
use crate::socket::outbox::Outbox;
use crate::state::connection::{ConnectionId, Protocol};
use crate::state::tickets::Ticket;
use crate::state::ts::now;

/// How long a client may take to answer a close.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) id: ConnectionId,
    pub(crate) user: usize,
    pub(crate) protocol: Protocol,
    /// Seconds since 1970.
    pub(crate) since: f64,
    pub(crate) outbox: Outbox,
    /// Cuts the connection.
    pub(crate) close: CancellationToken,
    frozen: watch::Sender<bool>,
    /// When the closing handshake is to begin.
    end: watch::Sender<Option<Instant>>,
    /// Bytes a second at which the client is read; 0 for as fast as it sends.
    sip: AtomicU32,
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

    pub(crate) fn is_in_socket_mode(&self) -> bool {
        matches!(self.protocol, Protocol::SocketMode)
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

    /// Reads the client at so many bytes a second from now on; `None` for as fast as it sends.
    pub(crate) fn read_slowly(&self, rate: Option<u32>) {
        let rate = rate.map_or(0, |rate| rate.max(1));
        self.sip.store(rate, Ordering::Relaxed);
    }

    pub(crate) fn sip(&self) -> Option<u32> {
        Some(self.sip.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Has the closing handshake begin at a time, unless it is to begin earlier.
    pub(crate) fn end_at(&self, at: Instant) {
        self.end
            .send_if_modified(|end| match end.is_none_or(|end| at < end) {
                true => {
                    *end = Some(at);
                    true
                }
                false => false,
            });
    }

    /// Waits until the socket is to end, begins the closing handshake, and gives the client time to answer.
    pub(super) async fn ended(&self) {
        let mut end = self.end.subscribe();
        loop {
            let at = *end.borrow_and_update();
            let due = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => break,
                // The sender lives as long as `self`.
                _ = end.changed() => {}
            }
        }
        self.send_close(&1000_u16.to_be_bytes());
        tokio::time::sleep(FAREWELL).await;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Mutex<BTreeMap<ConnectionId, Arc<Socket>>>,
    next: AtomicU64,
}

impl Sockets {
    pub(crate) fn open(&self, ticket: Ticket) -> Arc<Socket> {
        let socket = Arc::new(Socket {
            id: ConnectionId(self.next.fetch_add(1, Ordering::Relaxed) + 1),
            user: ticket.user,
            protocol: ticket.protocol,
            since: now(),
            outbox: Outbox::default(),
            close: CancellationToken::new(),
            frozen: watch::Sender::new(false),
            end: watch::Sender::new(None),
            sip: AtomicU32::new(0),
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

    /// How many of Socket Mode are open.
    pub(crate) fn count_of_socket_mode(&self) -> usize {
        let open = lock(&self.open);
        open.values()
            .filter(|socket| socket.is_in_socket_mode())
            .count()
    }

    /// The one of Socket Mode that has the turn, where `turn` counts up; `None` where none is open.
    pub(crate) fn of_socket_mode(&self, turn: u64) -> Option<Arc<Socket>> {
        let open = lock(&self.open);
        let count = open
            .values()
            .filter(|socket| socket.is_in_socket_mode())
            .count() as u64;
        let mut there = open.values().filter(|socket| socket.is_in_socket_mode());
        there.nth(turn.checked_rem(count)? as usize).cloned()
    }
}
