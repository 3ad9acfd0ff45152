//! The call of a script, and the Redis commands that scripts consist of.

use bytes::Bytes;

use crate::embedded::command_error::CommandError;
use crate::embedded::number::parse_double;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Keyspace, MissingKey};

pub(super) const BAD_ARGUMENTS: CommandError =
    CommandError::Other("ERR this script takes other keys and arguments");

/// The keys and arguments of a script's call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) keys: &'a [Bytes],
    pub(super) arguments: &'a [Bytes],
}

/// `ZRANGE key 0 -1 WITHSCORES`
pub(super) fn members(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
) -> Result<Vec<(Bytes, f64)>, CommandError> {
    let set = keyspace.collection::<SortedSet>(key)?;
    Ok(set.map_or_else(Vec::new, |set| {
        set.iter()
            .map(|(member, score)| (member.clone(), score))
            .collect()
    }))
}

/// `ZADD key score member`
pub(super) fn add(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    score: f64,
    member: &[u8],
) -> Result<(), CommandError> {
    keyspace.edit(key, MissingKey::Create, |set: &mut SortedSet| {
        set.insert(member, score)
    })?;
    Ok(())
}

/// `ZREM key member`
pub(super) fn remove(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    member: &[u8],
) -> Result<(), CommandError> {
    keyspace.edit(key, MissingKey::Ignore, |set: &mut SortedSet| {
        set.remove(member)
    })?;
    Ok(())
}

/// `EXPIRE key seconds`
pub(super) fn expire(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    seconds: i64,
) -> Result<(), CommandError> {
    let milliseconds = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let deadline = keyspace
        .now()
        .checked_add(milliseconds)
        .ok_or(CommandError::ExpireTime("expire"))?;
    keyspace.set_deadline(key, Some(deadline));
    Ok(())
}

/// Reads an argument that must be a number.
pub(super) fn number(word: &[u8]) -> Result<f64, CommandError> {
    parse_double(word).ok_or(CommandError::NotDouble)
}
