//! What the scripts of our own readers have in common, whatever the queue is: leases, and the lists they answer.

use bytes::Bytes;

use super::{BAD_ARGUMENTS, Call, add, expire, members, remove};
use crate::embedded::number::{parse_double, write_double};
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::Reply;
use crate::embedded::store::{Absent, Keyspace, Set};

/// Seconds for which readers' own keys stay.
pub(super) const DAY: i64 = 86_400;

/// The call of a reader's script; see [`crate::dialect::Scripts`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) queue: &'a [u8],
    /// The processing key.
    pub(super) own: &'a [u8],
    leases: &'a [u8],
    /// The key of the members that were given back though they had been handed out.
    again: &'a [u8],
    id: &'a [u8],
    /// What the script takes besides.
    pub(super) arguments: &'a [Bytes],
    pub(super) time: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn of(call: Call<'a>) -> Result<Self, Refusal> {
        let ([queue, own, leases, again], [id, arguments @ ..]) = (call.keys, call.arguments)
        else {
            return Err(BAD_ARGUMENTS);
        };
        Ok(Self {
            queue,
            own,
            leases,
            again,
            id,
            arguments,
            time: call.time,
        })
    }

    /// The lease in milliseconds, and the argument behind it.
    pub(super) fn lease(&self) -> Result<(f64, &'a [u8]), Refusal> {
        let [lease, last] = self.arguments else {
            return Err(BAD_ARGUMENTS);
        };
        Ok((parse_double(lease).ok_or(Refusal::NotDouble)?, last))
    }

    /// Keeps the leases for another day, whether or not anything else comes of the call.
    pub(super) fn stay(&self, keyspace: &mut Keyspace<'_>) -> Result<(), Refusal> {
        expire(keyspace, self.leases, DAY)
    }

    /// Has the lease run from now on.
    pub(super) fn renew(&self, keyspace: &mut Keyspace<'_>, lease: f64) -> Result<(), Refusal> {
        let now = (self.time / 1000) as f64;
        add(keyspace, self.leases, now + lease, self.id)?;
        expire(keyspace, self.leases, DAY)
    }

    /// Ends the lease, as one that ran out where something is left under it.
    pub(super) fn end(&self, keyspace: &mut Keyspace<'_>, is_left: bool) -> Result<(), Refusal> {
        if is_left {
            add(keyspace, self.leases, 0.0, self.id)
        } else {
            remove(keyspace, self.leases, self.id)
        }
    }

    /// Renews the lease and takes over what others left under leases that ran out.
    ///
    /// Gives what was taken over, or all that is ours where the last argument asks for that.
    pub(super) fn keep(&self, keyspace: &mut Keyspace<'_>) -> Result<Vec<(Bytes, f64)>, Refusal> {
        self.stay(keyspace)?;
        let (lease, all) = self.lease()?;
        self.renew(keyspace, lease)?;
        let now = (self.time / 1000) as f64;
        let mut found = Vec::new();
        for (id, until) in members(keyspace, self.leases)? {
            if until > now {
                break;
            }
            let theirs = [self.leases, b".", &id].concat();
            let left = members(keyspace, &theirs)?;
            for (member, score) in &left {
                add(keyspace, self.own, *score, member)?;
            }
            found.extend(left);
            keyspace.remove(&theirs);
            remove(keyspace, self.leases, &id)?;
        }
        expire(keyspace, self.own, DAY)?;
        if all == b"1" {
            found = members(keyspace, self.own)?;
        }
        Ok(found)
    }

    /// Notes that `members` had been handed out when they were given back.
    pub(super) fn note_again(
        &self,
        keyspace: &mut Keyspace<'_>,
        members: &[Bytes],
    ) -> Result<(), Refusal> {
        if members.is_empty() {
            return Ok(());
        }
        keyspace.edit(self.again, Absent::Create, |set: &mut Set| {
            members.iter().for_each(|member| set.insert(member));
        })?;
        expire(keyspace, self.again, DAY)
    }

    /// Whether `member` had been handed out when it was given back; forgets it.
    pub(super) fn was_given(
        &self,
        keyspace: &mut Keyspace<'_>,
        member: &[u8],
    ) -> Result<bool, Refusal> {
        let removed = keyspace.edit(self.again, Absent::Leave, |set: &mut Set| {
            set.remove(member)
        })?;
        Ok(removed.unwrap_or(false))
    }
}

/// The four items of an answer that say one message.
pub(super) fn message(member: Bytes, score: f64, again: bool, stored: Reply) -> [Reply; 4] {
    [
        Reply::Bulk(member),
        // A script has no doubles to answer with, whatever the client's protocol.
        Reply::text(write_double(score)),
        Reply::Integer(i64::from(again)),
        stored,
    ]
}
