//! The queues in the embedded store, as the layer and its readers use them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::embedded::command_error::CommandError;
use crate::embedded::options::{DATABASE, LayerOptions};
use crate::embedded::sorted_set::{MEMBER_OVERHEAD, SortedSet};
use crate::embedded::state::{SharedState, State};
use crate::embedded::store::{Keyspace, Millis, MissingKey};
use crate::layer::{LayerError, SendReport};
use crate::name::ChannelName;
use crate::refusal::RefusalKind;
use crate::score;
use crate::wire::Member;

/// The store and settings of one layer, shared by the layer and its readers.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedQueues {
    pub(super) shared: Arc<SharedState>,
    pub(super) address: SocketAddr,
    pub(super) options: Arc<LayerOptions>,
    pub(super) codec: Codec,
    pub(super) closed: CancellationToken,
}

impl EmbeddedQueues {
    /// The key of the queue that carries `channel`.
    pub(super) fn key(&self, channel: &ChannelName) -> Bytes {
        format!("{}{}", self.options.prefix, channel.queue()).into()
    }

    /// Works on the layer's database, and then serves the waiters of the keys that changed.
    pub(super) fn with<R>(
        &self,
        work: impl FnOnce(&mut Keyspace<'_>) -> Result<R, CommandError>,
    ) -> Result<R, LayerError> {
        if self.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let mut state = self.shared.lock();
        let result = work(&mut keyspace(&mut state));
        state.settle(None);
        result.map_err(|error| self.refused(error))
    }

    /// The layer's error for a command's error, such as a full memory or a key that another program uses.
    pub(super) fn refused(&self, error: CommandError) -> LayerError {
        LayerError::Refused {
            address: self.address.to_string(),
            kind: match error {
                CommandError::Memory => RefusalKind::Memory,
                CommandError::WrongType => RefusalKind::WrongType,
                _ => RefusalKind::Request,
            },
            reason: error.to_string(),
        }
    }

    /// Puts members on a queue, as many as capacity and memory have room for.
    ///
    /// If there is no memory for the first member it fails and may be tried again, as a Redis at its `maxmemory` does.
    pub(super) fn send(
        &self,
        keyspace: &mut Keyspace<'_>,
        key: &[u8],
        capacity: usize,
        members: &[Member],
    ) -> Result<SendReport, CommandError> {
        let now = score::now();
        let mut expired = 0;
        let mut waiting = 0;
        let mut memory = keyspace.room();
        let mut is_out_of_memory = false;
        let accepted = keyspace.edit(key, MissingKey::Create, |set: &mut SortedSet| {
            expired = remove_older(set, now, self.options.expiry);
            // The scores must be above all that are there, or new messages might be read before older ones.
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
        let accepted = accepted?.unwrap_or(0);
        if is_out_of_memory {
            return Err(CommandError::Memory);
        }
        if accepted > 0 {
            keyspace.set_deadline(key, Some(after(keyspace.now(), self.options.expiry)));
        }
        Ok(SendReport {
            accepted,
            receivers: None,
            expired: expired as u64,
            waiting: Some(waiting as u64),
        })
    }
}

/// Removes the members that are older than `expiry` seconds; returns their number.
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

/// The layer's database, at the present time.
pub(super) fn keyspace(state: &mut State) -> Keyspace<'_> {
    let now = state.now();
    state.store.at(DATABASE, now)
}
