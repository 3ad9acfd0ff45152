//! Who waits for which queue, and the handing over of what they waited for.
//!
//! An item is taken from its queue for the one who has waited longest, at the moment that it comes.
//! Until it is given out for good it can be put back where it was: a waiter that goes away loses nothing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::embedded::refusal::Refusal;
use crate::embedded::sorted_set::{SortedSet, Standing};
use crate::embedded::store::{Absent, End, Keyspace, List, Millis, Store};

/// The waiters, each queue's in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next_id: u64,
    waiters: HashMap<u64, Waiter>,
    queues: HashMap<(usize, Bytes), VecDeque<u64>>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    wanted: Wanted,
    hand: oneshot::Sender<Taken>,
}

/// What somebody waits for: the first item of the first of these keys that has any.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) database: usize,
    pub(super) keys: Vec<Bytes>,
    pub(super) from: From,
}

/// Where an item is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// A sorted set: its lowest member.
    Lowest,
    /// A list.
    End(End),
}

/// An item out of its queue, with what it needs to go back.
#[derive(Debug)]
pub(super) struct Taken {
    database: usize,
    pub(super) key: Bytes,
    pub(super) item: Item,
    /// When its queue would have gone.
    deadline: Option<Millis>,
}

#[derive(Debug)]
pub(super) enum Item {
    Member(Bytes, Standing),
    Item(Bytes, End),
}

impl Wanted {
    /// Takes the item if it is there now.
    pub(super) fn take(&self, keyspace: &mut Keyspace<'_>) -> Result<Option<Taken>, Refusal> {
        for key in &self.keys {
            if let Some(taken) = self.take_from(keyspace, key)? {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    fn take_from(
        &self,
        keyspace: &mut Keyspace<'_>,
        key: &Bytes,
    ) -> Result<Option<Taken>, Refusal> {
        let deadline = keyspace.deadline(key).flatten();
        let item = match self.from {
            From::Lowest => keyspace
                .edit(key, Absent::Leave, SortedSet::pop_first)?
                .flatten()
                .map(|(member, standing)| Item::Member(member, standing)),
            From::End(end) => keyspace
                .edit(key, Absent::Leave, |list: &mut List| list.pop(end))?
                .flatten()
                .map(|item| Item::Item(item, end)),
        };
        Ok(item.map(|item| Taken {
            database: keyspace.database(),
            key: key.clone(),
            item,
            deadline,
        }))
    }
}

impl Taken {
    /// Puts the item back where it was; `returned` says that somebody may have seen it.
    ///
    /// Nothing is left to do where something of another kind has taken the key meanwhile.
    pub(super) fn put_back(self, store: &mut Store, now: Millis, returned: bool) {
        let mut keyspace = store.at(self.database, now);
        let is_new = keyspace.deadline(&self.key).is_none();
        let put = match &self.item {
            Item::Member(member, standing) => {
                keyspace.edit(&self.key, Absent::Create, |set: &mut SortedSet| {
                    // A sender that tried again may have put the same message there, and that one will do.
                    if set.score(member).is_none() {
                        set.give_back(
                            member,
                            Standing {
                                returned: returned || standing.returned,
                                ..*standing
                            },
                        );
                    }
                })
            }
            Item::Item(item, end) => keyspace.edit(&self.key, Absent::Create, |list: &mut List| {
                list.push(*end, item)
            }),
        };
        if let Err(refusal) = put {
            tracing::warn!(key = %self.key.escape_ascii(), %refusal, "a message that was not delivered could not go back to its queue");
        } else if is_new {
            keyspace.set_deadline(&self.key, self.deadline);
        }
    }
}

impl Waiting {
    /// Adds a waiter at the end of its queues.
    pub(super) fn join(&mut self, wanted: Wanted) -> (u64, oneshot::Receiver<Taken>) {
        let (hand, receiver) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        for key in &wanted.keys {
            self.queues
                .entry((wanted.database, key.clone()))
                .or_default()
                .push_back(id);
        }
        self.waiters.insert(id, Waiter { wanted, hand });
        (id, receiver)
    }

    /// Takes a waiter out of its queues.
    pub(super) fn leave(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        for key in &waiter.wanted.keys {
            let place = (waiter.wanted.database, key.clone());
            if let Some(queue) = self.queues.get_mut(&place) {
                queue.retain(|other| *other != id);
                if queue.is_empty() {
                    self.queues.remove(&place);
                }
            }
        }
        Some(waiter)
    }

    /// Gives what `key` has to those who wait for it, in their order.
    pub(super) fn serve(&mut self, store: &mut Store, place: &(usize, Bytes), now: Millis) {
        let Some(queue) = self.queues.get(place) else {
            return;
        };
        for id in queue.clone() {
            let Some(waiter) = self.waiters.get(&id) else {
                continue;
            };
            let taken = match waiter
                .wanted
                .take_from(&mut store.at(place.0, now), &place.1)
            {
                Ok(Some(taken)) => taken,
                Ok(None) => break,
                // One who waits for a list is not served from a sorted set: it waits on, as in Redis.
                Err(_) => continue,
            };
            if let Some(waiter) = self.leave(id)
                && let Err(taken) = waiter.hand.send(taken)
            {
                taken.put_back(store, now, false);
            }
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }
}
