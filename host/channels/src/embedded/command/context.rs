//! What a command is, and what it works on: the state, and the session of the client that sent it.

use std::time::Duration;

use bytes::Bytes;

use crate::embedded::glob::Matcher;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::{MAX_REQUEST, Protocol, Reply};
use crate::embedded::state::State;
use crate::embedded::store::Keyspace;
use crate::embedded::waiting::{Taken, Wanted};

/// One command of the server.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// How many words it has with its name; below zero, how many at least.
    pub(super) arity: i64,
    pub(super) run: Run,
    /// Whether it may need memory, and so is refused where there is none.
    pub(super) grows: bool,
    /// Whether it runs at once between `MULTI` and `EXEC`, or never does.
    pub(super) in_transaction: InTransaction,
    /// Whether a RESP2 client may use it while it listens to channels.
    pub(super) when_subscribed: bool,
    /// Whether it runs before the password was given.
    pub(super) before_password: bool,
    /// First and last argument that is a key, counted from 1; the last from the end where below zero.
    pub(super) keys: (i64, i64),
}

pub(super) type Run = fn(&mut Context<'_>, &[Bytes]) -> Result<Reply, Refusal>;

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
            keys: (0, 0),
        }
    }
    pub(super) const fn keys(mut self, first: i64, last: i64) -> Self {
        self.keys = (first, last);
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

/// What a connection is in the middle of.
#[derive(Debug)]
pub(in crate::embedded) struct Session {
    pub(in crate::embedded) id: u64,
    pub(in crate::embedded) protocol: Protocol,
    pub(in crate::embedded) database: usize,
    /// Whether the password was given, or there is none.
    pub(in crate::embedded) authenticated: bool,
    /// Whether the connection ends when what was answered is written.
    pub(in crate::embedded) closing: bool,
    /// What the client waits for since its last command.
    pub(in crate::embedded) wait: Option<Wait>,
    /// What was taken for the client since this was last looked at: it goes back if the answer can't be written.
    pub(in crate::embedded) taken: Vec<Taken>,
    pub(super) transaction: Option<Transaction>,
}

/// A client's wait for an item.
#[derive(Debug)]
pub(in crate::embedded) struct Wait {
    pub(in crate::embedded) wanted: Wanted,
    /// For how long; `None` for ever.
    pub(in crate::embedded) limit: Option<Duration>,
}

impl Session {
    /// A connection that has said nothing yet; `authenticated` where there is no password to say.
    pub(in crate::embedded) fn new(id: u64, authenticated: bool) -> Self {
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
pub(in crate::embedded) struct Context<'a> {
    /// All commands that there are.
    pub(super) commands: &'static [Command],
    pub(in crate::embedded) state: &'a mut State,
    pub(in crate::embedded) session: &'a mut Session,
    /// Whether it may wait: not within a transaction.
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

/// What a queued command costs beyond its arguments.
const COMMAND_OVERHEAD: usize = 64;

/// The commands since `MULTI`.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) queued: Vec<(&'static Command, Vec<Bytes>)>,
    size: usize,
    /// Whether one of them was refused, so that none will run.
    pub(super) failed: bool,
}

impl Transaction {
    /// Adds a command whose arguments have `size` bytes.
    pub(super) fn queue(
        &mut self,
        command: &'static Command,
        arguments: &[Bytes],
        size: usize,
    ) -> Result<Reply, Refusal> {
        self.size += size + COMMAND_OVERHEAD + size_of_val(arguments);
        if self.size > MAX_REQUEST {
            return Err(Refusal::LongTransaction);
        }
        self.queued.push((command, arguments.to_vec()));
        Ok(Reply::Status("QUEUED"))
    }
}
