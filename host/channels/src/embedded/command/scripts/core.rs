//! What the Lua of [`crate::redis_core`] does, step for step.

use std::ops::Bound;

use bytes::Bytes;

use super::reader::{DAY, Reader, message};
use super::{BAD_ARGUMENTS, Call, add, expire, members, remove};
use crate::embedded::command::integer;
use crate::embedded::number::parse_double;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Absent, Keyspace};

/// [`crate::redis_core::APPEND`]
pub(super) fn append(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, Refusal> {
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
    drop_older(keyspace, queue, oldest)?;
    let accepted = keyspace.edit(queue, Absent::Create, |set: &mut SortedSet| {
        let taken = members.iter().take_while(|(score, member)| {
            if set.score(member).is_none() {
                if set.len() as f64 >= capacity {
                    return false;
                }
                set.insert(member, *score);
            }
            true
        });
        taken.count()
    })?;
    let accepted = accepted.unwrap_or(0);
    if accepted > 0 {
        expire(keyspace, queue, integer(expiry)?)?;
    }
    Ok(Reply::count(accepted))
}

/// [`crate::redis_core::GROUP_APPEND`]
pub(super) fn group_append(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, Refusal> {
    let [oldest, expiry, score, entries @ ..] = call.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let (pairs, []) = entries.as_chunks() else {
        return Err(BAD_ARGUMENTS);
    };
    if pairs.len() != call.keys.len() {
        return Err(BAD_ARGUMENTS);
    }
    let (expiry, score) = (integer(expiry)?, number(score)?);
    let mut full = 0;
    for (queue, [capacity, member]) in call.keys.iter().zip(pairs) {
        drop_older(keyspace, queue, oldest)?;
        let waiting = keyspace.collection::<SortedSet>(queue)?;
        if waiting.map_or(0, SortedSet::len) as f64 >= number(capacity)? {
            full += 1;
            continue;
        }
        add(keyspace, queue, score, member)?;
        expire(keyspace, queue, expiry)?;
    }
    Ok(Reply::Integer(full))
}

/// [`crate::redis_core::TAKE`]
pub(super) fn take(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, Refusal> {
    let reader = Reader::of(call)?;
    let (lease, count) = reader.lease()?;
    let count = usize::try_from(integer(count)?).map_err(|_| Refusal::NotPositive)?;
    let taken: Option<Vec<_>> =
        keyspace.edit(reader.queue, Absent::Leave, |set: &mut SortedSet| {
            std::iter::from_fn(|| set.pop_first()).take(count).collect()
        })?;
    let mut answer = Vec::new();
    for (member, standing) in taken.unwrap_or_default() {
        add(keyspace, reader.own, standing.score, &member)?;
        // A reader within the process says so of the member itself.
        let again = reader.was_given(keyspace, &member)? || standing.returned;
        answer.extend(message(member, standing.score, again, Reply::Null));
    }
    if !answer.is_empty() {
        reader.renew(keyspace, lease)?;
        expire(keyspace, reader.own, DAY)?;
    }
    Ok(Reply::Array(answer))
}

/// [`crate::redis_core::KEEP`]
pub(super) fn keep(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, Refusal> {
    let found = Reader::of(call)?.keep(keyspace)?;
    let answer = found
        .into_iter()
        .flat_map(|(member, score)| message(member, score, true, Reply::Null));
    Ok(Reply::Array(answer.collect()))
}

/// [`crate::redis_core::GIVE_BACK`]
pub(super) fn give_back(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, Refusal> {
    let reader = Reader::of(call)?;
    reader.stay(keyspace)?;
    let [expiry, given @ ..] = reader.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let expiry = integer(expiry)?;
    reader.note_again(keyspace, given)?;
    let oldest = (reader.time / 1_000_000) as f64 - expiry as f64;
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
fn drop_older(keyspace: &mut Keyspace<'_>, queue: &[u8], oldest: &[u8]) -> Result<(), Refusal> {
    let oldest = parse_double(oldest).ok_or(Refusal::NotBound)?;
    keyspace.edit(queue, Absent::Leave, |set: &mut SortedSet| {
        set.remove_range(Bound::Included(0.0), Bound::Included(oldest))
    })?;
    Ok(())
}

fn number(text: &[u8]) -> Result<f64, Refusal> {
    parse_double(text).ok_or(Refusal::NotDouble)
}
