//! One connection of a client: reads requests, runs them and writes the answers. Its end undoes what was not delivered.

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

use crate::embedded::clients::ClientHandle;
use crate::embedded::command::context::Session;
use crate::embedded::command::{self, item_reply};
use crate::embedded::resp::{MAX_OUTPUT, Reply, Request, RequestReader};
use crate::embedded::state::SharedState;
use crate::embedded::ticket::Ticket;
use crate::embedded::waiters::QueueItem;

/// How many bytes are read from a client while it waits for an item. Beyond that the client has to wait too.
const INPUT_LIMIT: usize = 1024 * 1024;
/// A time that is for ever to a timer.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// The connection of a client.
struct Connection {
    shared: Arc<SharedState>,
    session: Session,
    handle: ClientHandle,
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    requests: RequestReader,
    input: BytesMut,
    output: BytesMut,
    /// How many bytes were written since the start.
    written: u64,
    /// Items that were popped for the client and are not written yet, in the order of the output.
    unwritten: VecDeque<UnwrittenItem>,
    blocked: Option<BlockedPop>,
}

/// An item in the output that is not written yet.
struct UnwrittenItem {
    item: QueueItem,
    /// The position in the output, from the start of the connection, at which it is written whole.
    end: u64,
}

/// A client that waits for an item.
struct BlockedPop {
    ticket: Ticket,
    until: Instant,
}

/// The event that a connection was waiting for.
enum WakeReason {
    Input(io::Result<usize>),
    Output(io::Result<usize>),
    Pushes,
    Item(QueueItem),
    Timeout,
    Kill,
}

/// Serves a client until it disconnects or `kill` is cancelled.
pub(super) async fn serve(shared: Arc<SharedState>, stream: TcpStream, kill: CancellationToken) {
    let Ok(address) = stream.peer_addr() else {
        return;
    };
    // Answers are small, and none must wait until more can go with it.
    let _ = stream.set_nodelay(true);
    let (connected, trusted) = {
        let mut state = shared.lock();
        let connected = state.clients.connect(address, kill);
        (connected, state.password.is_none())
    };
    let (reading, mut writing) = stream.into_split();
    let Some(handle) = connected else {
        // If this fails, the client has gone already.
        let _ = writing
            .write_all(b"-ERR max number of clients reached\r\n")
            .await;
        return;
    };
    let mut connection = Connection {
        shared,
        session: Session::new(handle.id, trusted),
        handle,
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
        tracing::debug!(client = %address, %error, "a connection to the embedded channel layer broke");
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
                WakeReason::Input(count) => {
                    if count? == 0 {
                        return Ok(());
                    }
                }
                WakeReason::Output(count) => self.advance(count?),
                WakeReason::Pushes => self.take_pushes(),
                WakeReason::Item(item) => {
                    self.blocked = None;
                    if self.is_gone() {
                        self.shared.lock().put_back([item], false);
                        return Ok(());
                    }
                    self.deliver(item);
                }
                WakeReason::Timeout => {
                    // An item that comes at the last moment goes back with the ticket.
                    self.blocked = None;
                    self.answer(&Reply::NullArray);
                }
                WakeReason::Kill => return Ok(()),
            }
        }
    }

    /// Waits for the first event.
    async fn wake(&mut self) -> WakeReason {
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
        let item = async {
            match &mut self.blocked {
                Some(blocked) => blocked.ticket.item().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The order matters: the end of a connection is noticed before an item is delivered to it.
            biased;
            () = self.handle.kill.cancelled() => WakeReason::Kill,
            count = self.reading.read_buf(&mut self.input), if may_read => WakeReason::Input(count),
            count = self.writing.write_buf(&mut self.output), if !self.output.is_empty() => WakeReason::Output(count),
            item = item => WakeReason::Item(item),
            () = self.handle.wake.notified(), if self.output.is_empty() => WakeReason::Pushes,
            () = tokio::time::sleep_until(until), if is_blocked => WakeReason::Timeout,
        }
    }

    /// Runs the requests that are complete, up to one that waits.
    fn run_requests(&mut self) {
        while self.blocked.is_none() && !self.session.closing && self.output.len() < MAX_OUTPUT {
            match self
                .requests
                .next(&mut self.input, self.session.authenticated)
            {
                Ok(Some(request)) => self.run_request(&request),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(client = self.session.id, %error, "a client of the embedded channel layer does not speak the Redis protocol and is disconnected");
                    self.answer(&Reply::Error(error.to_string()));
                    self.session.closing = true;
                }
            }
        }
    }

    fn run_request(&mut self, request: &Request) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        // Messages that were pushed before the request come before its answer.
        state.clients.take_pushes(self.session.id, &mut self.output);
        let reply = command::execute(&mut state, &mut self.session, request);
        if let Some(wait) = self.session.wait.take() {
            let ticket = Ticket::new(Arc::clone(&shared), &mut state.waiters, wait.request);
            let until = Instant::now() + wait.limit.unwrap_or(LONG).min(LONG);
            self.blocked = Some(BlockedPop { ticket, until });
        }
        // A client that disconnected right after it sent this request must not take a message with it.
        if !self.session.unwritten.is_empty() && self.is_gone() {
            state.put_back(self.session.unwritten.drain(..), false);
            self.session.closing = true;
            return;
        }
        drop(state);
        self.answer(&reply);
        let end = self.end();
        let items = self.session.unwritten.drain(..);
        self.unwritten
            .extend(items.map(|item| UnwrittenItem { item, end }));
    }

    fn answer(&mut self, reply: &Reply) {
        reply.write(self.session.protocol, &mut self.output);
    }

    /// Answers with an item. It goes back if it can't be written.
    fn deliver(&mut self, item: QueueItem) {
        self.answer(&item_reply(&item));
        let end = self.end();
        self.unwritten.push_back(UnwrittenItem { item, end });
    }

    /// The position of the end of the output, from the start of the connection.
    fn end(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    /// Writes as much as the system takes at once, so that a client that never stops sending gets its answers too.
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

    /// Counts written bytes. Items that are written whole belong to the client from now on.
    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        while self
            .unwritten
            .front()
            .is_some_and(|unwritten| unwritten.end <= self.written)
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

    /// Asks the system whether the client has closed the connection. The event that says so may not have been read yet.
    fn is_gone(&self) -> bool {
        match SockRef::from(self.reading.as_ref()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The ticket takes the lock by itself, so it is dropped before the lock is taken here.
        self.blocked = None;
        let mut state = self.shared.lock();
        state.subscriptions.disconnect(self.session.id);
        state.clients.disconnect(self.session.id);
        let unwritten = self.unwritten.drain(..).map(|unwritten| unwritten.item);
        state.put_back(unwritten, true);
    }
}
