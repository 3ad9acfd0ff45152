//! The queues in the embedded store, as the layer and its readers use them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::embedded::options::{DATABASE, LayerOptions};
use crate::embedded::refusal::Refusal;
use crate::embedded::sorted_set::{MEMBER_OVERHEAD, SortedSet};
use crate::embedded::state::{Shared, State};
use crate::embedded::store::{Absent, Keyspace, Millis};
use crate::layer::{LayerError, Sent};
use crate::name::ChannelName;
use crate::refusal::RefusalKind;
use crate::score;
use crate::wire::Member;

/// What the layer and its readers share.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
    pub(super) options: Arc<LayerOptions>,
    pub(super) codec: Codec,
    pub(super) closed: CancellationToken,
}

impl Queues {
    /// The key of the queue that carries `channel`.
    pub(super) fn key(&self, channel: &ChannelName) -> Bytes {
        format!("{}{}", self.options.prefix, channel.queue()).into()
    }

    /// Works on the layer's database, and wakes whom it concerns.
    pub(super) fn with<R>(
        &self,
        work: impl FnOnce(&mut Keyspace<'_>) -> R,
    ) -> Result<R, LayerError> {
        if self.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let mut state = self.shared.lock();
        let result = work(&mut keyspace(&mut state));
        state.settle(None);
        Ok(result)
    }

    /// The server's own error: its memory is full, or another program uses a key for something else.
    pub(super) fn refused(&self, refusal: Refusal) -> LayerError {
        LayerError::Refused {
            address: self.address.to_string(),
            kind: match refusal {
                Refusal::Memory => RefusalKind::Memory,
                Refusal::WrongType => RefusalKind::WrongType,
                _ => RefusalKind::Request,
            },
            reason: refusal.to_string(),
        }
    }

    /// Puts members on a queue, as many as capacity and memory have room for.
    ///
    /// Where there is no memory for the first it fails, and may be tried again, as with a Redis at its `maxmemory`.
    pub(super) fn send(
        &self,
        keyspace: &mut Keyspace<'_>,
        key: &[u8],
        capacity: usize,
        members: &[Member],
    ) -> Result<Sent, LayerError> {
        let now = score::now();
        let (mut expired, mut waiting) = (0, 0);
        let mut memory = keyspace.room();
        let mut is_out_of_memory = false;
        let accepted = keyspace.edit(key, Absent::Create, |set: &mut SortedSet| {
            expired = remove_older(set, now, self.options.expiry);
            // Later than all that is there, or what was sent first might be read last.
            let mut next = set.last_score().map_or(now, |last| now.max(last.next_up()));
            let mut accepted = 0;
            is_out_of_memory = members.is_empty() && memory < MEMBER_OVERHEAD;
            for Member(member) in members {
                if set.score(member).is_none() {
                    let cost = member.len() + MEMBER_OVERHEAD;
                    if set.len() >= capacity {
                        break;
                    }
                    if memory < cost {
                        is_out_of_memory = accepted == 0;
                        break;
                    }
                    memory -= cost;
                    set.insert(member, next);
                    next = next.next_up();
                }
                accepted += 1;
            }
            waiting = set.len();
            accepted
        });
        let accepted = accepted
            .map_err(|refusal| self.refused(refusal))?
            .unwrap_or(0);
        if is_out_of_memory {
            return Err(self.refused(Refusal::Memory));
        }
        if accepted > 0 {
            keyspace.set_deadline(key, Some(after(keyspace.now(), self.options.expiry)));
        }
        Ok(Sent {
            accepted,
            receivers: None,
            expired: expired as u64,
            waiting: Some(waiting as u64),
        })
    }
}

/// Takes out what is older than `expiry` seconds.
pub(super) fn remove_older(set: &mut SortedSet, now: f64, expiry: u64) -> usize {
    let limit = now.trunc() - expiry as f64;
    set.remove_range(
        std::ops::Bound::Included(0.0),
        std::ops::Bound::Included(limit),
    )
}

/// The time `seconds` after `now`.
pub(super) fn after(now: Millis, seconds: u64) -> Millis {
    now.saturating_add(seconds.saturating_mul(1000))
}

/// The layer's database, now.
pub(super) fn keyspace(state: &mut State) -> Keyspace<'_> {
    let now = state.now();
    state.store.at(DATABASE, now)
}
