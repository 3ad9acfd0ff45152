//! What a reader has taken from one host and not finished.

use std::collections::HashMap;
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
    pub(super) leases: String,
    again: String,
    id: ReceiverId,
    held: Mutex<Held>,
    /// The connection that the reader's task uses, while it has one.
    link: Mutex<Option<MultiplexedConnection>>,
    /// When the lease was last renewed, by the clock on the wall: others stand still while the machine sleeps.
    renewed: Mutex<SystemTime>,
}

/// The members that a reader holds.
#[derive(Debug, Default)]
struct Held {
    members: HashMap<Bytes, Standing>,
    /// How often what waits was taken up anew; what was taken up before is not handed out.
    round: u64,
    /// What waits may be another reader's by now: nothing is handed out before it was taken up anew.
    is_stale: bool,
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

/// What our keys beside `queue` begin with. A cluster puts a key where the part in braces belongs, so that they are where
/// the queue is, whose own key has none: `Q{Q}$djangobot`. One that has braces keeps them in front.
pub(super) fn beside(queue: &str) -> String {
    if queue.contains(['{', '}']) {
        format!("{queue}$djangobot")
    } else {
        format!("{queue}{{{queue}}}$djangobot")
    }
}

impl Shelf {
    pub(super) fn new(queue: &str, id: &ReceiverId) -> Self {
        let leases = beside(queue);
        Self {
            own: format!("{leases}.{}", id.0),
            again: format!("{leases}!again"),
            leases,
            queue: queue.to_owned(),
            id: id.clone(),
            held: Mutex::default(),
            link: Mutex::default(),
            renewed: SystemTime::UNIX_EPOCH.into(),
        }
    }

    /// Writes what each of [`crate::redis::dialect::Scripts`] begins with: the keys, those of `others` among them, and the
    /// reader's id.
    pub(super) fn write_keys(&self, cmd: &mut Cmd, others: &[String]) {
        cmd.arg(4 + others.len())
            .arg(&self.queue)
            .arg(&self.own)
            .arg(&self.leases)
            .arg(&self.again);
        for id in others {
            cmd.arg(format!("{}.{id}", self.leases));
        }
        cmd.arg(&*self.id.0);
    }

    /// Whether `id` is this reader's.
    pub(super) fn is_own(&self, id: &str) -> bool {
        id == &*self.id.0
    }

    /// Takes up `member`; gives the round that it belongs to, if it is new. One that is held already was sent twice, or
    /// is only seen again after a reconnection.
    pub(super) fn put(&self, member: &Bytes) -> Option<u64> {
        let mut held = self.held();
        let is_new = !held.members.contains_key(member);
        if is_new {
            held.members.insert(member.clone(), Standing::Waiting);
        }
        is_new.then_some(held.round)
    }

    /// Hands `member` out, which was taken up in `round`; says whether it is ours to hand out.
    ///
    /// Where `lease` ran out another reader may have it, and all that waits: none of it is handed out until the server
    /// has said what is still ours, all of it in its order.
    pub(super) fn hand_out(&self, member: &Bytes, round: u64, lease: Duration) -> bool {
        let lapsed = self.is_lapsed(lease);
        let mut held = self.held();
        if round != held.round {
            return false;
        }
        held.is_stale |= lapsed;
        if held.is_stale {
            return false;
        }
        match held.members.get_mut(member) {
            Some(standing @ Standing::Waiting) => {
                *standing = Standing::Given;
                true
            }
            _ => false,
        }
    }

    /// Puts down all that waits: the server says anew what is ours.
    pub(super) fn begin_round(&self) {
        let mut held = self.held();
        held.round += 1;
        held.is_stale = false;
        held.members
            .retain(|_, standing| *standing != Standing::Waiting);
    }

    /// Whether what waits has to be taken up anew.
    pub(super) fn is_stale(&self, lease: Duration) -> bool {
        self.is_lapsed(lease) || self.held().is_stale
    }

    /// Notes that the lease was renewed by a call that began at `began`.
    pub(super) fn renew(&self, began: SystemTime) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    /// Whether others may have taken over what we had, since `lease` passed with nothing renewed.
    fn is_lapsed(&self, lease: Duration) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back says nothing, and so is no reason to go on.
        renewed.elapsed().map_or(true, |passed| passed >= lease)
    }

    pub(super) fn finish(&self, member: &Bytes) {
        self.held()
            .members
            .insert(member.clone(), Standing::Finished);
    }

    pub(super) fn forget(&self, member: &Bytes) {
        self.held().members.remove(member);
    }

    pub(super) fn clear(&self) {
        self.held().members.clear();
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
            .members
            .iter()
            .filter(|(_, is)| **is == standing)
            .map(|(member, _)| member.clone())
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code that can panic runs under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn our_keys_lie_in_a_cluster_where_the_queue_does() {
        assert_eq!(
            beside("asgislack.send"),
            "asgislack.send{asgislack.send}$djangobot"
        );
        assert_eq!(beside("{asgi}slack.send"), "{asgi}slack.send$djangobot");
    }

    #[test]
    fn after_a_lease_ran_out_nothing_is_handed_out_before_all_is_taken_up_anew() {
        let shelf = Shelf::new("q", &ReceiverId("r".into()));
        let [first, second] = [Bytes::from_static(b"1"), Bytes::from_static(b"2")];
        let now = SystemTime::now();
        shelf.renew(now);
        let round = shelf.put(&first).unwrap();
        assert_eq!(shelf.put(&second), Some(round));
        // The clock is far ahead for a moment.
        shelf.renew(now - 2 * LEASE);
        assert!(!shelf.hand_out(&first, round, LEASE));
        shelf.renew(now);
        assert!(
            !shelf.hand_out(&second, round, LEASE),
            "it is behind the first"
        );
        assert!(shelf.is_stale(LEASE));

        shelf.begin_round();
        let anew = shelf.put(&first).unwrap();
        assert_eq!(shelf.put(&second), Some(anew));
        assert!(!shelf.hand_out(&second, round, LEASE), "that was before");
        for member in [&first, &second] {
            assert!(shelf.hand_out(member, anew, LEASE));
            assert_eq!(shelf.put(member), None, "it is handed out");
        }
    }
}
