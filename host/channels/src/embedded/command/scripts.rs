//! `EVAL`, `EVALSHA` and `SCRIPT`: carries out the known scripts.

mod asgi_redis;
mod call;
mod core;
mod lease;
mod libraries;
mod reader;

use bytes::Bytes;

use crate::embedded::command::arguments::{integer, is};
use crate::embedded::command::context::Context;
use crate::embedded::command::scripts::call::{BAD_ARGUMENTS, Call};
use crate::embedded::command_error::CommandError;
use crate::embedded::resp::Reply;
use crate::embedded::script::Script;
use crate::embedded::sorted_set::MEMBER_OVERHEAD;
use crate::embedded::store::Keyspace;

/// How many bytes beyond the limit the scripts that only move messages may use, for keys of their own.
const RESERVE: usize = 1024 * 1024;

/// `EVAL script numkeys [key...] [arg...]`
pub(super) fn eval(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    let [text, rest @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (keys, arguments) = split_keys(rest)?;
    let (_, script) = context
        .state
        .scripts
        .load(text)
        .ok_or(CommandError::UnknownScript)?;
    run(context, script, keys, arguments)
}

/// `EVALSHA sha1 numkeys [key...] [arg...]`
pub(super) fn evalsha(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let [sha, rest @ ..] = arguments else {
        return Err(CommandError::Syntax);
    };
    let (keys, arguments) = split_keys(rest)?;
    let script = context
        .state
        .scripts
        .get(sha)
        .ok_or(CommandError::NoScript)?;
    run(context, script, keys, arguments)
}

/// `SCRIPT LOAD script | EXISTS sha1... | FLUSH [ASYNC | SYNC]`
pub(super) fn script(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    match arguments {
        [load, text] if is(load, "LOAD") => {
            let (sha, _) = context
                .state
                .scripts
                .load(text)
                .ok_or(CommandError::UnknownScript)?;
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
        [other, ..] => Err(CommandError::UnknownSubcommand {
            command: "SCRIPT",
            subcommand: String::from_utf8_lossy(&other[..other.len().min(128)]).into_owned(),
        }),
        [] => Err(CommandError::Syntax),
    }
}

/// Splits the keys from the arguments that follow them.
fn split_keys(rest: &[Bytes]) -> Result<(&[Bytes], &[Bytes]), CommandError> {
    let Some((count, rest)) = rest.split_first() else {
        return Err(CommandError::Syntax);
    };
    let count = usize::try_from(integer(count)?).map_err(|_| CommandError::NegativeKeys)?;
    rest.split_at_checked(count)
        .ok_or(CommandError::TooManyKeys)
}

fn run(
    context: &mut Context<'_>,
    script: Script,
    keys: &[Bytes],
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    check_memory(context, script, keys, arguments)?;
    if let Some(differences) = &mut context.state.differences {
        differences.compare_script(context.session.database, script, keys, arguments);
    }
    let call = Call { keys, arguments };
    let now = context.state.now();
    let keyspace = &mut context.state.store.at(context.session.database, now);
    match script {
        Script::RestoreInflight => libraries::restore_inflight(keyspace, call),
        Script::DeleteMatching => libraries::delete_matching(keyspace, &mut context.matcher, call),
        Script::GroupSend => libraries::group_send(keyspace, call),
        Script::StoreAndPush => libraries::store_and_push(keyspace, call),
        Script::Count => libraries::count(keyspace, call),
        Script::PopAny => libraries::pop_any(keyspace, call),
        Script::Append => core::append(keyspace, call),
        Script::Take => core::take(keyspace, call),
        Script::Keep => core::keep(keyspace, call),
        Script::GiveBack => core::give_back(keyspace, call),
        Script::ListAppend => asgi_redis::append(keyspace, call),
        Script::ListTake => asgi_redis::take(keyspace, call),
        Script::ListKeep => asgi_redis::keep(keyspace, call),
        Script::ListGiveBack => asgi_redis::give_back(keyspace, call),
        Script::ListFinish => asgi_redis::finish(keyspace, call),
        Script::ListWithdraw => asgi_redis::withdraw(keyspace, call),
        Script::ClaimLease => lease::claim(keyspace, call),
        Script::ReleaseLease => lease::release(keyspace, call),
    }
}

/// Runs a script about leases, for the layer inside the process.
pub(in crate::embedded) fn run_on(
    keyspace: &mut Keyspace<'_>,
    script: Script,
    keys: &[Bytes],
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let call = Call { keys, arguments };
    match script {
        Script::ClaimLease => lease::claim(keyspace, call),
        Script::ReleaseLease => lease::release(keyspace, call),
        _ => Err(BAD_ARGUMENTS),
    }
}

/// Refuses a script that needs more memory than there is. At worst, each word becomes a member of a set.
fn check_memory(
    context: &Context<'_>,
    script: Script,
    keys: &[Bytes],
    arguments: &[Bytes],
) -> Result<(), CommandError> {
    let store = &context.state.store;
    let words = keys.iter().chain(arguments);
    let needed: usize = words.map(|word| word.len() + MEMBER_OVERHEAD).sum();
    let fits = if script.grows() {
        needed <= store.room()
    } else {
        store.used() <= store.limit().saturating_add(RESERVE)
    };
    if fits {
        Ok(())
    } else {
        Err(CommandError::Memory)
    }
}

#[cfg(test)]
mod tests;
