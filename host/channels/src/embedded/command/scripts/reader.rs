//! The part of our readers' scripts that is the same for all queues: leases, and the form of answers.

use bytes::Bytes;

use crate::embedded::command::scripts::call::{
    BAD_ARGUMENTS, Call, add, expire, members, number, remove,
};
use crate::embedded::command_error::CommandError;
use crate::embedded::number::write_double;
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Keyspace, MissingKey};

/// For how many seconds the keys of readers stay.
pub(super) const DAY: i64 = 86_400;

/// The call of a reader's script; see [`crate::redis::dialect::Scripts`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) queue: &'a [u8],
    /// The processing key.
    pub(super) own: &'a [u8],
    leases: &'a [u8],
    /// The key of the members that were delivered and then given back.
    returned: &'a [u8],
    id: &'a [u8],
    /// The processing keys of readers whose leases have probably run out.
    others: &'a [Bytes],
    /// The further arguments of the script.
    pub(super) arguments: &'a [Bytes],
}

impl<'a> Reader<'a> {
    pub(super) fn of(call: Call<'a>) -> Result<Self, CommandError> {
        let ([queue, own, leases, returned, others @ ..], [id, arguments @ ..]) =
            (call.keys, call.arguments)
        else {
            return Err(BAD_ARGUMENTS);
        };
        Ok(Self {
            queue,
            own,
            leases,
            returned,
            id,
            others,
            arguments,
        })
    }

    /// Fails if another program uses one of our keys for something else.
    pub(super) fn check_keys(&self, keyspace: &mut Keyspace<'_>) -> Result<(), CommandError> {
        for key in [self.own, self.leases, self.returned] {
            keyspace.collection::<SortedSet>(key)?;
        }
        Ok(())
    }

    /// Keeps the leases for another day, even if the call changes nothing else.
    pub(super) fn stay(&self, keyspace: &mut Keyspace<'_>) -> Result<(), CommandError> {
        expire(keyspace, self.leases, DAY)
    }

    /// Renews the lease until a time in milliseconds.
    pub(super) fn renew(
        &self,
        keyspace: &mut Keyspace<'_>,
        until: f64,
    ) -> Result<(), CommandError> {
        add(keyspace, self.leases, until, self.id)?;
        expire(keyspace, self.leases, DAY)
    }

    /// Ends the lease. If messages are left under it, it stays as one that has run out.
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

    /// Renews the lease, and takes over the messages of readers whose leases have run out.
    ///
    /// Returns the messages that were taken over, or all our messages if the second argument asks for that.
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

    /// Notes that `members` had been delivered when they were given back.
    pub(super) fn note_returned(
        &self,
        keyspace: &mut Keyspace<'_>,
        members: &[Bytes],
    ) -> Result<(), CommandError> {
        if members.is_empty() {
            return Ok(());
        }
        for member in members {
            add(keyspace, self.returned, 0.0, member)?;
        }
        expire(keyspace, self.returned, DAY)
    }

    /// Whether `member` had been delivered when it was given back. Removes that note.
    pub(super) fn was_returned(
        &self,
        keyspace: &mut Keyspace<'_>,
        member: &[u8],
    ) -> Result<bool, CommandError> {
        let removed = keyspace.edit(self.returned, MissingKey::Ignore, |set: &mut SortedSet| {
            set.remove(member)
        })?;
        Ok(removed.flatten().is_some())
    }
}

/// The four items of an answer for one message.
pub(super) fn message(member: Bytes, score: f64, again: bool, stored: Reply) -> [Reply; 4] {
    [
        Reply::Bulk(member),
        // Lua scripts can't answer doubles, in any version of the protocol.
        Reply::text(write_double(score)),
        Reply::Integer(i64::from(again)),
        stored,
    ]
}
