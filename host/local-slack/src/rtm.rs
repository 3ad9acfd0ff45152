//! RTM: the session of one WebSocket, from `hello` to its end.
//!
//! The wire format is that of <https://docs.slack.dev/legacy/legacy-rtm-api>. Frames are written by hand, so that a test
//! can send what a WebSocket library would refuse to.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::core::Core;
use crate::lock;

pub(crate) mod frame;
mod outbox;
mod request;
mod sockets;

use frame::{Kind, Reader};
pub use sockets::ConnectionId;
pub(crate) use sockets::{Socket, Sockets};

/// Frames are gathered up to about this many bytes for one write.
const BATCH: usize = 64 * 1024;

/// How long a client may take to answer a close.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// The right to open one socket, given out by `rtm.connect`.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) user: usize,
    /// Whether presence is told for several users in one event.
    pub(crate) batch_presence: bool,
    pub(crate) until: Instant,
}

/// Takes a ticket; it is gone afterwards.
pub(crate) fn redeem(core: &Core, ticket: &str) -> Option<Ticket> {
    let mut tickets = lock(&core.tickets);
    let now = Instant::now();
    let ticket = tickets.remove(ticket);
    // Those that nobody came for go with it.
    tickets.retain(|_, ticket| ticket.until > now);
    ticket.filter(|ticket| ticket.until > now)
}

/// Speaks RTM on a socket that has just been upgraded; `early` are bytes that came with the upgrade.
pub(crate) async fn serve(core: &Core, stream: TcpStream, early: Bytes, ticket: Option<Ticket>) {
    // Without it an event could wait for the acknowledgement of the one before.
    stream.set_nodelay(true).ok();
    let Some(ticket) = ticket else {
        turn_away(stream).await.ok();
        return;
    };
    let socket = core.sockets.open(ticket.user, ticket.batch_presence);
    tracing::debug!(connection = %socket.id, "socket opened");
    let hello =
        json!({"type": "hello", "region": "local", "start": true, "host_id": "local-slack"});
    socket.send_json(&hello);
    core.journal.happened();
    let ended = tokio::select! {
        ended = read(core, &socket, &stream, early) => ended,
        ended = write(&socket, &stream) => ended,
        () = ping(&socket, core.options.ping_interval) => Ok(()),
        () = socket.close.cancelled() => Ok(()),
    };
    tracing::debug!(connection = %socket.id, ?ended, "socket closed");
    core.sockets.close(socket.id);
    core.journal.happened();
}

/// Tells a client that its URL was used before, or too late.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    let error = json!({"type": "error", "error": {"code": 1, "msg": "Socket URL has expired"}});
    let mut out = BytesMut::new();
    frame::write(Kind::Text, error.to_string().as_bytes(), &mut out);
    frame::write(Kind::Close, &1000_u16.to_be_bytes(), &mut out);
    stream.write_all(&out).await?;
    stream.shutdown().await?;
    // What the client has said already is read: closing over it would reset the connection, and the error be lost.
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut stream, &mut nowhere);
    // A client that stays is closed upon.
    tokio::time::timeout(FAREWELL, rest).await.ok();
    Ok(())
}

async fn read(core: &Core, socket: &Socket, stream: &TcpStream, early: Bytes) -> io::Result<()> {
    let mut input = BytesMut::from(early);
    let mut reader = Reader::default();
    loop {
        while let Some((kind, payload)) = reader.next(&mut input).map_err(io::Error::other)? {
            let name = match kind {
                Kind::Text => "text",
                Kind::Binary => "binary",
                Kind::Close => "close",
                Kind::Ping => "ping",
                Kind::Pong => "pong",
            };
            core.journal.received(socket.id, name, &payload);
            match kind {
                Kind::Text => request::answer(core, socket, &payload),
                Kind::Ping => socket.send(frame::frame(Kind::Pong, &payload)),
                Kind::Close => {
                    socket.send_close(&payload);
                    socket.outbox.at_most(0).await;
                    return Ok(());
                }
                Kind::Binary | Kind::Pong => {}
            }
        }
        socket.thawed().await;
        stream.readable().await?;
        // It may have been frozen while nothing came.
        if socket.is_frozen() {
            continue;
        }
        match stream.try_read_buf(&mut input) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write(socket: &Socket, stream: &TcpStream) -> io::Result<()> {
    loop {
        let mut chunk = socket.outbox.next().await;
        if chunk.len() < BATCH
            && let Some(mut next) = socket.outbox.try_next()
        {
            let mut batch = BytesMut::with_capacity(2 * BATCH);
            batch.extend_from_slice(&chunk);
            loop {
                batch.extend_from_slice(&next);
                if batch.len() >= BATCH {
                    break;
                }
                match socket.outbox.try_next() {
                    Some(chunk) => next = chunk,
                    None => break,
                }
            }
            chunk = batch.freeze();
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            socket.thawed().await;
            stream.writable().await?;
            if socket.is_frozen() {
                continue;
            }
            match stream.try_write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    socket.outbox.wrote(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn ping(socket: &Socket, every: Duration) {
    // An interval of nothing would spin.
    let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval.tick().await;
    for number in 0_u64.. {
        interval.tick().await;
        socket.send(frame::frame(Kind::Ping, number.to_string().as_bytes()));
    }
}
