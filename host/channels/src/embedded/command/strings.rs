//! Commands about texts.

use bytes::Bytes;

use super::{Context, integer, is};
use crate::embedded::number;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::Reply;
use crate::embedded::store::{Keyspace, Value};

/// `GET key`
pub(super) fn get(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [key] = arguments else { return Err(Refusal::Syntax) };
    Ok(context.keyspace().text(key)?.cloned().map_or(Reply::Null, Reply::Bulk))
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]`
pub(super) fn set(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [key, value, options @ ..] = arguments else { return Err(Refusal::Syntax) };
    let mut keyspace = context.keyspace();
    let (mut wanted, mut get, mut keep, mut deadline) = (None, false, false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if (is(option, "NX") || is(option, "XX")) && wanted.is_none_or(|wanted| wanted == is(option, "XX")) {
            wanted = Some(is(option, "XX"));
        } else if is(option, "GET") {
            get = true;
        } else if is(option, "KEEPTTL") && deadline.is_none() {
            keep = true;
        } else if (is(option, "EX") || is(option, "PX")) && deadline.is_none() && !keep {
            let time = integer(options.next().ok_or(Refusal::Syntax)?)?;
            let time = if is(option, "EX") { time.checked_mul(1000) } else { Some(time) };
            let time = time.filter(|time| *time > 0).and_then(|time| u64::try_from(time).ok());
            let time = time.and_then(|time| keyspace.now().checked_add(time));
            deadline = Some(time.ok_or(Refusal::ExpireTime("set"))?);
        } else {
            return Err(Refusal::Syntax);
        }
    }
    let old = if get { keyspace.text(key)?.cloned() } else { None };
    let there = keyspace.get(key).is_some();
    let goes = wanted.is_none_or(|wanted| wanted == there);
    if goes {
        let deadline = if keep { keyspace.deadline(key).flatten() } else { deadline };
        keyspace.set_text(key, value, deadline);
    }
    Ok(match (get, goes) {
        (true, _) => old.map_or(Reply::Null, Reply::Bulk),
        (false, true) => Reply::OK,
        (false, false) => Reply::Null,
    })
}

/// `INCR key`
pub(super) fn incr(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [key] = arguments else { return Err(Refusal::Syntax) };
    increase(&mut context.keyspace(), key, 1).map(Reply::Integer)
}

/// `INCRBY key increment`
pub(super) fn incrby(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, Refusal> {
    let [key, by] = arguments else { return Err(Refusal::Syntax) };
    increase(&mut context.keyspace(), key, integer(by)?).map(Reply::Integer)
}

/// Adds `by` to the integer under `key`, whose deadline stays.
pub(super) fn increase(keyspace: &mut Keyspace<'_>, key: &[u8], by: i64) -> Result<i64, Refusal> {
    let old = match keyspace.get(key) {
        None => 0,
        Some(Value::Text(text)) => number::parse_integer(text).ok_or(Refusal::NotInteger)?,
        Some(_) => return Err(Refusal::WrongType),
    };
    let new = old.checked_add(by).ok_or(Refusal::Overflow)?;
    let deadline = keyspace.deadline(key).flatten();
    keyspace.set_text(key, new.to_string().as_bytes(), deadline);
    Ok(new)
}
