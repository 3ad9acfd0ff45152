//! What the scripts of our own readers have in common, whatever the queue is: leases, and the lists they answer.

use bytes::Bytes;

use crate::embedded::command::scripts::call::{
    BAD_ARGUMENTS, Call, add, expire, members, number, remove,
};
use crate::embedded::command_error::CommandError;
use crate::embedded::number::write_double;
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Keyspace, MissingKey};

/// Seconds for which readers' own keys stay.
pub(super) const DAY: i64 = 86_400;

/// The call of a reader's script; see [`crate::redis::dialect::Scripts`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) queue: &'a [u8],
    /// The processing key.
    pub(super) own: &'a [u8],
    leases: &'a [u8],
    /// The key of the members that were given back though they had been handed out.
    again: &'a [u8],
    id: &'a [u8],
    /// The processing keys of readers whose leases seemed to have run out.
    others: &'a [Bytes],
    /// What the script takes besides.
    pub(super) arguments: &'a [Bytes],
}

impl<'a> Reader<'a> {
    pub(super) fn of(call: Call<'a>) -> Result<Self, CommandError> {
        let ([queue, own, leases, again, others @ ..], [id, arguments @ ..]) =
            (call.keys, call.arguments)
        else {
            return Err(BAD_ARGUMENTS);
        };
        Ok(Self {
            queue,
            own,
            leases,
            again,
            id,
            others,
            arguments,
        })
    }

    /// Fails where another program uses a key of ours for something else.
    pub(super) fn check_keys(&self, keyspace: &mut Keyspace<'_>) -> Result<(), CommandError> {
        for key in [self.own, self.leases, self.again] {
            keyspace.collection::<SortedSet>(key)?;
        }
        Ok(())
    }

    /// Keeps the leases for another day, whether or not anything else comes of the call.
    pub(super) fn stay(&self, keyspace: &mut Keyspace<'_>) -> Result<(), CommandError> {
        expire(keyspace, self.leases, DAY)
    }

    /// Has the lease run until a time in milliseconds.
    pub(super) fn renew(
        &self,
        keyspace: &mut Keyspace<'_>,
        until: f64,
    ) -> Result<(), CommandError> {
        add(keyspace, self.leases, until, self.id)?;
        expire(keyspace, self.leases, DAY)
    }

    /// Ends the lease, as one that ran out where something is left under it.
    pub(super) fn end(
        &self,
        keyspace: &mut Keyspace<'_>,
        is_left: bool,
    ) -> Result<(), CommandError> {
        if is_left {
            add(keyspace, self.leases, 0.0, self.id)
        } else {
            remove(keyspace, self.leases, self.id)
        }
    }

    /// Renews the lease and takes over what others left under leases that ran out.
    ///
    /// Gives what was taken over, or all that is ours where the last argument asks for that.
    pub(super) fn keep(
        &self,
        keyspace: &mut Keyspace<'_>,
    ) -> Result<Vec<(Bytes, f64)>, CommandError> {
        self.stay(keyspace)?;
        let [until, all, now, ids @ ..] = self.arguments else {
            return Err(BAD_ARGUMENTS);
        };
        let now = number(now)?;
        self.renew(keyspace, number(until)?)?;
        let mut found = Vec::new();
        for (theirs, id) in self.others.iter().zip(ids) {
            let leases = keyspace.collection::<SortedSet>(self.leases)?;
            let until = leases.and_then(|leases| leases.score(id));
            if until.is_none_or(|until| until > now) {
                continue;
            }
            let left = members(keyspace, theirs)?;
            for (member, score) in &left {
                add(keyspace, self.own, *score, member)?;
            }
            found.extend(left);
            keyspace.remove(theirs);
            remove(keyspace, self.leases, id)?;
        }
        expire(keyspace, self.own, DAY)?;
        if &all[..] == b"1" {
            found = members(keyspace, self.own)?;
        }
        Ok(found)
    }

    /// Notes that `members` had been handed out when they were given back.
    pub(super) fn note_again(
        &self,
        keyspace: &mut Keyspace<'_>,
        members: &[Bytes],
    ) -> Result<(), CommandError> {
        if members.is_empty() {
            return Ok(());
        }
        for member in members {
            add(keyspace, self.again, 0.0, member)?;
        }
        expire(keyspace, self.again, DAY)
    }

    /// Whether `member` had been handed out when it was given back; forgets it.
    pub(super) fn was_given(
        &self,
        keyspace: &mut Keyspace<'_>,
        member: &[u8],
    ) -> Result<bool, CommandError> {
        let removed = keyspace.edit(self.again, MissingKey::Ignore, |set: &mut SortedSet| {
            set.remove(member)
        })?;
        Ok(removed.flatten().is_some())
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
