//! One connection: reads requests, runs them, writes answers, waits, and leaves nothing behind.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::embedded::clients::Line;
use crate::embedded::command::context::Session;
use crate::embedded::command::{self, taken_reply};
use crate::embedded::resp::{MAX_OUTPUT, Reply, Request, RequestReader};
use crate::embedded::state::Shared;
use crate::embedded::ticket::Ticket;
use crate::embedded::waiting::Taken;

/// How much a client may send while it waits for an item, before no more is read.
const INPUT_LIMIT: usize = 1024 * 1024;
/// Forever, to a timer.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// A connection and all that belongs to it.
struct Connection {
    shared: Arc<Shared>,
    session: Session,
    line: Line,
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    requests: RequestReader,
    input: BytesMut,
    output: BytesMut,
    /// How many bytes were written since the start.
    written: u64,
    /// What was taken for the client, each with the position in the output at which it is all written.
    unwritten: VecDeque<(u64, Taken)>,
    blocked: Option<Blocked>,
}

/// A client that waits for an item.
struct Blocked {
    ticket: Ticket,
    until: Instant,
}

/// What a connection was woken by.
enum Woken {
    Input(io::Result<usize>),
    Output(io::Result<usize>),
    Pushes,
    Taken(Taken),
    TimedOut,
    Killed,
}

/// Serves a client until it goes, or `kill` is cancelled.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, kill: CancellationToken) {
    let Ok(address) = stream.peer_addr() else {
        return;
    };
    // Answers are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let (connected, trusted) = {
        let mut state = shared.lock();
        let connected = state.clients.connect(address, kill);
        (connected, state.password.is_none())
    };
    let (reading, mut writing) = stream.into_split();
    let Some((id, line)) = connected else {
        // The client may not be there any more, and then need not hear it.
        let _ = writing
            .write_all(b"-ERR max number of clients reached\r\n")
            .await;
        return;
    };
    let mut connection = Connection {
        shared,
        session: Session::new(id, trusted),
        line,
        reading,
        writing,
        requests: RequestReader::default(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        written: 0,
        unwritten: VecDeque::new(),
        blocked: None,
    };
    if let Err(error) = connection.run().await {
        tracing::debug!(client = %address, %error, "a connection to the embedded layer broke");
    }
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            self.run_requests();
            self.write_now()?;
            if self.session.closing && self.output.is_empty() {
                return Ok(());
            }
            match self.wake().await {
                Woken::Input(count) => {
                    if count? == 0 {
                        return Ok(());
                    }
                }
                Woken::Output(count) => self.advance(count?),
                Woken::Pushes => self.take_pushes(),
                Woken::Taken(taken) => {
                    self.blocked = None;
                    if self.is_gone() {
                        self.shared.lock().put_back([taken], false);
                        return Ok(());
                    }
                    self.give(taken);
                }
                Woken::TimedOut => {
                    // What came at the last moment goes back with the ticket.
                    self.blocked = None;
                    self.answer(&Reply::NullArray);
                }
                Woken::Killed => return Ok(()),
            }
        }
    }

    /// Waits for whatever comes first.
    async fn wake(&mut self) -> Woken {
        let is_blocked = self.blocked.is_some();
        let may_read = !self.session.closing
            && if is_blocked {
                self.input.len() < INPUT_LIMIT
            } else {
                self.output.len() < MAX_OUTPUT
            };
        let until = self
            .blocked
            .as_ref()
            .map_or_else(Instant::now, |blocked| blocked.until);
        let taken = async {
            match &mut self.blocked {
                Some(blocked) => blocked.ticket.taken().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The order makes that a client which has gone is seen to have, before it is given anything.
            biased;
            () = self.line.kill.cancelled() => Woken::Killed,
            count = self.reading.read_buf(&mut self.input), if may_read => Woken::Input(count),
            count = self.writing.write_buf(&mut self.output), if !self.output.is_empty() => Woken::Output(count),
            taken = taken => Woken::Taken(taken),
            () = self.line.wake.notified(), if self.output.is_empty() => Woken::Pushes,
            () = tokio::time::sleep_until(until), if is_blocked => Woken::TimedOut,
        }
    }

    /// Runs the requests that have come whole, up to one that waits.
    fn run_requests(&mut self) {
        while self.blocked.is_none() && !self.session.closing && self.output.len() < MAX_OUTPUT {
            match self
                .requests
                .next(&mut self.input, self.session.authenticated)
            {
                Ok(Some(request)) => self.run_request(&request),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(client = self.session.id, %error, "a client of the embedded layer does not speak its protocol");
                    self.answer(&Reply::Error(error.to_string()));
                    self.session.closing = true;
                }
            }
        }
    }

    fn run_request(&mut self, request: &Request) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        // What was pushed before stands before the answer.
        state.clients.take_pushes(self.session.id, &mut self.output);
        let reply = command::execute(&mut state, &mut self.session, request);
        if let Some(wait) = self.session.wait.take() {
            let ticket = Ticket::new(Arc::clone(&shared), &mut state.waiting, wait.wanted);
            let until = Instant::now() + wait.limit.unwrap_or(LONG).min(LONG);
            self.blocked = Some(Blocked { ticket, until });
        }
        // Who sent this and went before it was read would take a message with it.
        if !self.session.taken.is_empty() && self.is_gone() {
            state.put_back(self.session.taken.drain(..), false);
            self.session.closing = true;
            return;
        }
        drop(state);
        self.answer(&reply);
        let end = self.end();
        let taken = self.session.taken.drain(..).map(|taken| (end, taken));
        self.unwritten.extend(taken);
    }

    fn answer(&mut self, reply: &Reply) {
        reply.write(self.session.protocol, &mut self.output);
    }

    /// Answers with an item, which goes back if it can't be written.
    fn give(&mut self, taken: Taken) {
        self.answer(&taken_reply(&taken.key, &taken.item));
        self.unwritten.push_back((self.end(), taken));
    }

    /// Position of the output's end since the start.
    fn end(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    /// Writes what the system takes at once, so that a client which never stops sending gets its answers too.
    fn write_now(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.writing.try_write(&self.output) {
                Ok(count) => {
                    self.output.advance(count);
                    self.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Counts what was written: what was taken for the client and is written is its own now.
    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        while self
            .unwritten
            .front()
            .is_some_and(|(end, _)| *end <= self.written)
        {
            self.unwritten.pop_front();
        }
    }

    fn take_pushes(&mut self) {
        self.shared
            .lock()
            .clients
            .take_pushes(self.session.id, &mut self.output);
    }

    /// Whether the client has closed the connection, by the system's word and not by the last event's.
    fn is_gone(&self) -> bool {
        match SockRef::from(self.reading.as_ref()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The ticket takes the lock itself.
        self.blocked = None;
        let mut state = self.shared.lock();
        state.subscriptions.disconnect(self.session.id);
        state.clients.disconnect(self.session.id);
        let unwritten = self.unwritten.drain(..).map(|(_, taken)| taken);
        state.put_back(unwritten, true);
    }
}
