//! Commands about texts.

use bytes::Bytes;

use crate::embedded::command::arguments::{integer, is};
use crate::embedded::command::context::Context;
use crate::embedded::command_error::CommandError;
use crate::embedded::number;
use crate::embedded::resp::Reply;
use crate::embedded::store::{Keyspace, Value};

/// `GET key`
pub(super) fn get(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    Ok(context
        .keyspace()
        .text(key)?
        .cloned()
        .map_or(Reply::Null, Reply::Bulk))
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]`
pub(super) fn set(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key, value, options @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (mut wanted, mut get, mut keep, mut time) = (None, false, false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let (nx, xx, ex, px) = (
            is(option, "NX"),
            is(option, "XX"),
            is(option, "EX"),
            is(option, "PX"),
        );
        if (nx || xx) && wanted.is_none_or(|wanted| wanted == xx) {
            wanted = Some(xx);
        } else if is(option, "GET") {
            get = true;
        } else if is(option, "KEEPTTL") && time.is_none() {
            keep = true;
        } else if (ex || px) && time.is_none() && !keep {
            time = Some((
                options.next().ok_or(CommandError::Syntax)?,
                if ex { 1000 } else { 1 },
            ));
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let mut keyspace = context.keyspace();
    let mut deadline = None;
    if let Some((time, unit)) = time {
        let time = integer(time)?.checked_mul(unit).filter(|time| *time > 0);
        let time = time.and_then(|time| keyspace.now().checked_add_signed(time));
        deadline = Some(time.ok_or(CommandError::ExpireTime("set"))?);
    }
    let old = if get {
        keyspace.text(key)?.cloned()
    } else {
        None
    };
    let exists = keyspace.get(key).is_some();
    let is_set = wanted.is_none_or(|wanted| wanted == exists);
    if is_set {
        let deadline = if keep {
            keyspace.expiry(key).deadline()
        } else {
            deadline
        };
        keyspace.set_text(key, value, deadline);
    }
    Ok(match (get, is_set) {
        (true, _) => old.map_or(Reply::Null, Reply::Bulk),
        (false, true) => Reply::OK,
        (false, false) => Reply::Null,
    })
}

/// `INCR key`
pub(super) fn incr(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [key] = arguments else {
        return Err(CommandError::Syntax);
    };
    increase(&mut context.keyspace(), key, 1).map(Reply::Integer)
}

/// `INCRBY key increment`
pub(super) fn incrby(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [key, by] = arguments else {
        return Err(CommandError::Syntax);
    };
    increase(&mut context.keyspace(), key, integer(by)?).map(Reply::Integer)
}

/// Adds `by` to the integer under `key`, and keeps its deadline.
pub(super) fn increase(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    by: i64,
) -> Result<i64, CommandError> {
    let old = match keyspace.get(key) {
        None => 0,
        Some(Value::Text(text)) => number::parse_integer(text).ok_or(CommandError::NotInteger)?,
        Some(_) => return Err(CommandError::WrongType),
    };
    let new = old.checked_add(by).ok_or(CommandError::Overflow)?;
    let deadline = keyspace.expiry(key).deadline();
    keyspace.set_text(key, new.to_string().as_bytes(), deadline);
    Ok(new)
}
