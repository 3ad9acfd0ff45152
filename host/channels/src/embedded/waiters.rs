//! The clients and readers that wait for an item of a queue, and the delivery of items to them.
//!
//! As soon as an item comes, it is popped for the waiter that has waited longest. Until the item has been delivered for
//! good, it can go back to its place, so a waiter that goes away loses nothing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::embedded::command_error::CommandError;
use crate::embedded::list::{End, List};
use crate::embedded::sorted_set::{MemberState, SortedSet};
use crate::embedded::store::{DatabaseKey, Expiry, Keyspace, Millis, MissingKey, Store};

/// All waiters. Each queue has them in the order in which they came.
///
/// Every id in `queues` has an entry in `waiters`, and each waiter is in the queue of each of its keys.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_id: u64,
    waiters: HashMap<u64, Waiter>,
    queues: HashMap<DatabaseKey, VecDeque<u64>>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    request: PopRequest,
    sender: oneshot::Sender<QueueItem>,
}

/// A request for the first item of the first of these keys that has any.
#[derive(Debug, Clone)]
pub(super) struct PopRequest {
    pub(super) database: usize,
    pub(super) keys: Vec<Bytes>,
    pub(super) from: PopFrom,
}

/// The place in a queue that an item is popped from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PopFrom {
    /// The lowest member of a sorted set.
    LowestMember,
    /// One end of a list.
    ListEnd(End),
}

/// An item that was popped from its queue, with all that it needs to go back.
#[derive(Debug)]
pub(super) struct QueueItem {
    database: usize,
    pub(super) key: Bytes,
    pub(super) value: ItemValue,
    /// The expiry of its queue.
    deadline: Option<Millis>,
}

/// The value of an item, and its place in its queue.
#[derive(Debug)]
pub(super) enum ItemValue {
    Member(Bytes, MemberState),
    Element(Bytes, End),
}

impl PopRequest {
    /// Pops the item, if there is one now.
    pub(super) fn pop(
        &self,
        keyspace: &mut Keyspace<'_>,
    ) -> Result<Option<QueueItem>, CommandError> {
        for key in &self.keys {
            if let Some(item) = self.pop_from(keyspace, key)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn pop_from(
        &self,
        keyspace: &mut Keyspace<'_>,
        key: &Bytes,
    ) -> Result<Option<QueueItem>, CommandError> {
        let deadline = keyspace.expiry(key).deadline();
        let value = match self.from {
            PopFrom::LowestMember => keyspace
                .edit(key, MissingKey::Ignore, SortedSet::pop_first)?
                .flatten()
                .map(|(member, state)| ItemValue::Member(member, state)),
            PopFrom::ListEnd(end) => keyspace
                .edit(key, MissingKey::Ignore, |list: &mut List| list.pop(end))?
                .flatten()
                .map(|element| ItemValue::Element(element, end)),
        };
        Ok(value.map(|value| QueueItem {
            database: keyspace.database(),
            key: key.clone(),
            value,
            deadline,
        }))
    }
}

impl QueueItem {
    /// Puts the item back where it was. `returned` says that a reader may have seen it.
    ///
    /// The item is lost if another program has put a value of another kind under the key meanwhile.
    pub(super) fn put_back(self, store: &mut Store, now: Millis, returned: bool) {
        let mut keyspace = store.at(self.database, now);
        let is_new = keyspace.expiry(&self.key) == Expiry::Missing;
        let put = match &self.value {
            ItemValue::Member(member, state) => {
                keyspace.edit(&self.key, MissingKey::Create, |set: &mut SortedSet| {
                    // A sender that tried again may have put the same message there. Then that one stays.
                    if set.score(member).is_none() {
                        set.give_back(
                            member,
                            MemberState {
                                returned: returned || state.returned,
                                ..*state
                            },
                        );
                    }
                })
            }
            ItemValue::Element(element, end) => {
                keyspace.edit(&self.key, MissingKey::Create, |list: &mut List| {
                    list.push(*end, element)
                })
            }
        };
        if let Err(error) = put {
            tracing::warn!(
                key = %self.key.escape_ascii(),
                %error,
                "an undelivered message was lost because another program has taken its queue's key for something else"
            );
        } else if is_new {
            keyspace.set_deadline(&self.key, self.deadline);
        }
    }
}

impl Waiters {
    /// Adds a waiter at the end of its queues.
    pub(super) fn join(&mut self, request: PopRequest) -> (u64, oneshot::Receiver<QueueItem>) {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        for key in &request.keys {
            self.queues
                .entry(DatabaseKey::new(request.database, key))
                .or_default()
                .push_back(id);
        }
        self.waiters.insert(id, Waiter { request, sender });
        (id, receiver)
    }

    /// Removes a waiter from its queues.
    pub(super) fn leave(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        for key in &waiter.request.keys {
            let key = DatabaseKey::new(waiter.request.database, key);
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.retain(|other| *other != id);
                if queue.is_empty() {
                    self.queues.remove(&key);
                }
            }
        }
        Some(waiter)
    }

    /// Delivers the items of `key` to its waiters, in their order.
    pub(super) fn serve(&mut self, store: &mut Store, key: &DatabaseKey, now: Millis) {
        let Some(queue) = self.queues.get(key) else {
            return;
        };
        for id in queue.clone() {
            let Some(waiter) = self.waiters.get(&id) else {
                continue;
            };
            let popped = waiter
                .request
                .pop_from(&mut store.at(key.database, now), &key.key);
            let item = match popped {
                Ok(Some(item)) => item,
                Ok(None) => break,
                // A waiter for a list gets nothing from a sorted set. It goes on waiting, as in Redis.
                Err(_) => continue,
            };
            if let Some(waiter) = self.leave(id)
                && let Err(item) = waiter.sender.send(item)
            {
                item.put_back(store, now, false);
            }
        }
    }

    /// The number of waiters.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }
}
