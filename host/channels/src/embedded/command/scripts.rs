//! `EVAL`, `EVALSHA` and `SCRIPT`: what the known scripts do, as one command each.

use bytes::Bytes;

use super::strings::increase;
use super::{Context, integer, is};
use crate::embedded::glob;
use crate::embedded::number::parse_double;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::Reply;
use crate::embedded::script::Script;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::store::{Absent, End, Keyspace, List};

/// `EVAL script numkeys [key...] [arg...]`
pub(super) fn eval(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [text, rest @ ..] = arguments else {
        return Err(Refusal::Syntax);
    };
    let (keys, arguments) = split_keys(rest)?;
    let (_, script) = context
        .state
        .scripts
        .load(text)
        .ok_or(Refusal::UnknownScript)?;
    run(script, &mut context.keyspace(), keys, arguments)
}

/// `EVALSHA sha1 numkeys [key...] [arg...]`
pub(super) fn evalsha(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [sha, rest @ ..] = arguments else {
        return Err(Refusal::Syntax);
    };
    let (keys, arguments) = split_keys(rest)?;
    let script = context.state.scripts.get(sha).ok_or(Refusal::NoScript)?;
    run(script, &mut context.keyspace(), keys, arguments)
}

/// `SCRIPT LOAD script | EXISTS sha1... | FLUSH [ASYNC | SYNC]`
pub(super) fn script(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    match arguments {
        [load, text] if is(load, "LOAD") => {
            let (sha, _) = context
                .state
                .scripts
                .load(text)
                .ok_or(Refusal::UnknownScript)?;
            Ok(Reply::text(sha))
        }
        [exists, names @ ..] if is(exists, "EXISTS") && !names.is_empty() => {
            let known =
                |sha: &Bytes| Reply::Integer(i64::from(context.state.scripts.get(sha).is_some()));
            Ok(Reply::Array(names.iter().map(known).collect()))
        }
        [flush] | [flush, _] if is(flush, "FLUSH") => {
            context.state.scripts.clear();
            Ok(Reply::OK)
        }
        [other, ..] => Err(Refusal::UnknownSubcommand {
            command: "SCRIPT",
            subcommand: String::from_utf8_lossy(&other[..other.len().min(128)]).into_owned(),
        }),
        [] => Err(Refusal::Syntax),
    }
}

/// Splits the keys from the arguments behind them.
fn split_keys(rest: &[Bytes]) -> Result<(&[Bytes], &[Bytes]), Refusal> {
    let Some((count, rest)) = rest.split_first() else {
        return Err(Refusal::Syntax);
    };
    let count = usize::try_from(integer(count)?).map_err(|_| Refusal::NegativeKeys)?;
    rest.split_at_checked(count).ok_or(Refusal::TooManyKeys)
}

const BAD_ARGUMENTS: Refusal = Refusal::Other("ERR this script takes other keys and arguments");

fn run(
    script: Script,
    keyspace: &mut Keyspace<'_>,
    keys: &[Bytes],
    arguments: &[Bytes],
) -> Result<Reply, Refusal> {
    match (script, keys, arguments) {
        (Script::RestoreInflight, [], [queue, backup]) => restore_inflight(keyspace, queue, backup),
        (Script::DeleteMatching, [], [pattern]) => {
            let found: Vec<Bytes> = keyspace
                .keys()
                .filter(|key| glob::matches(pattern, key))
                .cloned()
                .collect();
            found.iter().for_each(|key| {
                keyspace.remove(key);
            });
            Ok(Reply::Null)
        }
        (Script::GroupSend, keys, arguments) => group_send(keyspace, keys, arguments),
        (Script::StoreAndPush, [message, queue], [content, expiry, capacity]) => {
            store_and_push(keyspace, message, queue, content, expiry, capacity)
        }
        (Script::Count, [channel, all], [channel_expiry, all_expiry]) => {
            for (key, expiry) in [(channel, channel_expiry), (all, all_expiry)] {
                increase(keyspace, key, 1)?;
                expire(keyspace, key, expiry, 0)?;
            }
            Ok(Reply::Null)
        }
        (Script::PopAny, keys, []) => pop_any(keyspace, keys),
        _ => Err(BAD_ARGUMENTS),
    }
}

/// Members go back with their scores, and over what the queue may have of them.
fn restore_inflight(
    keyspace: &mut Keyspace<'_>,
    queue: &[u8],
    backup: &[u8],
) -> Result<Reply, Refusal> {
    let held = keyspace.collection::<SortedSet>(backup)?.map(|set| {
        let members: Vec<(Bytes, f64)> = set
            .iter()
            .map(|(member, score)| (member.clone(), score))
            .collect();
        members
    });
    if let Some(held) = held {
        keyspace.edit(queue, Absent::Create, |set: &mut SortedSet| {
            for (member, score) in held {
                set.insert(&member, score);
            }
        })?;
        keyspace.remove(backup);
    }
    Ok(Reply::Null)
}

/// Arguments: a member for each key, a capacity for each key, the time and the expiry.
/// Answers how many were full.
fn group_send(
    keyspace: &mut Keyspace<'_>,
    keys: &[Bytes],
    arguments: &[Bytes],
) -> Result<Reply, Refusal> {
    let [each @ .., now, expiry] = arguments else {
        return Err(BAD_ARGUMENTS);
    };
    if each.len() != keys.len() * 2 {
        return Err(BAD_ARGUMENTS);
    }
    let (members, capacities) = each.split_at(keys.len());
    let score = parse_double(now).ok_or(Refusal::NotDouble)?;
    let mut full = 0;
    for ((key, member), capacity) in keys.iter().zip(members).zip(capacities) {
        let capacity = parse_double(capacity).ok_or(Refusal::NotDouble)?;
        let waiting = keyspace
            .collection::<SortedSet>(key)?
            .map_or(0, SortedSet::len);
        if waiting as f64 >= capacity {
            full += 1;
            continue;
        }
        if keyspace.room() < member.len() {
            return Err(Refusal::Memory);
        }
        keyspace.edit(key, Absent::Create, |set: &mut SortedSet| {
            set.insert(member, score)
        })?;
        expire(keyspace, key, expiry, 0)?;
    }
    Ok(Reply::Integer(full))
}

fn store_and_push(
    keyspace: &mut Keyspace<'_>,
    message: &[u8],
    queue: &[u8],
    content: &[u8],
    expiry: &[u8],
    capacity: &[u8],
) -> Result<Reply, Refusal> {
    let capacity = integer(capacity)?;
    let waiting = keyspace.collection::<List>(queue)?.map_or(0, List::len);
    if i64::try_from(waiting).unwrap_or(i64::MAX) >= capacity {
        // The client knows the error by this one word.
        return Err(Refusal::Other("full"));
    }
    keyspace.set_text(message, content, None);
    expire(keyspace, message, expiry, 0)?;
    keyspace.edit(queue, Absent::Create, |list: &mut List| {
        list.push(End::Right, message)
    })?;
    expire(keyspace, queue, expiry, 1)?;
    Ok(Reply::Null)
}

/// The queue and its item, or an empty list: a Lua table ends at its first nil.
fn pop_any(keyspace: &mut Keyspace<'_>, keys: &[Bytes]) -> Result<Reply, Refusal> {
    for key in keys {
        if let Some(item) = keyspace
            .edit(key, Absent::Leave, |list: &mut List| list.pop(End::Left))?
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

/// Has `key` go in `seconds` and `more`.
fn expire(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    seconds: &[u8],
    more: i64,
) -> Result<(), Refusal> {
    let seconds = integer(seconds)?.saturating_add(more);
    let milliseconds = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let deadline = keyspace
        .now()
        .checked_add(milliseconds)
        .ok_or(Refusal::ExpireTime("expire"))?;
    keyspace.set_deadline(key, Some(deadline));
    Ok(())
}
