//! The table of all commands, and the checks before one runs.

mod arguments;
mod connection;
pub(super) mod context;
mod keys;
mod lists;
mod pubsub;
pub(super) mod scripts;
mod server;
mod sorted_sets;
mod strings;
mod transaction;

use bytes::Bytes;

use crate::embedded::command::arguments::is;
use crate::embedded::command::context::{Command, Context, InTransaction, Session};
use crate::embedded::command_error::CommandError;
use crate::embedded::glob::Matcher;
use crate::embedded::resp::{Protocol, Reply, Request};
use crate::embedded::state::State;

pub(super) use lists::item_reply;

/// All commands, by subject.
static COMMANDS: &[Command] = &[
    Command::new("auth", -2, connection::auth)
        .before_password()
        .alone(),
    Command::new("client", -2, connection::client),
    Command::new("echo", 2, connection::echo),
    Command::new("hello", -1, connection::hello)
        .before_password()
        .alone(),
    Command::new("ping", -1, connection::ping).when_subscribed(),
    Command::new("quit", -1, connection::quit)
        .when_subscribed()
        .before_password()
        .at_once(),
    Command::new("reset", 1, connection::reset)
        .when_subscribed()
        .before_password()
        .at_once(),
    Command::new("select", 2, connection::select),
    Command::new("command", -1, server::command),
    Command::new("config", -2, server::config),
    Command::new("dbsize", 1, server::dbsize),
    Command::new("flushall", -1, server::flushall),
    Command::new("flushdb", -1, server::flushdb),
    Command::new("info", -1, server::info),
    Command::new("time", 1, server::time),
    Command::new("del", -2, keys::del).keys(1, -1),
    Command::new("exists", -2, keys::exists).keys(1, -1),
    Command::new("expire", -3, keys::expire).keys(1, 1),
    Command::new("keys", 2, keys::keys),
    Command::new("persist", 2, keys::persist).keys(1, 1),
    Command::new("pexpire", -3, keys::pexpire).keys(1, 1),
    Command::new("pttl", 2, keys::pttl).keys(1, 1),
    Command::new("ttl", 2, keys::ttl).keys(1, 1),
    Command::new("type", 2, keys::kind).keys(1, 1),
    Command::new("unlink", -2, keys::del).keys(1, -1),
    Command::new("get", 2, strings::get).keys(1, 1),
    Command::new("incr", 2, strings::incr).keys(1, 1).grows(),
    Command::new("incrby", 3, strings::incrby)
        .keys(1, 1)
        .grows(),
    Command::new("set", -3, strings::set).keys(1, 1).grows(),
    Command::new("zadd", -4, sorted_sets::zadd)
        .keys(1, 1)
        .grows(),
    Command::new("zcard", 2, sorted_sets::zcard).keys(1, 1),
    Command::new("zcount", 4, sorted_sets::zcount).keys(1, 1),
    Command::new("zincrby", 4, sorted_sets::zincrby)
        .keys(1, 1)
        .grows(),
    Command::new("zpopmin", -2, sorted_sets::zpopmin).keys(1, 1),
    Command::new("zrange", -4, sorted_sets::zrange).keys(1, 1),
    Command::new("zrangebyscore", -4, sorted_sets::zrangebyscore).keys(1, 1),
    Command::new("zrem", -3, sorted_sets::zrem).keys(1, 1),
    Command::new("zremrangebyscore", 4, sorted_sets::zremrangebyscore).keys(1, 1),
    Command::new("zscore", 3, sorted_sets::zscore).keys(1, 1),
    Command::new("bzpopmin", -3, sorted_sets::bzpopmin).keys(1, -2),
    Command::new("blpop", -3, lists::blpop).keys(1, -2),
    Command::new("llen", 2, lists::llen).keys(1, 1),
    Command::new("lpop", -2, lists::lpop).keys(1, 1),
    Command::new("lpush", -3, lists::lpush).keys(1, 1).grows(),
    Command::new("lrange", 4, lists::lrange).keys(1, 1),
    Command::new("rpop", -2, lists::rpop).keys(1, 1),
    Command::new("rpush", -3, lists::rpush).keys(1, 1).grows(),
    Command::new("psubscribe", -2, pubsub::psubscribe)
        .when_subscribed()
        .alone(),
    Command::new("publish", 3, pubsub::publish),
    Command::new("punsubscribe", -1, pubsub::punsubscribe)
        .when_subscribed()
        .alone(),
    Command::new("subscribe", -2, pubsub::subscribe)
        .when_subscribed()
        .alone(),
    Command::new("unsubscribe", -1, pubsub::unsubscribe)
        .when_subscribed()
        .alone(),
    Command::new("discard", 1, transaction::discard).at_once(),
    Command::new("exec", 1, transaction::exec).at_once(),
    Command::new("multi", 1, transaction::multi).at_once(),
    Command::new("eval", -3, scripts::eval),
    Command::new("evalsha", -3, scripts::evalsha),
    Command::new("script", -2, scripts::script),
];

/// Runs one request of a client. Errors become replies.
pub(super) fn execute(state: &mut State, session: &mut Session, request: &Request) -> Reply {
    let id = session.id;
    let mut context = Context {
        commands: COMMANDS,
        state,
        session,
        may_wait: true,
        matcher: Matcher::default(),
    };
    let reply = dispatch(&mut context, request).unwrap_or_else(|refusal| {
        if let Some(transaction) = &mut context.session.transaction {
            // A command that is never queued, such as a nested MULTI, does not spoil the transaction.
            transaction.failed |= !matches!(
                refusal,
                CommandError::NestedMulti | CommandError::InTransaction
            );
        }
        refusal.into()
    });
    state.settle(Some(id));
    reply
}

fn dispatch(context: &mut Context<'_>, request: &Request) -> Result<Reply, CommandError> {
    let Some((name, arguments)) = request.words.split_first() else {
        return Ok(Reply::Nothing);
    };
    if is(name, "POST") || is(name, "HOST:") {
        refuse_http(context);
        return Ok(Reply::Nothing);
    }
    let Some(command) = COMMANDS.iter().find(|command| is(name, command.name)) else {
        // An unknown command in a plain line may begin another protocol, with commands hidden further on.
        context.session.closing |= request.is_line;
        return Err(unknown(name, arguments));
    };
    if !command.takes(request.words.len()) {
        return Err(CommandError::Arity(command.name.to_owned()));
    }
    if !context.session.authenticated && !command.before_password {
        return Err(CommandError::NotAuthenticated);
    }
    let size = arguments.iter().map(Bytes::len).sum();
    if command.grows && context.state.store.room() < size {
        return Err(CommandError::Memory);
    }
    if context.session.protocol == Protocol::Resp2
        && !command.when_subscribed
        && context.state.subscriptions.count(context.session.id) > 0
    {
        return Err(CommandError::Subscribed(command.name));
    }
    if let Some(transaction) = &mut context.session.transaction {
        match command.in_transaction {
            InTransaction::Queued => return transaction.queue(command, arguments, size),
            InTransaction::Refused => return Err(CommandError::InTransaction),
            InTransaction::AtOnce => {}
        }
    }
    if let Some(differences) = &mut context.state.differences {
        differences.compare_command(context.session.database, command.name, arguments);
    }
    (command.run)(context, arguments)
}

/// Ends a connection that speaks HTTP. Any web page could make its reader's browser send Redis commands in a body.
fn refuse_http(context: &mut Context<'_>) {
    context.session.closing = true;
    if !std::mem::replace(&mut context.state.http_was_logged, true) {
        tracing::warn!(
            client = context.session.id,
            "a client sent HTTP to the embedded layer and was disconnected; a web page in a browser on this machine may have tried to reach the layer"
        );
    }
}

fn unknown(name: &[u8], arguments: &[Bytes]) -> CommandError {
    let clip = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(128)]).into_owned();
    let mut shown = String::new();
    for argument in arguments {
        if shown.len() >= 128 {
            break;
        }
        shown.push_str(&format!("'{}' ", clip(argument)));
    }
    CommandError::UnknownCommand {
        name: clip(name),
        arguments: shown,
    }
}
