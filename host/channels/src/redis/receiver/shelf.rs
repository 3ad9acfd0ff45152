//! The messages that a reader has taken from one host and not finished, and the keys that hold them there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use djangobot_event::lock::lock;
use redis::Cmd;
use redis::aio::MultiplexedConnection;

use crate::layer::ReceiverId;

/// The keys of one reader on one host, and the members that lie in its processing key there.
///
/// Each member passes through [`Progress`]: waiting, delivered, finished. Between the fields this holds:
///
/// - A member is in `members` from the moment that a script answered it until the server has confirmed that it is
///   finished. So a member that the server answers again, after a reconnection, is recognised and not delivered twice.
/// - A waiting member may be delivered only in the `round` in which it was taken up. When the lease has lapsed, another
///   reader may have taken over all that waits: `is_stale` is set, nothing is delivered, and the next round begins with
///   the server's own list. Delivered members stay as they are in any round, because the caller already has them.
/// - `renewed` is the time *before* the call that renewed the lease, so the lease never lasts longer than we assume.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) queue: String,
    /// The reader's processing key.
    pub(super) own: String,
    pub(super) leases: String,
    /// The key of the members that were delivered and then given back.
    returned: String,
    id: ReceiverId,
    holdings: Mutex<Holdings>,
    /// The connection that the reader's task uses, while it has one.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// When the lease was last renewed, by the system clock: a monotonic clock stands still while the machine sleeps,
    /// and the server's clock does not.
    renewed: Mutex<SystemTime>,
}

/// The members that a reader holds.
#[derive(Debug, Default)]
struct Holdings {
    members: HashMap<Bytes, Progress>,
    /// The number of times that waiting members were put down; those of an earlier round are not delivered.
    round: u64,
    /// Waiting members may belong to another reader by now: none is delivered before the next round.
    is_stale: bool,
}

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It was taken from the queue, and nobody has asked for it yet.
    Waiting,
    /// The caller has it.
    Delivered,
    /// The caller has finished it, and the server has not been told yet.
    Finished,
}

/// The text with which our own keys of `queue` begin. Redis Cluster places a key by the part in braces, so our keys lie
/// where the queue lies: `Q{Q}$djangobot`. A queue whose own name has braces keeps them at the front.
pub(super) fn own_keys_of(queue: &str) -> String {
    if queue.contains(['{', '}']) {
        format!("{queue}$djangobot")
    } else {
        format!("{queue}{{{queue}}}$djangobot")
    }
}

impl Shelf {
    pub(super) fn new(queue: &str, id: &ReceiverId) -> Self {
        let leases = own_keys_of(queue);
        Self {
            own: format!("{leases}.{}", id.0),
            returned: format!("{leases}!again"),
            leases,
            queue: queue.to_owned(),
            id: id.clone(),
            holdings: Mutex::default(),
            connection: Mutex::default(),
            renewed: SystemTime::UNIX_EPOCH.into(),
        }
    }

    /// Writes the beginning that all of [`crate::redis::dialect::Scripts`] share: the keys, with the processing keys of
    /// `others`, and the reader's id.
    pub(super) fn write_keys(&self, cmd: &mut Cmd, others: &[String]) {
        cmd.arg(4 + others.len())
            .arg(&self.queue)
            .arg(&self.own)
            .arg(&self.leases)
            .arg(&self.returned);
        for id in others {
            cmd.arg(format!("{}.{id}", self.leases));
        }
        cmd.arg(&*self.id.0);
    }

    /// Whether `id` is this reader's.
    pub(super) fn is_own(&self, id: &str) -> bool {
        id == &*self.id.0
    }

    /// Adds `member` as waiting, and returns its round. Returns `None` if it is here already: it was sent twice, or the
    /// server answered it again after a reconnection.
    pub(super) fn add(&self, member: &Bytes) -> Option<u64> {
        let mut holdings = self.holdings();
        let is_new = !holdings.members.contains_key(member);
        if is_new {
            holdings.members.insert(member.clone(), Progress::Waiting);
        }
        is_new.then_some(holdings.round)
    }

    /// Marks `member`, which was added in `round`, as delivered; returns whether the caller may have it.
    ///
    /// Once the lease has lapsed, another reader may have this member and all others that wait. Then none of them is
    /// delivered until the server has answered which are still ours, in the queue's order.
    pub(super) fn deliver(&self, member: &Bytes, round: u64, lease: Duration) -> bool {
        let lapsed = self.is_lapsed(lease);
        let mut holdings = self.holdings();
        if round != holdings.round {
            return false;
        }
        holdings.is_stale |= lapsed;
        if holdings.is_stale {
            return false;
        }
        match holdings.members.get_mut(member) {
            Some(progress @ Progress::Waiting) => {
                *progress = Progress::Delivered;
                true
            }
            _ => false,
        }
    }

    /// Puts down all waiting members, before the server answers which are ours.
    pub(super) fn begin_round(&self) {
        let mut holdings = self.holdings();
        holdings.round += 1;
        holdings.is_stale = false;
        holdings
            .members
            .retain(|_, progress| *progress != Progress::Waiting);
    }

    /// Whether a new round has to begin before anything is delivered.
    pub(super) fn is_stale(&self, lease: Duration) -> bool {
        self.is_lapsed(lease) || self.holdings().is_stale
    }

    /// Notes that a call which began at `began` renewed the lease.
    pub(super) fn renew(&self, began: SystemTime) {
        *lock(&self.renewed) = began;
    }

    /// Whether `lease` has passed since the last renewal, so that others may have taken over our messages.
    fn is_lapsed(&self, lease: Duration) -> bool {
        let renewed = *lock(&self.renewed);
        // A clock that was set back shows nothing, so the lease counts as lapsed.
        renewed.elapsed().map_or(true, |passed| passed >= lease)
    }

    pub(super) fn finish(&self, member: &Bytes) {
        self.holdings()
            .members
            .insert(member.clone(), Progress::Finished);
    }

    pub(super) fn forget(&self, member: &Bytes) {
        self.holdings().members.remove(member);
    }

    pub(super) fn clear(&self) {
        self.holdings().members.clear();
    }

    pub(super) fn delivered(&self) -> Vec<Bytes> {
        self.members_in(Progress::Delivered)
    }

    pub(super) fn finished(&self) -> Vec<Bytes> {
        self.members_in(Progress::Finished)
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        lock(&self.connection).clone()
    }

    pub(super) fn set_connection(&self, connection: Option<MultiplexedConnection>) {
        *lock(&self.connection) = connection;
    }

    fn members_in(&self, wanted: Progress) -> Vec<Bytes> {
        self.holdings()
            .members
            .iter()
            .filter(|(_, progress)| **progress == wanted)
            .map(|(member, _)| member.clone())
            .collect()
    }

    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        lock(&self.holdings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn our_keys_lie_in_a_cluster_where_the_queue_does() {
        assert_eq!(
            own_keys_of("asgislack.send"),
            "asgislack.send{asgislack.send}$djangobot"
        );
        assert_eq!(
            own_keys_of("{asgi}slack.send"),
            "{asgi}slack.send$djangobot"
        );
    }

    #[test]
    fn after_a_lease_ran_out_nothing_is_delivered_before_the_next_round() {
        let shelf = Shelf::new("q", &ReceiverId("r".into()));
        let [first, second] = [Bytes::from_static(b"1"), Bytes::from_static(b"2")];
        let now = SystemTime::now();
        shelf.renew(now);
        let round = shelf.add(&first).unwrap();
        assert_eq!(shelf.add(&second), Some(round));
        // The clock is far ahead for a moment.
        shelf.renew(now - 2 * LEASE);
        assert!(!shelf.deliver(&first, round, LEASE));
        shelf.renew(now);
        assert!(
            !shelf.deliver(&second, round, LEASE),
            "it is behind the first"
        );
        assert!(shelf.is_stale(LEASE));

        shelf.begin_round();
        let later = shelf.add(&first).unwrap();
        assert_eq!(shelf.add(&second), Some(later));
        assert!(
            !shelf.deliver(&second, round, LEASE),
            "that is the earlier round"
        );
        for member in [&first, &second] {
            assert!(shelf.deliver(member, later, LEASE));
            assert_eq!(shelf.add(member), None, "it is delivered");
        }
    }
}
