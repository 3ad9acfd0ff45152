//! The scripts of [`crate::redis::dialect::core`], step by step as in Lua.

use std::ops::Bound;

use bytes::Bytes;

use crate::embedded::command::arguments::integer;
use crate::embedded::command::scripts::call::{
    BAD_ARGUMENTS, Call, add, expire, members, number, remove,
};
use crate::embedded::command::scripts::reader::{DAY, Reader, message};
use crate::embedded::command_error::CommandError;
use crate::embedded::number::parse_double;
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Keyspace, MissingKey};

/// [`crate::redis::dialect::core::APPEND`]
pub(super) fn append(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let ([queue], [oldest, capacity, expiry, entries @ ..]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    let (pairs, []) = entries.as_chunks() else {
        return Err(BAD_ARGUMENTS);
    };
    let capacity = number(capacity)?;
    let members = pairs
        .iter()
        .map(|[score, member]| Ok((number(score)?, member)))
        .collect::<Result<Vec<_>, _>>()?;
    let expired = drop_older(keyspace, queue, oldest)?;
    let mut waiting = 0;
    let accepted = keyspace.edit(queue, MissingKey::Create, |set: &mut SortedSet| {
        let taken = members.iter().take_while(|(score, member)| {
            if set.score(member).is_none() {
                if set.len() as f64 >= capacity {
                    return false;
                }
                set.insert(member, *score);
            }
            true
        });
        let accepted = taken.count();
        waiting = set.len();
        accepted
    })?;
    let accepted = accepted.unwrap_or(0);
    if accepted > 0 {
        expire(keyspace, queue, integer(expiry)?)?;
    }
    let numbers = [accepted, expired, waiting].map(Reply::count);
    Ok(Reply::Array(numbers.into()))
}

/// [`crate::redis::dialect::core::TAKE`]
pub(super) fn take(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let reader = Reader::of(call)?;
    let [until, count, _now] = reader.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let until = number(until)?;
    reader.check_keys(keyspace)?;
    let count = usize::try_from(integer(count)?).map_err(|_| CommandError::NotPositive)?;
    let taken: Option<Vec<_>> =
        keyspace.edit(reader.queue, MissingKey::Ignore, |set: &mut SortedSet| {
            std::iter::from_fn(|| set.pop_first()).take(count).collect()
        })?;
    let mut answer = Vec::new();
    for (member, standing) in taken.unwrap_or_default() {
        add(keyspace, reader.own, standing.score, &member)?;
        // A reader within the process notes this at the member itself.
        let again = reader.was_returned(keyspace, &member)? || standing.returned;
        answer.extend(message(member, standing.score, again, Reply::Null));
    }
    if !answer.is_empty() {
        reader.renew(keyspace, until)?;
        expire(keyspace, reader.own, DAY)?;
    }
    Ok(Reply::Array(answer))
}

/// [`crate::redis::dialect::core::KEEP`]
pub(super) fn keep(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let found = Reader::of(call)?.keep(keyspace)?;
    let answer = found
        .into_iter()
        .flat_map(|(member, score)| message(member, score, true, Reply::Null));
    Ok(Reply::Array(answer.collect()))
}

/// [`crate::redis::dialect::core::GIVE_BACK`]
pub(super) fn give_back(
    keyspace: &mut Keyspace<'_>,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let reader = Reader::of(call)?;
    reader.stay(keyspace)?;
    let [expiry, now, given @ ..] = reader.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let (expiry, now) = (integer(expiry)?, number(now)?);
    reader.note_returned(keyspace, given)?;
    let oldest = now - expiry as f64;
    let left = members(keyspace, reader.own)?;
    let young: Vec<&(Bytes, f64)> = left.iter().filter(|(_, score)| *score > oldest).collect();
    for (member, score) in &young {
        add(keyspace, reader.queue, *score, member)?;
        remove(keyspace, reader.own, member)?;
    }
    if !young.is_empty() {
        expire(keyspace, reader.queue, expiry)?;
    }
    reader.end(keyspace, young.len() < left.len())?;
    Ok(Reply::count(young.len()))
}

/// `ZREMRANGEBYSCORE queue 0 oldest`
fn drop_older(
    keyspace: &mut Keyspace<'_>,
    queue: &[u8],
    oldest: &[u8],
) -> Result<usize, CommandError> {
    let oldest = parse_double(oldest).ok_or(CommandError::NotBound)?;
    let removed = keyspace.edit(queue, MissingKey::Ignore, |set: &mut SortedSet| {
        set.remove_range(Bound::Included(0.0), Bound::Included(oldest))
    })?;
    Ok(removed.unwrap_or(0))
}
