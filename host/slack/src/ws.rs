//! A WebSocket to Slack: handshake, messages, liveness both ways, a proper end. RTM and Socket Mode use it.
//!
//! The handshake goes through the HTTP client, so that certificates and proxies are those of the Web API.

mod decoder;

use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, BytesMut};
use reqwest::{StatusCode, header};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use crate::api;

pub use decoder::{ProtocolError, ServerMessage};

use decoder::Decoder;

/// The GUID that RFC 6455 (1.3) adds to a key.
const KEY_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A peer that does not read while this many bytes wait for it is given up. Everything that we send is small.
const MAX_UNSENT: usize = 256 << 10;

/// How long a close may take before the connection is cut.
const CLOSING: Duration = Duration::from_secs(1);

/// When a connection is asked for a sign of life, and when it counts as dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often we ping.
    pub ping_every: Duration,
    /// A connection on which nothing at all came for this long is dead.
    pub silence: Duration,
}

/// A client's end of a WebSocket.
#[derive(Debug)]
pub struct Socket<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    decoder: Decoder,
    unsent: BytesMut,
    /// Whether nothing of what was written waits in a buffer below, such as TLS's.
    is_flushed: bool,
    liveness: Liveness,
    heard: Instant,
    /// When the server last took in something, or there was nothing for it to take.
    taken: Instant,
    ping_at: Instant,
}

/// Why a WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a `ws:` or `wss:` URL.
    #[error("Slack gave the URL of another kind of connection: {}:", .0.scheme())]
    Url(Url),
    /// No connection could be made, or it was lost before the answer.
    #[error("no connection could be made: {0}")]
    Unreachable(String),
    /// The server did not switch protocols.
    #[error("the server refused the WebSocket with HTTP status {0}")]
    Status(u16),
    /// The server's `Sec-WebSocket-Accept` is not the answer to our key.
    #[error("the server did not accept the WebSocket handshake")]
    NotAccepted,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionLoss {
    /// The server ended it without closing it.
    #[error("the server cut the connection")]
    Cut,
    /// The operating system reports an error.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing was heard for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The server does not read what we send.
    #[error("the server does not read what is sent to it")]
    NotReading,
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Opens a WebSocket. Messages longer than `max_message` bytes will be skipped.
///
/// # Errors
/// A [`ConnectError`] where the server can't be reached or refuses the WebSocket.
pub async fn connect(
    http: &reqwest::Client,
    url: &Url,
    max_message: usize,
    liveness: Liveness,
) -> Result<Socket<reqwest::Upgraded>, ConnectError> {
    let mut over_http = url.as_str().to_owned();
    match url.scheme() {
        "ws" | "wss" => over_http.replace_range(..2, "http"),
        _ => return Err(ConnectError::Url(url.clone())),
    }
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    let response = http
        .get(over_http)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .send()
        .await
        .map_err(|why| ConnectError::Unreachable(api::in_words(&why)))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Status(response.status().as_u16()));
    }
    let accept = BASE64.encode(
        Sha1::new()
            .chain_update(&key)
            .chain_update(KEY_GUID)
            .finalize(),
    );
    if response
        .headers()
        .get(header::SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|answer| answer != accept.as_str())
    {
        return Err(ConnectError::NotAccepted);
    }
    let io = response
        .upgrade()
        .await
        .map_err(|why| ConnectError::Unreachable(api::in_words(&why)))?;
    Ok(Socket::new(io, max_message, liveness))
}

impl<S: AsyncRead + AsyncWrite> Socket<S> {
    /// A socket over a connection on which the handshake is done.
    pub fn new(io: S, max_message: usize, liveness: Liveness) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let now = Instant::now();
        Socket {
            reader,
            writer,
            decoder: Decoder::new(max_message),
            unsent: BytesMut::new(),
            is_flushed: true,
            liveness,
            heard: now,
            taken: now,
            ping_at: now + liveness.ping_every,
        }
    }

    /// Takes the next message, if one was read whole. Pings are answered and pongs are swallowed on the way.
    ///
    /// # Errors
    /// The loss of the connection.
    pub fn take(&mut self) -> Result<Option<ServerMessage>, ConnectionLoss> {
        while let Some(received) = self.decoder.next()? {
            match received {
                ServerMessage::Ping(payload) => self.queue(0x8a, &payload)?,
                ServerMessage::Pong(_) => {}
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    /// Waits until more was read, and says when; to be called when [`Socket::take`] gave `None`.
    ///
    /// Meanwhile it sends what is queued, and pings. The time between two waits does not count as silence, because
    /// nothing was read in it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The loss of the connection.
    pub async fn wait(&mut self) -> Result<(SystemTime, std::time::Instant), ConnectionLoss> {
        let began = Instant::now();
        if began > self.ping_at {
            self.heard = self
                .heard
                .max(began - self.liveness.ping_every.min(self.liveness.silence / 2));
        }
        loop {
            // Writing and pinging come before reading, because a socket that always has data would starve them. They
            // are soon done, so that reading does not starve in turn.
            self.ping_if_due()?;
            let silent_at = self.heard + self.liveness.silence;
            let stuck_at = self.stuck_at();
            tokio::select! {
                biased;
                sent = send(&mut self.writer, &mut self.unsent, &mut self.is_flushed, &mut self.taken),
                    if !self.unsent.is_empty() || !self.is_flushed => sent?,
                read = self.reader.read(self.decoder.spare()) => {
                    let count = read?;
                    if count == 0 {
                        return Err(ConnectionLoss::Cut);
                    }
                    self.decoder.filled(count);
                    self.heard = Instant::now();
                    return Ok((SystemTime::now(), self.heard.into_std()));
                }
                () = sleep_until(self.ping_at.min(silent_at)) => {
                    if Instant::now() >= silent_at {
                        return Err(ConnectionLoss::Silent(self.liveness.silence));
                    }
                }
                () = sleep_until(stuck_at), if !self.unsent.is_empty() => self.check_stuck()?,
            }
        }
    }

    /// Sends what is queued, and pings, but reads nothing, until the connection is lost. It is for a caller that has no
    /// room for more messages.
    ///
    /// Time in which nothing is read does not count as silence. Dropping the future loses nothing.
    pub async fn tend(&mut self) -> ConnectionLoss {
        loop {
            self.heard = Instant::now();
            if let Err(lost) = self.ping_if_due() {
                return lost;
            }
            let stuck_at = self.stuck_at();
            tokio::select! {
                biased;
                sent = send(&mut self.writer, &mut self.unsent, &mut self.is_flushed, &mut self.taken),
                    if !self.unsent.is_empty() || !self.is_flushed => {
                        if let Err(lost) = sent {
                            return lost;
                        }
                    }
                () = sleep_until(self.ping_at) => {}
                () = sleep_until(stuck_at), if !self.unsent.is_empty() => {
                    if let Err(lost) = self.check_stuck() {
                        return lost;
                    }
                }
            }
        }
    }

    /// Whether little enough is unsent that more may be queued, and pings and pongs still find room.
    pub fn has_room(&self) -> bool {
        self.unsent.len() <= MAX_UNSENT / 2
    }

    fn ping_if_due(&mut self) -> Result<(), ConnectionLoss> {
        let now = Instant::now();
        if now >= self.ping_at {
            self.ping_at = now + self.liveness.ping_every;
            self.queue(0x89, b"djangobot")?;
        }
        Ok(())
    }

    /// When a server that does not read any more is given up.
    fn stuck_at(&self) -> Instant {
        self.taken + self.liveness.silence
    }

    fn check_stuck(&self) -> Result<(), ConnectionLoss> {
        if Instant::now() >= self.stuck_at() {
            return Err(ConnectionLoss::NotReading);
        }
        Ok(())
    }

    /// Queues a text message; it goes out while [`Socket::wait`] runs.
    ///
    /// # Errors
    /// The loss of the connection, where the server does not read any more.
    pub fn send_text(&mut self, text: &str) -> Result<(), ConnectionLoss> {
        self.queue(0x81, text.as_bytes())
    }

    /// Ends the connection as RFC 6455 has it: a close frame each way, then the TCP connection. Bounded in time.
    pub async fn close(self) {
        self.close_and_hear(|_, _, _| {}).await;
    }

    /// Like [`Socket::close`]; what the server sent before it learned that we close is handed to a callback. It can't
    /// be answered any more.
    pub async fn close_and_hear(
        mut self,
        mut hear: impl FnMut(ServerMessage, SystemTime, std::time::Instant),
    ) {
        let closing = async {
            self.queue(0x88, &1000_u16.to_be_bytes())?;
            let (mut received, mut arrived) = (SystemTime::now(), std::time::Instant::now());
            loop {
                match self.take()? {
                    Some(ServerMessage::Close(..)) => break,
                    Some(message) => hear(message, received, arrived),
                    None => match self.wait().await {
                        Ok(times) => (received, arrived) = times,
                        Err(ConnectionLoss::Cut) => break,
                        Err(lost) => return Err(lost),
                    },
                }
            }
            Ok::<(), ConnectionLoss>(self.writer.shutdown().await?)
        };
        if !matches!(timeout(CLOSING, closing).await, Ok(Ok(()))) {
            tracing::debug!("the server did not answer our close");
        }
    }

    /// Puts a frame behind what is unsent: first byte (final bit and opcode), length, mask, masked payload.
    fn queue(&mut self, first: u8, payload: &[u8]) -> Result<(), ConnectionLoss> {
        if self.unsent.len() > MAX_UNSENT {
            return Err(ConnectionLoss::NotReading);
        }
        if self.unsent.is_empty() {
            self.taken = Instant::now();
        }
        let mask = rand::random::<[u8; 4]>();
        self.unsent.extend_from_slice(&[first]);
        match payload.len() {
            short @ ..126 => self.unsent.extend_from_slice(&[0x80 | short as u8]),
            middle @ ..0x1_0000 => {
                self.unsent.extend_from_slice(&[0x80 | 126]);
                self.unsent
                    .extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                self.unsent.extend_from_slice(&[0x80 | 127]);
                self.unsent.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        self.unsent.extend_from_slice(&mask);
        self.unsent.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        Ok(())
    }
}

/// Sends all of `unsent` on its way. Dropping the future loses nothing: the next one goes on where it was.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    unsent: &mut BytesMut,
    is_flushed: &mut bool,
    taken: &mut Instant,
) -> Result<(), ConnectionLoss> {
    while !unsent.is_empty() {
        match writer.write(unsent).await? {
            0 => return Err(ConnectionLoss::Cut),
            count => unsent.advance(count),
        }
        *taken = Instant::now();
        *is_flushed = false;
    }
    writer.flush().await?;
    *is_flushed = true;
    Ok(())
}

#[cfg(test)]
mod tests;
