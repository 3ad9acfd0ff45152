//! The definition of a command, and the context in which it runs: the state and the session of its client.

use std::time::Duration;

use bytes::Bytes;

use crate::embedded::command_error::CommandError;
use crate::embedded::glob::Matcher;
use crate::embedded::resp::{MAX_REQUEST, Protocol, Reply};
use crate::embedded::state::State;
use crate::embedded::store::Keyspace;
use crate::embedded::waiters::{PopRequest, QueueItem};

/// One command of the server.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// The number of words with its name; a negative number is the least number, as in Redis.
    pub(super) arity: i64,
    pub(super) run: Run,
    /// Whether it may need memory. Then it is refused when the memory is full.
    pub(super) grows: bool,
    /// Whether it runs at once between `MULTI` and `EXEC`, or never does.
    pub(super) in_transaction: InTransaction,
    /// Whether a RESP2 client may use it while it is subscribed to channels.
    pub(super) when_subscribed: bool,
    /// Whether it runs before the client has given the password.
    pub(super) before_password: bool,
    /// The arguments that are keys.
    pub(super) keys: KeyRange,
}

/// The arguments of a command that are keys: the first and the last, counted from 1, as Redis reports them. A negative
/// number counts from the end, and 0 means that there are none.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRange {
    pub(super) first: i64,
    pub(super) last: i64,
}

pub(super) type Run = fn(&mut Context<'_>, &[Bytes]) -> Result<Reply, CommandError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InTransaction {
    Queued,
    AtOnce,
    Refused,
}

impl Command {
    pub(super) const fn new(name: &'static str, arity: i64, run: Run) -> Self {
        Self {
            name,
            arity,
            run,
            grows: false,
            in_transaction: InTransaction::Queued,
            when_subscribed: false,
            before_password: false,
            keys: KeyRange { first: 0, last: 0 },
        }
    }
    pub(super) const fn keys(mut self, first: i64, last: i64) -> Self {
        self.keys = KeyRange { first, last };
        self
    }
    pub(super) const fn grows(mut self) -> Self {
        self.grows = true;
        self
    }
    pub(super) const fn at_once(mut self) -> Self {
        self.in_transaction = InTransaction::AtOnce;
        self
    }
    pub(super) const fn alone(mut self) -> Self {
        self.in_transaction = InTransaction::Refused;
        self
    }
    pub(super) const fn when_subscribed(mut self) -> Self {
        self.when_subscribed = true;
        self
    }
    pub(super) const fn before_password(mut self) -> Self {
        self.before_password = true;
        self
    }

    pub(super) fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 {
            words >= -self.arity
        } else {
            words == self.arity
        }
    }
}

/// The state of one connection, from one command to the next.
#[derive(Debug)]
pub(in crate::embedded) struct Session {
    pub(in crate::embedded) id: u64,
    pub(in crate::embedded) protocol: Protocol,
    pub(in crate::embedded) database: usize,
    /// Whether the password was given, or there is none.
    pub(in crate::embedded) authenticated: bool,
    /// Whether the connection ends as soon as its answers are written.
    pub(in crate::embedded) closing: bool,
    /// The wait that the client's last command began.
    pub(in crate::embedded) wait: Option<Wait>,
    /// Items that the last command popped for the client. They go back if the answer can't be written.
    pub(in crate::embedded) unwritten: Vec<QueueItem>,
    pub(super) transaction: Option<Transaction>,
}

/// A client's wait for an item.
#[derive(Debug)]
pub(in crate::embedded) struct Wait {
    pub(in crate::embedded) request: PopRequest,
    /// How long it may wait; `None` is for ever.
    pub(in crate::embedded) limit: Option<Duration>,
}

impl Session {
    /// A new connection. It is authenticated at once if there is no password.
    pub(in crate::embedded) fn new(id: u64, authenticated: bool) -> Self {
        Self {
            id,
            protocol: Protocol::default(),
            database: 0,
            authenticated,
            closing: false,
            wait: None,
            unwritten: Vec::new(),
            transaction: None,
        }
    }
}

/// The context of a running command.
#[derive(Debug)]
pub(in crate::embedded) struct Context<'a> {
    /// All commands that there are.
    pub(super) commands: &'static [Command],
    pub(in crate::embedded) state: &'a mut State,
    pub(in crate::embedded) session: &'a mut Session,
    /// Whether the command may wait. Within a transaction it may not.
    pub(super) may_wait: bool,
    /// Matches patterns; all commands of a transaction share its time.
    pub(super) matcher: Matcher,
}

impl Context<'_> {
    /// The client's database, now.
    pub(super) fn keyspace(&mut self) -> Keyspace<'_> {
        let now = self.state.now();
        self.state.store.at(self.session.database, now)
    }
}

/// How many bytes a queued command takes beyond its arguments.
const COMMAND_OVERHEAD: usize = 64;

/// A command of a transaction.
#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) command: &'static Command,
    pub(super) arguments: Vec<Bytes>,
}

/// The commands since `MULTI`.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) commands: Vec<QueuedCommand>,
    size: usize,
    /// Whether one of them was refused. Then none will run.
    pub(super) failed: bool,
}

impl Transaction {
    /// Adds a command whose arguments have `size` bytes.
    pub(super) fn queue(
        &mut self,
        command: &'static Command,
        arguments: &[Bytes],
        size: usize,
    ) -> Result<Reply, CommandError> {
        self.size += size + COMMAND_OVERHEAD + size_of_val(arguments);
        if self.size > MAX_REQUEST {
            return Err(CommandError::LongTransaction);
        }
        self.commands.push(QueuedCommand {
            command,
            arguments: arguments.to_vec(),
        });
        Ok(Reply::Status("QUEUED"))
    }
}
