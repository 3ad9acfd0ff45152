//! Many generated messages at once, for benchmarks: composed once, patched in place, written in large pieces.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::lock::lock;
use crate::socket::frame::{self, Kind};
use crate::socket::{Socket, Sockets};
use crate::speakers::control::handle::Control;
use crate::speakers::control::template::{self, Template};
use crate::state::ts::{Ts, now};
use crate::state::workspace::Workspace;

/// Frames are made in pieces of about this many bytes.
const PIECE: usize = 128 * 1024;
/// A socket's queue is filled up to this many bytes.
const AHEAD: usize = 1024 * 1024;

/// The messages to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Burst {
    /// How many messages.
    pub frames: u64,
    /// About how many bytes of JSON each has; never less than about 300.
    pub bytes: usize,
    /// Over how many channels they go in turn; no more than the bot is in.
    pub channels: usize,
    /// At most so many a second; `None` for as fast as the sockets take them.
    pub per_second: Option<u64>,
}

impl Default for Burst {
    fn default() -> Self {
        Burst {
            frames: 10_000,
            bytes: 500,
            channels: 1,
            per_second: None,
        }
    }
}

/// The result of a burst. Moments are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BurstReport {
    /// Messages, to each connection.
    pub frames: u64,
    /// Bytes, to each connection, with the frames' headers.
    pub bytes: u64,
    /// How many connections there were at the start.
    pub connections: usize,
    /// When the first was queued.
    pub started_at: f64,
    /// When the last was written to the last socket.
    pub sent_at: f64,
    /// The time between, in seconds.
    pub seconds: f64,
}

impl Control {
    /// Sends many generated messages to all connections as fast as they take them; returns once all is written.
    pub async fn burst(&self, burst: Burst) -> BurstReport {
        send(&self.core.workspace, &self.core.sockets, burst).await
    }
}

async fn send(workspace: &Mutex<Workspace>, sockets: &Sockets, burst: Burst) -> BurstReport {
    let templates = templates(&lock(workspace), &burst);
    let sockets = sockets.get(None);
    let (started_at, start) = (now(), Instant::now());
    let (mut number, mut bytes) = (0, 0);
    // A paced burst sends the frames that are due, at least one at a time.
    let size = templates
        .first()
        .map_or(1, |template| template.len().max(1));
    while number < burst.frames && !templates.is_empty() {
        let whole = (PIECE / size).max(1) as u64;
        let due = match burst.per_second {
            None => burst.frames,
            Some(rate) => {
                let at = start + Duration::from_secs_f64(number as f64 / rate.max(1) as f64);
                tokio::time::sleep_until(at.into()).await;
                (start.elapsed().as_secs_f64() * rate.max(1) as f64) as u64 + 1
            }
        };
        let until = (number + whole).min(burst.frames).min(due.max(number + 1));
        let first = lock(workspace).ticks(until - number);
        let mut piece = BytesMut::with_capacity(size * (until - number) as usize);
        for (offset, number) in (number..until).enumerate() {
            let template = &templates[(number % templates.len() as u64) as usize];
            template.write(number, Ts(first.0 + offset as u64), 0, &mut piece);
        }
        number = until;
        bytes += piece.len() as u64;
        let piece = piece.freeze();
        for socket in &sockets {
            room(socket, AHEAD).await;
            socket.send(Bytes::clone(&piece));
        }
    }
    for socket in &sockets {
        room(socket, 0).await;
    }
    BurstReport {
        frames: number,
        bytes,
        connections: sockets.len(),
        started_at,
        sent_at: now(),
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// Waits for room in a socket's queue, or for the socket's end.
async fn room(socket: &Socket, bytes: usize) {
    tokio::select! {
        () = socket.outbox.at_most(bytes) => {}
        () = socket.close.cancelled() => {}
    }
}

fn templates(workspace: &Workspace, burst: &Burst) -> Vec<Template> {
    let messages = template::messages(workspace, burst.channels, burst.bytes);
    let frames = messages.into_iter().map(|(_, message)| {
        let frame = frame::frame(Kind::Text, message.to_string().as_bytes());
        Template::new(frame.to_vec())
    });
    frames.collect()
}
