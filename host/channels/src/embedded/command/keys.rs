//! Commands about keys with values of any kind.

use bytes::Bytes;

use crate::embedded::command::arguments::integer;
use crate::embedded::command::context::Context;
use crate::embedded::command_error::CommandError;
use crate::embedded::resp::Reply;
use crate::embedded::store::{Expiry, Value};

/// `DEL key...`
pub(super) fn del(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let mut keyspace = context.keyspace();
    Ok(Reply::count(
        arguments.iter().filter(|key| keyspace.remove(key)).count(),
    ))
}

/// `EXISTS key...`. A key that is named twice counts twice.
pub(super) fn exists(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let mut keyspace = context.keyspace();
    Ok(Reply::count(
        arguments
            .iter()
            .filter(|key| keyspace.get(key).is_some())
            .count(),
    ))
}

/// `EXPIRE key seconds`, without its conditions.
pub(super) fn expire(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    set_deadline(context, arguments, 1000, "expire")
}

/// `PEXPIRE key milliseconds`, without its conditions.
pub(super) fn pexpire(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    set_deadline(context, arguments, 1, "pexpire")
}

fn set_deadline(
    context: &mut Context<'_>,
    arguments: &[Bytes],
    unit: i64,
    command: &'static str,
) -> Result<Reply, CommandError> {
    let (key, time) = match arguments {
        [key, time] => (key, time),
        [_, _, option, ..] => {
            let option = &option[..option.len().min(128)];
            return Err(CommandError::UnsupportedOption(
                String::from_utf8_lossy(option).into_owned(),
            ));
        }
        _ => return Err(CommandError::Syntax),
    };
    let mut keyspace = context.keyspace();
    let now = i64::try_from(keyspace.now()).unwrap_or(i64::MAX);
    let deadline = integer(time)?
        .checked_mul(unit)
        .and_then(|time| now.checked_add(time));
    let deadline = deadline.ok_or(CommandError::ExpireTime(command))?;
    // A time before 1970 is past, as is any time before now: the key is removed at once.
    let done = keyspace.set_deadline(key, Some(u64::try_from(deadline).unwrap_or(0)));
    Ok(Reply::Integer(i64::from(done)))
}

/// `PERSIST key`
pub(super) fn persist(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    let mut keyspace = context.keyspace();
    let had_deadline = keyspace.expiry(key).deadline().is_some();
    keyspace.set_deadline(key, None);
    Ok(Reply::Integer(i64::from(had_deadline)))
}

/// `TTL key`
pub(super) fn ttl(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    Ok(Reply::Integer(match remaining(context, arguments)? {
        left @ ..0 => left,
        left => (left + 500) / 1000,
    }))
}

/// `PTTL key`
pub(super) fn pttl(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    remaining(context, arguments).map(Reply::Integer)
}

/// The milliseconds until a key expires; -1 if it does not, -2 if there is no such key.
fn remaining(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<i64, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    let mut keyspace = context.keyspace();
    let now = keyspace.now();
    Ok(match keyspace.expiry(key) {
        Expiry::Missing => -2,
        Expiry::Never => -1,
        Expiry::At(deadline) => i64::try_from(deadline.saturating_sub(now)).unwrap_or(i64::MAX),
    })
}

/// `TYPE key`
pub(super) fn kind(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    Ok(Reply::Status(match context.keyspace().get(key) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::List(_)) => "list",
        Some(Value::SortedSet(_)) => "zset",
    }))
}

/// `KEYS pattern`
pub(super) fn keys(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [pattern] = arguments else {
        return Err(CommandError::Syntax);
    };
    let now = context.state.now();
    let mut keyspace = context.state.store.at(context.session.database, now);
    let found = context.matcher.select(pattern, keyspace.keys())?;
    Ok(Reply::Array(found.into_iter().map(Reply::Bulk).collect()))
}
