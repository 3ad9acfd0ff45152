//! The scripts of [`crate::lease`], step by step as in Lua.

use bytes::Bytes;

use crate::embedded::command::arguments::integer;
use crate::embedded::command::scripts::call::{BAD_ARGUMENTS, Call, add, expire, members};
use crate::embedded::command_error::CommandError;
use crate::embedded::number::{parse_double, write_double};
use crate::embedded::resp::Reply;
use crate::embedded::store::Keyspace;

/// [`crate::lease::CLAIM`]
pub(super) fn claim(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let ([key], [id, own_host, name, number, seconds]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    let mut number = parse_double(number).ok_or(CommandError::NotDouble)?;
    let seconds = integer(seconds)?;
    if let Some((held, old)) = members(keyspace, key)?.into_iter().next() {
        let holder = holder(&held);
        if holder == id {
            number = old;
        } else if holder.is_empty() || (!own_host.is_empty() && holder.starts_with(own_host)) {
            number = number.max(old + 1.0);
        } else {
            return Ok(answer(held, old));
        }
    }
    let member = Bytes::from([id, &b" "[..], name].concat());
    keyspace.remove(key);
    add(keyspace, key, number, &member)?;
    expire(keyspace, key, seconds)?;
    Ok(answer(member, number))
}

/// [`crate::lease::RELEASE`]
pub(super) fn release(keyspace: &mut Keyspace<'_>, call: Call<'_>) -> Result<Reply, CommandError> {
    let ([key], [id, seconds]) = (call.keys, call.arguments) else {
        return Err(BAD_ARGUMENTS);
    };
    let seconds = integer(seconds)?;
    let held = members(keyspace, key)?.into_iter().next();
    let Some((_, number)) = held.filter(|(held, _)| holder(held) == id) else {
        return Ok(Reply::Integer(0));
    };
    keyspace.remove(key);
    add(keyspace, key, number, &Bytes::from_static(b" "))?;
    expire(keyspace, key, seconds)?;
    Ok(Reply::Integer(1))
}

fn holder(member: &[u8]) -> &[u8] {
    let end = member.iter().position(|byte| *byte == b' ');
    &member[..end.unwrap_or(member.len())]
}

fn answer(member: Bytes, number: f64) -> Reply {
    Reply::Array(vec![Reply::Bulk(member), Reply::text(write_double(number))])
}
