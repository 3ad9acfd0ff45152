//! What a reader has taken from one host and not finished.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redis::Cmd;
use redis::aio::MultiplexedConnection;

use crate::layer::ReceiverId;

/// The keys of one reader on one host, and the members that it holds there.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) queue: String,
    /// The reader's processing key.
    pub(super) own: String,
    leases: String,
    again: String,
    id: ReceiverId,
    held: Mutex<HashMap<Bytes, Standing>>,
    /// The connection that the reader's task uses, while it has one.
    link: Mutex<Option<MultiplexedConnection>>,
    /// When the lease was last renewed, by the clock on the wall: others stand still while the machine sleeps.
    renewed: Mutex<SystemTime>,
}

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Taken, and not yet asked for.
    Waiting,
    /// Handed out.
    Given,
    /// Finished, and the server not yet told.
    Finished,
}

impl Shelf {
    pub(super) fn new(queue: &str, id: &ReceiverId) -> Self {
        Self {
            own: format!("{queue}$djangobot.{}", id.0),
            leases: format!("{queue}$djangobot"),
            again: format!("{queue}$djangobot!again"),
            queue: queue.to_owned(),
            id: id.clone(),
            held: Mutex::default(),
            link: Mutex::default(),
            renewed: SystemTime::UNIX_EPOCH.into(),
        }
    }

    /// Writes what each of [`crate::dialect::Scripts`] begins with: the keys and the reader's id.
    pub(super) fn write_keys(&self, cmd: &mut Cmd) {
        cmd.arg(4)
            .arg(&self.queue)
            .arg(&self.own)
            .arg(&self.leases)
            .arg(&self.again)
            .arg(&*self.id.0);
    }

    /// Takes up `member`; says whether it is new. One that is held already was sent twice, or is
    /// only seen again after a reconnection.
    pub(super) fn put(&self, member: &Bytes) -> bool {
        let mut held = self.held();
        let new = !held.contains_key(member);
        if new {
            held.insert(member.clone(), Standing::Waiting);
        }
        new
    }

    /// Hands `member` out; says whether it is ours to hand out.
    ///
    /// Where `lease` ran out another reader may have it: it is put down then, and comes again when
    /// the server says that it is still ours.
    pub(super) fn hand_out(&self, member: &Bytes, lease: Duration) -> bool {
        let lapsed = self.is_lapsed(lease);
        let mut held = self.held();
        match held.get_mut(member) {
            Some(Standing::Waiting) if lapsed => {
                held.remove(member);
                false
            }
            Some(standing @ Standing::Waiting) => {
                *standing = Standing::Given;
                true
            }
            _ => false,
        }
    }

    /// Puts down what waits and is not in `ours`, the members that the server says we have.
    pub(super) fn retain(&self, ours: &HashSet<Bytes>) {
        self.held()
            .retain(|member, standing| *standing != Standing::Waiting || ours.contains(member));
    }

    /// Notes that the lease was renewed by a call that began at `began`.
    pub(super) fn renew(&self, began: SystemTime) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    /// Whether others may have taken over what we had, since `lease` passed with nothing renewed.
    pub(super) fn is_lapsed(&self, lease: Duration) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back says nothing, and so is no reason to go on.
        renewed.elapsed().map_or(true, |passed| passed >= lease)
    }

    pub(super) fn finish(&self, member: &Bytes) {
        self.held().insert(member.clone(), Standing::Finished);
    }

    pub(super) fn forget(&self, member: &Bytes) {
        self.held().remove(member);
    }

    pub(super) fn clear(&self) {
        self.held().clear();
    }

    pub(super) fn given(&self) -> Vec<Bytes> {
        self.with(Standing::Given)
    }

    pub(super) fn finished(&self) -> Vec<Bytes> {
        self.with(Standing::Finished)
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_connection(&self, connection: Option<MultiplexedConnection>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn with(&self, standing: Standing) -> Vec<Bytes> {
        self.held()
            .iter()
            .filter(|(_, is)| **is == standing)
            .map(|(member, _)| member.clone())
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Bytes, Standing>> {
        // No code that can panic runs under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
