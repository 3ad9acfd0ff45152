//! The scripts of [`crate::redis::dialect::asgi`], step by step as in Lua.

use bytes::Bytes;

use crate::embedded::command::arguments::integer;
use crate::embedded::command::scripts::call::{
    BAD_ARGUMENTS, Call, add, expire, members, number, remove,
};
use crate::embedded::command::scripts::reader::{DAY, Reader, message};
use crate::embedded::command::strings::increase;
use crate::embedded::command_error::CommandError;
use crate::embedded::list::{End, List};
use crate::embedded::resp::Reply;
use crate::embedded::store::{Keyspace, MissingKey};

/// For how many seconds the counters of a channel stay.
const HOUR: i64 = 3600;

/// [`crate::redis::dialect::asgi::APPEND`]
pub(super) fn append(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let ([queue, sent, all_sent, full, all_full], [expiry, capacity, entries @ ..]) =
        (call.keys, call.arguments)
    else {
        return Err(BAD_ARGUMENTS);
    };
    let (pairs, []) = entries.as_chunks() else {
        return Err(BAD_ARGUMENTS);
    };
    let (expiry, capacity) = (integer(expiry)?, integer(capacity)?);
    if pairs.is_empty() {
        increase(keyspace, sent, 0)?;
        expire(keyspace, sent, HOUR)?;
    }
    let waiting = keyspace.collection::<List>(queue)?.map_or(0, List::len);
    let mut room = capacity.saturating_sub(i64::try_from(waiting).unwrap_or(i64::MAX));
    let (mut accepted, mut added) = (0, 0);
    for [key, payload] in pairs {
        if keyspace.get(key).is_none() {
            if room <= 0 {
                break;
            }
            keyspace.set_text(key, payload, None);
            expire(keyspace, key, expiry)?;
            keyspace.edit(queue, MissingKey::Create, |list: &mut List| {
                list.push(End::Right, key)
            })?;
            room -= 1;
            added += 1;
        }
        accepted += 1;
    }
    if added > 0 {
        expire(keyspace, queue, expiry.saturating_add(1))?;
        count(keyspace, sent, all_sent, added)?;
    }
    if accepted < pairs.len() {
        count(keyspace, full, all_full, 1)?;
    }
    let waiting = keyspace.collection::<List>(queue)?.map_or(0, List::len);
    let numbers = [accepted, 0, waiting].map(Reply::count);
    Ok(Reply::Array(numbers.into()))
}

/// [`crate::redis::dialect::asgi::TAKE`]
pub(super) fn take(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let reader = Reader::of(call)?;
    let [until, most, now] = reader.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let (until, now) = (number(until)?, number(now)?);
    reader.check_keys(keyspace)?;
    let most = u64::try_from(integer(most)?).unwrap_or(0);
    let mut answer = Vec::new();
    for nth in 1..=most {
        let popped = keyspace.edit(reader.queue, MissingKey::Ignore, |list: &mut List| {
            list.pop(End::Left)
        })?;
        let Some(key) = popped.flatten() else { break };
        // Microseconds, as in the script, so that no two messages of a call have the same score.
        let score = number(format!("{:.6}", now + nth as f64 / 1e6).as_bytes())?;
        expire(keyspace, &key, DAY)?;
        add(keyspace, reader.own, score, &key)?;
        let again = reader.was_returned(keyspace, &key)?;
        let stored = stored(keyspace, &key)?;
        answer.extend(message(key, score, again, stored));
    }
    if !answer.is_empty() {
        reader.renew(keyspace, until)?;
        expire(keyspace, reader.own, DAY)?;
    }
    Ok(Reply::Array(answer))
}

/// [`crate::redis::dialect::asgi::KEEP`]
pub(super) fn keep(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let mut answer = Vec::new();
    for (key, score) in Reader::of(call)?.keep(keyspace)? {
        let stored = stored(keyspace, &key)?;
        answer.extend(message(key, score, true, stored));
    }
    Ok(Reply::Array(answer))
}

/// [`crate::redis::dialect::asgi::GIVE_BACK`]
pub(super) fn give_back(
    keyspace: &mut Keyspace<'_>,
    call: Call<'_>,
) -> Result<Reply, CommandError> {
    let reader = Reader::of(call)?;
    reader.stay(keyspace)?;
    let [expiry, _now, given @ ..] = reader.arguments else {
        return Err(BAD_ARGUMENTS);
    };
    let expiry = integer(expiry)?;
    reader.note_returned(keyspace, given)?;
    let left = members(keyspace, reader.own)?;
    for (key, _) in left.iter().rev() {
        keyspace.edit(reader.queue, MissingKey::Create, |list: &mut List| {
            list.push(End::Left, key)
        })?;
        expire(keyspace, key, expiry)?;
    }
    if !left.is_empty() {
        expire(keyspace, reader.queue, expiry.saturating_add(1))?;
    }
    keyspace.remove(reader.own);
    reader.end(keyspace, false)?;
    Ok(Reply::count(left.len()))
}

/// [`crate::redis::dialect::asgi::FINISH`]
pub(super) fn finish(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let [own] = call.keys else {
        return Err(BAD_ARGUMENTS);
    };
    for key in call.arguments {
        remove(keyspace, own, key)?;
        keyspace.remove(key);
    }
    Ok(Reply::count(call.arguments.len()))
}

/// [`crate::redis::dialect::asgi::WITHDRAW`]
pub(super) fn withdraw(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let [queue] = call.keys else {
        return Err(BAD_ARGUMENTS);
    };
    let mut count = 0;
    for key in call.arguments {
        let removed = keyspace.edit(queue, MissingKey::Ignore, |list: &mut List| {
            list.remove_last(key)
        })?;
        if removed.unwrap_or(false) {
            keyspace.remove(key);
            count += 1;
        }
    }
    Ok(Reply::count(count))
}

/// Adds `more` to the counter of a channel, which stays for an hour, and to that of all channels, which stays for a
/// day.
fn count(
    keyspace: &mut Keyspace<'_>,
    channel: &[u8],
    all: &[u8],
    more: i64,
) -> Result<(), CommandError> {
    for (counter, seconds) in [(channel, HOUR), (all, DAY)] {
        increase(keyspace, counter, more)?;
        expire(keyspace, counter, seconds)?;
    }
    Ok(())
}

/// `GET key`
fn stored(keyspace: &mut Keyspace<'_>, key: &Bytes) -> Result<Reply, CommandError> {
    Ok(keyspace
        .text(key)?
        .cloned()
        .map_or(Reply::Null, Reply::Bulk))
}
