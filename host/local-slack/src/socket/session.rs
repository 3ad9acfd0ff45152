//! One WebSocket, of RTM or of Socket Mode: read, written, pinged, frozen and ended.
//!
//! Frames are written by hand, so that a test can send frames that a WebSocket library would refuse to send. Extensions
//! such as permessage-deflate are declined.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::socket::frame::{self, Kind, Reader};
use crate::socket::open::{FAREWELL, Socket, Sockets};
use crate::state::journal::Journal;

/// Frames are gathered up to about this many bytes for one write.
const BATCH: usize = 64 * 1024;

/// A socket that is to be read slowly is read so many times a second.
const SIPS: u32 = 20;

/// The parts of the server that a socket needs while it is served.
pub(crate) struct Surroundings<'a> {
    pub(crate) sockets: &'a Sockets,
    pub(crate) journal: &'a Journal,
    /// How often the socket is pinged.
    pub(crate) ping_interval: Duration,
}

/// Serves a socket until its end; `early` are bytes that came with the upgrade, `heard` gets each text message.
pub(crate) async fn serve(
    surroundings: Surroundings<'_>,
    socket: &Socket,
    stream: &TcpStream,
    early: Bytes,
    heard: impl Fn(TextMessage),
) {
    let Surroundings {
        sockets,
        journal,
        ping_interval,
    } = surroundings;
    journal.happened();
    let ended = tokio::select! {
        ended = read(journal, socket, stream, early, heard) => ended,
        ended = write(socket, stream) => ended,
        () = ping(socket, ping_interval) => Ok(()),
        () = socket.ended() => Ok(()),
        () = socket.close.cancelled() => Ok(()),
    };
    tracing::debug!(connection = %socket.id, ?ended, "socket closed");
    sockets.close(socket.id);
    journal.happened();
}

/// A text message of a client.
pub(crate) struct TextMessage {
    pub(crate) payload: Bytes,
    /// Whether it came in several frames.
    pub(crate) fragmented: bool,
}

/// Sends last words on a socket that is not to be served, and closes it.
pub(crate) async fn turn_away(mut stream: TcpStream, words: &str) -> io::Result<()> {
    let mut out = BytesMut::new();
    frame::write(Kind::Text, words.as_bytes(), &mut out);
    frame::write(Kind::Close, &1000_u16.to_be_bytes(), &mut out);
    stream.write_all(&out).await?;
    stream.shutdown().await?;
    // Bytes that the client has sent already are read: closing with unread bytes would reset the connection, and the
    // last words would be lost.
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut stream, &mut nowhere);
    // A client that does not close is cut off after that time.
    tokio::time::timeout(FAREWELL, rest).await.ok();
    Ok(())
}

async fn read(
    journal: &Journal,
    socket: &Socket,
    stream: &TcpStream,
    early: Bytes,
    heard: impl Fn(TextMessage),
) -> io::Result<()> {
    let mut input = BytesMut::from(early);
    let mut reader = Reader::new(socket.protocol.longest_message());
    loop {
        while let Some((kind, payload)) = reader.next(&mut input).map_err(io::Error::other)? {
            let name = match kind {
                Kind::Text => "text",
                Kind::Binary => "binary",
                Kind::Close => "close",
                Kind::Ping => "ping",
                Kind::Pong => "pong",
            };
            journal.received(socket.id, name, &payload);
            match kind {
                Kind::Text => heard(TextMessage {
                    payload,
                    fragmented: reader.was_fragmented(),
                }),
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
        // It may have been frozen, or be meant to be read slowly, since nothing came.
        if socket.is_frozen() {
            continue;
        }
        let sip = socket.sip().map(|rate| (rate / SIPS).max(1) as usize);
        if sip.is_some() {
            tokio::time::sleep(Duration::from_secs(1) / SIPS).await;
        }
        let taken = match sip {
            Some(most) => stream.try_read_buf(&mut (&mut input).limit(most)),
            None => stream.try_read_buf(&mut input),
        };
        match taken {
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
    // An interval of zero would spin.
    let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval.tick().await;
    for number in 0_u64.. {
        interval.tick().await;
        socket.send(frame::frame(Kind::Ping, number.to_string().as_bytes()));
    }
}
