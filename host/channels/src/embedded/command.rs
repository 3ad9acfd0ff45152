//! The commands: the table of them, and how one is checked and run.

mod connection;
mod keys;
mod lists;
mod pubsub;
pub(super) mod scripts;
mod server;
mod sorted_sets;
mod strings;
mod transaction;

use std::time::Duration;

use bytes::Bytes;

use crate::embedded::glob::Matcher;
use crate::embedded::number;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::{Protocol, Reply, Request};
use crate::embedded::state::State;
use crate::embedded::store::Keyspace;
use crate::embedded::waiting::{Taken, Wanted};
pub(super) use lists::taken_reply;
use transaction::Transaction;

/// One command of the server.
#[derive(Debug)]
pub(super) struct Command {
    name: &'static str,
    /// How many words it has with its name; below zero, how many at least.
    arity: i64,
    run: Run,
    /// Whether it may need memory, and so is refused where there is none.
    grows: bool,
    /// Whether it runs at once between `MULTI` and `EXEC`, or never does.
    in_transaction: InTransaction,
    /// Whether a RESP2 client may use it while it listens to channels.
    when_subscribed: bool,
    /// Whether it runs before the password was given.
    before_password: bool,
    /// First and last argument that is a key, counted from 1; the last from the end where below zero.
    keys: (i64, i64),
}

type Run = fn(&mut Context<'_>, &[Bytes]) -> Result<Reply, Refusal>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InTransaction {
    Queued,
    AtOnce,
    Refused,
}

impl Command {
    const fn new(name: &'static str, arity: i64, run: Run) -> Self {
        Self {
            name,
            arity,
            run,
            grows: false,
            in_transaction: InTransaction::Queued,
            when_subscribed: false,
            before_password: false,
            keys: (0, 0),
        }
    }
    const fn keys(mut self, first: i64, last: i64) -> Self {
        self.keys = (first, last);
        self
    }
    const fn grows(mut self) -> Self {
        self.grows = true;
        self
    }
    const fn at_once(mut self) -> Self {
        self.in_transaction = InTransaction::AtOnce;
        self
    }
    const fn alone(mut self) -> Self {
        self.in_transaction = InTransaction::Refused;
        self
    }
    const fn when_subscribed(mut self) -> Self {
        self.when_subscribed = true;
        self
    }
    const fn before_password(mut self) -> Self {
        self.before_password = true;
        self
    }

    fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 {
            words >= -self.arity
        } else {
            words == self.arity
        }
    }
}

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

/// What a connection is in the middle of.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) protocol: Protocol,
    pub(super) database: usize,
    /// Whether the password was given, or there is none.
    pub(super) authenticated: bool,
    /// Whether the connection ends when what was answered is written.
    pub(super) closing: bool,
    /// What the client waits for since its last command.
    pub(super) wait: Option<Wait>,
    /// What was taken for the client since this was last looked at: it goes back if the answer can't be written.
    pub(super) taken: Vec<Taken>,
    transaction: Option<Transaction>,
}

/// A client's wait for an item.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) wanted: Wanted,
    /// For how long; `None` for ever.
    pub(super) limit: Option<Duration>,
}

impl Session {
    /// A connection that has said nothing yet; `authenticated` where there is no password to say.
    pub(super) fn new(id: u64, authenticated: bool) -> Self {
        Self {
            id,
            protocol: Protocol::default(),
            database: 0,
            authenticated,
            closing: false,
            wait: None,
            taken: Vec::new(),
            transaction: None,
        }
    }
}

/// What a command works on.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) state: &'a mut State,
    pub(super) session: &'a mut Session,
    /// Whether it may wait: not within a transaction.
    may_wait: bool,
    /// Matches patterns; all commands of a transaction share its time.
    matcher: Matcher,
}

impl Context<'_> {
    /// The client's database, now.
    fn keyspace(&mut self) -> Keyspace<'_> {
        let now = self.state.now();
        self.state.store.at(self.session.database, now)
    }
}

/// Runs one request of a client; errors are replies.
pub(super) fn execute(state: &mut State, session: &mut Session, request: &Request) -> Reply {
    let id = session.id;
    let mut context = Context {
        state,
        session,
        may_wait: true,
        matcher: Matcher::default(),
    };
    let reply = dispatch(&mut context, request).unwrap_or_else(|refusal| {
        if let Some(transaction) = &mut context.session.transaction {
            // What was wrong with a command outside the queue (a nested MULTI) does no harm to it.
            transaction.failed |= !matches!(refusal, Refusal::NestedMulti | Refusal::InTransaction);
        }
        refusal.into()
    });
    state.settle(Some(id));
    reply
}

fn dispatch(context: &mut Context<'_>, request: &Request) -> Result<Reply, Refusal> {
    let Some((name, arguments)) = request.words.split_first() else {
        return Ok(Reply::Nothing);
    };
    if is(name, "POST") || is(name, "HOST:") {
        refuse_http(context);
        return Ok(Reply::Nothing);
    }
    let Some(command) = COMMANDS.iter().find(|command| is(name, command.name)) else {
        // A line that is no command may begin something else than Redis's protocol, with commands hidden further on.
        context.session.closing |= request.is_line;
        return Err(unknown(name, arguments));
    };
    if !command.takes(request.words.len()) {
        return Err(Refusal::Arity(command.name.to_owned()));
    }
    if !context.session.authenticated && !command.before_password {
        return Err(Refusal::NotAuthenticated);
    }
    let size = arguments.iter().map(Bytes::len).sum();
    if command.grows && context.state.store.room() < size {
        return Err(Refusal::Memory);
    }
    if context.session.protocol == Protocol::Resp2
        && !command.when_subscribed
        && context.state.subscriptions.count(context.session.id) > 0
    {
        return Err(Refusal::Subscribed(command.name));
    }
    if let Some(transaction) = &mut context.session.transaction {
        match command.in_transaction {
            InTransaction::Queued => return transaction.queue(command, arguments, size),
            InTransaction::Refused => return Err(Refusal::InTransaction),
            InTransaction::AtOnce => {}
        }
    }
    if let Some(differences) = &mut context.state.differences {
        differences.look_at(context.session.database, command.name, arguments);
    }
    (command.run)(context, arguments)
}

/// Ends a connection that speaks HTTP: any web page can have its reader's browser send a body of commands here.
fn refuse_http(context: &mut Context<'_>) {
    context.session.closing = true;
    if !std::mem::replace(&mut context.state.http_was_logged, true) {
        tracing::warn!(
            client = context.session.id,
            "a client sent HTTP to the embedded layer and was disconnected: a web page may have tried to use it"
        );
    }
}

fn unknown(name: &[u8], arguments: &[Bytes]) -> Refusal {
    let clip = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(128)]).into_owned();
    let mut shown = String::new();
    for argument in arguments {
        if shown.len() >= 128 {
            break;
        }
        shown.push_str(&format!("'{}' ", clip(argument)));
    }
    Refusal::UnknownCommand {
        name: clip(name),
        arguments: shown,
    }
}

/// Reads an integer.
fn integer(text: &[u8]) -> Result<i64, Refusal> {
    number::parse_integer(text).ok_or(Refusal::NotInteger)
}

/// Whether an argument is this option, in any case.
fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// Reads how long to wait, in seconds; 0 is for ever.
fn wait_limit(text: &[u8]) -> Result<Option<Duration>, Refusal> {
    let seconds = number::parse_double(text).ok_or(Refusal::NotTimeout)?;
    if seconds < 0.0 {
        return Err(Refusal::NegativeTimeout);
    }
    if seconds == 0.0 {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds)
        .map(Some)
        .map_err(|_| Refusal::NotTimeout)
}

/// First and last index of a range as commands give it, where any item is in it.
fn index_range(start: i64, end: i64, length: usize) -> Option<(usize, usize)> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |index: i64| {
        if index < 0 {
            index.saturating_add(length)
        } else {
            index
        }
    };
    let (start, end) = (from_end(start).max(0), from_end(end).min(length - 1));
    if start > end {
        return None;
    }
    Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
}
