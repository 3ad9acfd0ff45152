//! The connected clients, and what is pushed to them unasked.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::embedded::resp::{Protocol, Reply};

/// All clients that are connected, by id.
#[derive(Debug)]
pub(super) struct Clients {
    next_id: u64,
    clients: BTreeMap<u64, Client>,
    /// How many may be connected.
    limit: usize,
    /// How many bytes may wait for one that does not read.
    push_limit: usize,
    trackers: usize,
}

/// What is known of one client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) name: Bytes,
    pub(super) database: usize,
    pub(super) protocol: Protocol,
    tracking: Option<Tracking>,
    /// Pushes that its connection has not taken up yet.
    pushes: BytesMut,
    wake: Arc<Notify>,
    kill: CancellationToken,
}

/// `CLIENT TRACKING ON BCAST`: which keys a client hears about.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracking {
    /// All keys, where it is empty.
    pub(super) prefixes: Vec<Bytes>,
    /// Whether its own changes are left out.
    pub(super) no_loop: bool,
}

/// A client's way to learn of pushes, and that it must go.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Woken when there are pushes.
    pub(super) wake: Arc<Notify>,
    /// Cancelled when the client must go.
    pub(super) kill: CancellationToken,
}

impl Clients {
    /// Nobody, and room for `limit` clients with `push_limit` bytes each.
    pub(super) fn new(limit: usize, push_limit: usize) -> Self {
        Self {
            next_id: 1,
            clients: BTreeMap::new(),
            limit,
            push_limit,
            trackers: 0,
        }
    }

    /// Takes a client in, or not, where there are too many.
    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        kill: CancellationToken,
    ) -> Option<(u64, Line)> {
        if self.clients.len() >= self.limit {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let line = Line {
            wake: Arc::new(Notify::new()),
            kill,
        };
        let client = Client {
            address,
            name: Bytes::new(),
            database: 0,
            protocol: Protocol::default(),
            tracking: None,
            pushes: BytesMut::new(),
            wake: Arc::clone(&line.wake),
            kill: line.kill.clone(),
        };
        self.clients.insert(id, client);
        Some((id, line))
    }

    /// Forgets a client.
    pub(super) fn disconnect(&mut self, id: u64) {
        self.track(id, None);
        self.clients.remove(&id);
    }

    /// The client `id`.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Pushes to a client; one that reads too slowly must go, as with Redis's output buffer limit.
    pub(super) fn push(&mut self, id: u64, message: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.pushes.len() > self.push_limit {
            if !client.kill.is_cancelled() {
                tracing::warn!(client = %client.address, "a subscriber of the embedded layer reads too slowly and is disconnected");
                client.kill.cancel();
            }
            return;
        }
        message.write(client.protocol, &mut client.pushes);
        client.wake.notify_one();
    }

    /// Moves what waits for a client to `out`.
    pub(super) fn take_pushes(&mut self, id: u64, out: &mut BytesMut) {
        if let Some(client) = self.clients.get_mut(&id)
            && !client.pushes.is_empty()
        {
            out.extend_from_slice(&client.pushes.split());
        }
    }

    /// Sets what changes a client hears of.
    pub(super) fn track(&mut self, id: u64, tracking: Option<Tracking>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        self.trackers -= usize::from(client.tracking.is_some());
        self.trackers += usize::from(tracking.is_some());
        client.tracking = tracking;
    }

    /// Whether anybody hears of changes.
    pub(super) fn has_trackers(&self) -> bool {
        self.trackers > 0
    }

    /// Tells the trackers which keys have changed. Redis has them ignore databases.
    pub(super) fn invalidate(&mut self, keys: &HashSet<Bytes>, author: Option<u64>) {
        let mut pushes = Vec::new();
        for (id, client) in &self.clients {
            let Some(tracking) = &client.tracking else {
                continue;
            };
            if tracking.no_loop && author == Some(*id) {
                continue;
            }
            let heard = |key: &&Bytes| {
                tracking.prefixes.is_empty()
                    || tracking
                        .prefixes
                        .iter()
                        .any(|prefix| key.starts_with(prefix))
            };
            let heard: Vec<Reply> = keys
                .iter()
                .filter(heard)
                .cloned()
                .map(Reply::Bulk)
                .collect();
            if !heard.is_empty() {
                pushes.push((
                    *id,
                    Reply::Push(vec![Reply::text("invalidate"), Reply::Array(heard)]),
                ));
            }
        }
        for (id, push) in pushes {
            self.push(id, &push);
        }
    }
}
