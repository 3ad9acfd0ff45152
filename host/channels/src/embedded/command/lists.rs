//! Commands about lists, which `asgi_redis` keeps its queues in.

use bytes::Bytes;

use crate::embedded::command::arguments::{index_range, integer, wait_limit};
use crate::embedded::command::context::{Context, Wait};
use crate::embedded::command_error::CommandError;
use crate::embedded::list::{End, List};
use crate::embedded::resp::Reply;
use crate::embedded::store::MissingKey;
use crate::embedded::waiters::{ItemValue, PopFrom, PopRequest, QueueItem};

/// The most bytes that the keys of one wait may take. They are not counted in the store's bounded memory.
const MAX_WAIT: usize = 1024 * 1024;
/// How many bytes a key of a wait takes beyond its own.
const WAIT_OVERHEAD: usize = 128;

/// `LPUSH key element...`
pub(super) fn lpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    push(context, arguments, End::Left)
}

/// `RPUSH key element...`
pub(super) fn rpush(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    push(context, arguments, End::Right)
}

fn push(context: &mut Context<'_>, arguments: &[Bytes], end: End) -> Result<Reply, CommandError> {
    let [key, items @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let length = context
        .keyspace()
        .edit(key, MissingKey::Create, |list: &mut List| {
            items.iter().for_each(|item| list.push(end, item));
            list.len()
        })?;
    Ok(Reply::count(length.unwrap_or(0)))
}

/// `LPOP key [count]`
pub(super) fn lpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    pop(context, arguments, End::Left)
}

/// `RPOP key [count]`
pub(super) fn rpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    pop(context, arguments, End::Right)
}

fn pop(context: &mut Context<'_>, arguments: &[Bytes], end: End) -> Result<Reply, CommandError> {
    let mut keyspace = context.keyspace();
    match arguments {
        [key] => {
            let item = keyspace.edit(key, MissingKey::Ignore, |list: &mut List| list.pop(end))?;
            Ok(item.flatten().map_or(Reply::Null, Reply::Bulk))
        }
        [key, count] => {
            let count = integer(count)
                .ok()
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::NotPositive)?;
            let items = keyspace.edit(key, MissingKey::Ignore, |list: &mut List| {
                std::iter::from_fn(|| list.pop(end))
                    .take(count)
                    .map(Reply::Bulk)
                    .collect()
            })?;
            Ok(items.map_or(Reply::NullArray, Reply::Array))
        }
        _ => Err(CommandError::Arity(
            if end == End::Left { "lpop" } else { "rpop" }.to_owned(),
        )),
    }
}

/// `LLEN key`
pub(super) fn llen(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    Ok(Reply::count(
        context
            .keyspace()
            .collection::<List>(key)?
            .map_or(0, List::len),
    ))
}

/// `LRANGE key start stop`
pub(super) fn lrange(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, start, end] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (start, end) = (integer(start)?, integer(end)?);
    let mut keyspace = context.keyspace();
    let Some(list) = keyspace.collection::<List>(key)? else {
        return Ok(Reply::Array(Vec::new()));
    };
    let Some(range) = index_range(start, end, list.len()) else {
        return Ok(Reply::Array(Vec::new()));
    };
    Ok(Reply::Array(
        list.iter()
            .skip(*range.start())
            .take(range.count())
            .cloned()
            .map(Reply::Bulk)
            .collect(),
    ))
}

/// `BLPOP key... timeout`
pub(super) fn blpop(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    wait_for(context, arguments, PopFrom::ListEnd(End::Left))
}

/// Pops the first item of the first key that has any, or waits for one.
pub(super) fn wait_for(
    context: &mut Context<'_>,
    arguments: &[Bytes],
    from: PopFrom,
) -> Result<Reply, CommandError> {
    let Some((limit, keys)) = arguments.split_last() else {
        return Err(CommandError::Syntax);
    };
    let limit = wait_limit(limit)?;
    // Copied, so that a client that waits for days keeps no network buffer.
    let keys = keys.iter().map(|key| Bytes::copy_from_slice(key)).collect();
    let request = PopRequest {
        database: context.session.database,
        keys,
        from,
    };
    if let Some(item) = request.pop(&mut context.keyspace())? {
        let reply = item_reply(&item);
        context.session.unwritten.push(item);
        return Ok(reply);
    }
    if !context.may_wait {
        return Ok(Reply::NullArray);
    }
    let size = |key: &Bytes| key.len() + WAIT_OVERHEAD;
    if request.keys.iter().map(size).sum::<usize>() > MAX_WAIT {
        return Err(CommandError::TooManyNames);
    }
    context.session.wait = Some(Wait { request, limit });
    Ok(Reply::Nothing)
}

/// The answer to a client that waited for an item.
pub(in crate::embedded) fn item_reply(item: &QueueItem) -> Reply {
    let mut reply = vec![Reply::Bulk(item.key.clone())];
    match &item.value {
        ItemValue::Member(member, state) => {
            reply.extend([Reply::Bulk(member.clone()), Reply::Double(state.score)])
        }
        ItemValue::Element(element, _) => reply.push(Reply::Bulk(element.clone())),
    }
    Reply::Array(reply)
}
