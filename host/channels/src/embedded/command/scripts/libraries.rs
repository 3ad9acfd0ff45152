//! The scripts of Python's `channels_redis` and `asgi_redis`.

use crate::embedded::command::arguments::integer;
use crate::embedded::command::scripts::call::{BAD_ARGUMENTS, Call, add, expire, members};
use crate::embedded::command::strings::increase;
use crate::embedded::command_error::CommandError;
use crate::embedded::glob::Matcher;
use crate::embedded::list::{End, List};
use crate::embedded::number::parse_double;
use crate::embedded::resp::Reply;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Keyspace, MissingKey};

/// Puts members back with their scores, in place of equal members in the queue.
pub(super) fn restore_inflight(
    keyspace: &mut Keyspace<'_>,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let ([], [queue, backup]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    for (member, score) in members(keyspace, backup)? {
        add(keyspace, queue, score, &member)?;
    }
    keyspace.remove(backup);
    Ok(Reply::Null)
}

pub(super) fn delete_matching(
    keyspace: &mut Keyspace<'_>,
    matcher: &mut Matcher,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let ([], [pattern]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    for key in matcher.select(pattern, keyspace.keys())? {
        keyspace.remove(&key);
    }
    Ok(Reply::Null)
}

/// Arguments: a member for each key, a capacity for each key, the time and the expiry. Answers how many queues were
/// full.
pub(super) fn group_send(
    keyspace: &mut Keyspace<'_>,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let [each @ .., now, expiry] = call.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    if each.len() != call.keys.len() * 2 {
        return Err(BAD_ARGUMENTS);
    }
    let (members, capacities) = each.split_at(call.keys.len());
    let score = parse_double(now).ok_or(CommandError::NotDouble)?;
    let mut full = 0;
    for ((key, member), capacity) in call.keys.iter().zip(members).zip(capacities) {
        let capacity = parse_double(capacity).ok_or(CommandError::NotDouble)?;
        let waiting = keyspace
            .collection::<SortedSet>(key)?
            .map_or(0, SortedSet::len);
        if waiting as f64 >= capacity {
            full += 1;
            continue;
        }
        add(keyspace, key, score, member)?;
        expire(keyspace, key, integer(expiry)?)?;
    }
    Ok(Reply::Integer(full))
}

/// Stores a message under a key, and the key in a queue that has room.
pub(super) fn store_and_push(
    keyspace: &mut Keyspace<'_>,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let ([message, queue], [content, expiry, capacity]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    let (expiry, capacity) = (integer(expiry)?, integer(capacity)?);
    let waiting = keyspace.collection::<List>(queue)?.map_or(0, List::len);
    if i64::try_from(waiting).unwrap_or(i64::MAX) >= capacity {
        // The client recognises the error by this word.
        return Err(CommandError::Other("full"));
    }
    keyspace.set_text(message, content, None);
    expire(keyspace, message, expiry)?;
    keyspace.edit(queue, MissingKey::Create, |list: &mut List| {
        list.push(End::Right, message)
    })?;
    expire(keyspace, queue, expiry.saturating_add(1))?;
    Ok(Reply::Null)
}

/// Adds one to each of two counters, which expire.
pub(super) fn count(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let ([_, _], [_, _]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    for (key, expiry) in call.keys.iter().zip(call.arguments) {
        increase(keyspace, key, 1)?;
        expire(keyspace, key, integer(expiry)?)?;
    }
    Ok(Reply::Null)
}

/// Pops an item, and answers its queue and the item; or an empty list, because a Lua table ends at its first nil.
pub(super) fn pop_any(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    for key in call.keys {
        if let Some(item) = keyspace
            .edit(key, MissingKey::Ignore, |list: &mut List| {
                list.pop(End::Left)
            })?
            .flatten()
        {
            return Ok(Reply::Array(vec![
                Reply::Bulk(key.clone()),
                Reply::Bulk(item),
            ]));
        }
    }
    Ok(Reply::Array(Vec::new()))
}
