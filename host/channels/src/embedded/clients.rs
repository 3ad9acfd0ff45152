//! The connected clients, and the messages that are pushed to them.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::embedded::resp::{Protocol, Reply};

/// All connected clients, by id.
#[derive(Debug)]
pub(super) struct Clients {
    next_id: u64,
    clients: BTreeMap<u64, Client>,
    /// The greatest number of clients.
    limit: usize,
    /// How many bytes may wait for a client that does not read.
    push_limit: usize,
    /// The number of clients with `tracking`.
    trackers: usize,
}

/// One client, as other clients and the server see it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) name: Bytes,
    pub(super) database: usize,
    pub(super) protocol: Protocol,
    tracking: Option<Tracking>,
    /// Pushed messages that its connection has not taken over yet.
    pushes: BytesMut,
    wake: Arc<Notify>,
    kill: CancellationToken,
}

/// `CLIENT TRACKING ON BCAST`: the keys whose changes are reported to a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracking {
    /// Prefixes of the keys; empty means all keys.
    pub(super) prefixes: Vec<Bytes>,
    /// Whether changes by the client itself are left out.
    pub(super) no_loop: bool,
}

/// The connection's end of a client: it is woken for pushed messages, and told to disconnect.
#[derive(Debug, Clone)]
pub(super) struct ClientHandle {
    pub(super) id: u64,
    /// Notified when there are pushed messages.
    pub(super) wake: Arc<Notify>,
    /// Cancelled when the client must be disconnected.
    pub(super) kill: CancellationToken,
}

impl Clients {
    /// No clients yet, and room for `limit` of them with `push_limit` bytes of pushed messages each.
    pub(super) fn new(limit: usize, push_limit: usize) -> Self {
        Self {
            next_id: 1,
            clients: BTreeMap::new(),
            limit,
            push_limit,
            trackers: 0,
        }
    }

    /// Adds a client. `None` if there are too many.
    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        kill: CancellationToken,
    ) -> Option<ClientHandle> {
        if self.clients.len() >= self.limit {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let handle = ClientHandle {
            id,
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
            wake: Arc::clone(&handle.wake),
            kill: handle.kill.clone(),
        };
        self.clients.insert(id, client);
        Some(handle)
    }

    /// Removes a client.
    pub(super) fn disconnect(&mut self, id: u64) {
        self.track(id, None);
        self.clients.remove(&id);
    }

    /// The client `id`.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    /// All clients.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    /// The number of clients.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Pushes a message to a client. A client that reads too slowly is disconnected, as by Redis's output buffer limit.
    pub(super) fn push(&mut self, id: u64, message: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.pushes.len() > self.push_limit {
            if !client.kill.is_cancelled() {
                tracing::warn!(client = %client.address, "a subscriber of the embedded channel layer reads too slowly and is disconnected");
                client.kill.cancel();
            }
            return;
        }
        message.write(client.protocol, &mut client.pushes);
        client.wake.notify_one();
    }

    /// Moves the pushed messages of a client to `out`.
    pub(super) fn take_pushes(&mut self, id: u64, out: &mut BytesMut) {
        if let Some(client) = self.clients.get_mut(&id)
            && !client.pushes.is_empty()
        {
            out.extend_from_slice(&client.pushes.split());
        }
    }

    /// Sets the changes that are reported to a client.
    pub(super) fn track(&mut self, id: u64, tracking: Option<Tracking>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        self.trackers -= usize::from(client.tracking.is_some());
        self.trackers += usize::from(tracking.is_some());
        client.tracking = tracking;
    }

    /// Whether changes are reported to any client.
    pub(super) fn has_trackers(&self) -> bool {
        self.trackers > 0
    }

    /// Reports changed keys to the clients that track them. As in Redis, the database makes no difference.
    pub(super) fn invalidate(&mut self, keys: &HashSet<Bytes>, author: Option<u64>) {
        let mut pushes = Vec::new();
        for (id, client) in &self.clients {
            let Some(tracking) = &client.tracking else {
                continue;
            };
            if tracking.no_loop && author == Some(*id) {
                continue;
            }
            let is_tracked = |key: &&Bytes| {
                tracking.prefixes.is_empty()
                    || tracking
                        .prefixes
                        .iter()
                        .any(|prefix| key.starts_with(prefix))
            };
            let tracked: Vec<Reply> = keys
                .iter()
                .filter(is_tracked)
                .cloned()
                .map(Reply::Bulk)
                .collect();
            if !tracked.is_empty() {
                pushes.push((
                    *id,
                    Reply::Push(vec![Reply::text("invalidate"), Reply::Array(tracked)]),
                ));
            }
        }
        for (id, push) in pushes {
            self.push(id, &push);
        }
    }
}
