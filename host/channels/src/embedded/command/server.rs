//! Commands about the server.

use std::fmt::Write;

use bytes::Bytes;

use crate::embedded::command::arguments::is;
use crate::embedded::command::context::{Command, Context, KeyRange};
use crate::embedded::command_error::CommandError;
use crate::embedded::resp::Reply;
use crate::embedded::store::Census;
use crate::embedded::subscriptions::Kind;

/// The version of Redis whose commands and error texts are used here. Clients choose their commands by it.
pub(super) const REDIS_VERSION: &str = "7.0.0";

/// `COMMAND [COUNT | DOCS | INFO name...]`
pub(super) fn command(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    let entry = |command: &Command| {
        let KeyRange { first, last } = command.keys;
        Reply::Array(vec![
            Reply::text(command.name),
            Reply::Integer(command.arity),
            Reply::Array(Vec::new()),
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Integer(i64::from(first > 0)),
        ])
    };
    match arguments {
        [] => Ok(Reply::Array(context.commands.iter().map(entry).collect())),
        [count] if is(count, "COUNT") => Ok(Reply::count(context.commands.len())),
        // There is no documentation, but `redis-cli` asks for it when it starts.
        [docs, ..] if is(docs, "DOCS") => Ok(Reply::Map(Vec::new())),
        [info, names @ ..] if is(info, "INFO") => {
            let find = |name: &Bytes| {
                context
                    .commands
                    .iter()
                    .find(|command| is(name, command.name))
            };
            Ok(Reply::Array(
                names
                    .iter()
                    .map(|name| find(name).map_or(Reply::NullArray, entry))
                    .collect(),
            ))
        }
        [other, ..] => Err(CommandError::UnknownSubcommand {
            command: "COMMAND",
            subcommand: String::from_utf8_lossy(&other[..other.len().min(128)]).into_owned(),
        }),
    }
}

/// `CONFIG GET parameter...`. There are no parameters, so none is found.
pub(super) fn config(_: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, CommandError> {
    match arguments {
        [get, ..] if is(get, "GET") => Ok(Reply::Map(Vec::new())),
        _ => Err(CommandError::Other(
            "ERR the embedded channel layer has no CONFIG but CONFIG GET; its options are given when it starts",
        )),
    }
}

/// `DBSIZE`
pub(super) fn dbsize(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    Ok(Reply::count(context.keyspace().len()))
}

/// `FLUSHALL [ASYNC | SYNC]`
pub(super) fn flushall(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    check_flush(arguments)?;
    context.state.store.clear();
    Ok(Reply::OK)
}

/// `FLUSHDB [ASYNC | SYNC]`
pub(super) fn flushdb(
    context: &mut Context<'_>,
    arguments: &[Bytes],
) -> Result<Reply, CommandError> {
    check_flush(arguments)?;
    context.keyspace().clear();
    Ok(Reply::OK)
}

fn check_flush(arguments: &[Bytes]) -> Result<(), CommandError> {
    match arguments {
        [] => Ok(()),
        [how] if is(how, "ASYNC") || is(how, "SYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// `INFO [section...]`. The answer is short, so it is the same for all sections.
pub(super) fn info(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    let state = &mut *context.state;
    let now = state.now();
    state.store.expire(now);
    let channels = state.subscriptions.names_in_use(Kind::Channel);
    let patterns = state.subscriptions.names_in_use(Kind::Pattern);
    let mut keyspace = String::new();
    for census in state.store.census() {
        let Census {
            database,
            keys,
            expiring,
        } = census;
        // Writing to a string can't fail.
        let _ = write!(
            keyspace,
            "db{database}:keys={keys},expires={expiring},avg_ttl=0\r\n"
        );
    }
    Ok(Reply::text(format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\ndjangobot_version:{}\r\n\
         process_id:{}\r\nuptime_in_seconds:{}\r\n\r\n\
         # Clients\r\nconnected_clients:{}\r\nblocked_clients:{}\r\n\r\n\
         # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n\r\n\
         # Persistence\r\nloading:0\r\n\r\n\
         # Stats\r\npubsub_channels:{channels}\r\npubsub_patterns:{patterns}\r\n\r\n\
         # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n\
         # Cluster\r\ncluster_enabled:0\r\n\r\n\
         # Keyspace\r\n{keyspace}",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        state.uptime(),
        state.clients.len(),
        state.waiters.len(),
        state.store.used(),
        state.store.limit(),
    )))
}

/// `TIME`
pub(super) fn time(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, CommandError> {
    let now = context.state.micros();
    Ok(Reply::Array(vec![
        Reply::text((now / 1_000_000).to_string()),
        Reply::text((now % 1_000_000).to_string()),
    ]))
}
