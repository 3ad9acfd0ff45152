//! Many generated messages at once, for benchmarks: composed once, patched in place, written in large pieces.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::core::Core;
use crate::journal::now;
use crate::lock;
use crate::rtm::frame::{self, Kind};
use crate::workspace::Ts;

/// Frames are made in pieces of about this many bytes.
const PIECE: usize = 128 * 1024;
/// A socket's queue is filled up to this many bytes.
const AHEAD: usize = 1024 * 1024;
/// Digits of a message's number in its text.
const DIGITS: usize = 10;

/// What to send.
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
    fn default() -> Burst {
        Burst {
            frames: 10_000,
            bytes: 500,
            channels: 1,
            per_second: None,
        }
    }
}

/// What was sent. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sent {
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

/// A message with places for what differs from one to the next: its number, and its time in two places.
struct Template {
    frame: Vec<u8>,
    number: usize,
    times: [usize; 2],
}

impl Template {
    /// For messages of `bytes` bytes from a user in a channel.
    fn new(team: &str, channel: &str, user: &str, bytes: usize) -> Template {
        let build = |padding: usize| {
            let text = format!("message {:0DIGITS$} {}", 0, filler(padding));
            let block = json!([{"type": "rich_text", "block_id": "burst", "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "message"}]}]}]);
            json!({"type": "message", "channel": channel, "user": user, "text": text, "team": team,
                "blocks": block, "ts": Ts(0).to_string(), "event_ts": Ts(0).to_string()})
            .to_string()
        };
        // The time has more digits than that of Ts(0); both places grow by the same.
        let time = |json: String| json.replace("\"0.000000\"", "\"0000000000.000000\"");
        let bare = time(build(0)).len();
        let json = time(build(bytes.saturating_sub(bare)));
        let mut out = BytesMut::new();
        frame::write(Kind::Text, json.as_bytes(), &mut out);
        let place = |key: &str| {
            let found = out
                .windows(key.len())
                .position(|window| window == key.as_bytes());
            found.map_or(0, |at| at + key.len())
        };
        Template {
            number: place("\"text\":\"message "),
            times: [place("\"ts\":\""), place("\"event_ts\":\"")],
            frame: out.to_vec(),
        }
    }

    fn write(&self, number: u64, ts: Ts, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        digits(&mut frame[self.number..self.number + DIGITS], number);
        for place in self.times {
            digits(&mut frame[place..place + 10], ts.0 / 1_000_000);
            digits(&mut frame[place + 11..place + 17], ts.0 % 1_000_000);
        }
    }
}

/// Writes a number with leading zeros.
fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Words, `length` bytes of them.
fn filler(length: usize) -> String {
    "the quick brown fox jumps over the lazy dog while it rains "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

pub(crate) async fn send(core: &Core, burst: Burst) -> Sent {
    let templates = templates(core, &burst);
    let sockets = core.sockets.get(None);
    let (started_at, start) = (now(), Instant::now());
    let (mut number, mut bytes) = (0, 0);
    // A paced burst goes frame by frame, or what is due at once.
    let size = templates
        .first()
        .map_or(1, |template| template.frame.len().max(1));
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
        let first = lock(&core.workspace).ticks(until - number);
        let mut piece = BytesMut::with_capacity(size * (until - number) as usize);
        for (offset, number) in (number..until).enumerate() {
            let template = &templates[(number % templates.len() as u64) as usize];
            template.write(number, Ts(first.0 + offset as u64), &mut piece);
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
    Sent {
        frames: number,
        bytes,
        connections: sockets.len(),
        started_at,
        sent_at: now(),
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// Waits for room in a socket's queue, or for the socket's end.
async fn room(socket: &crate::rtm::Socket, bytes: usize) {
    tokio::select! {
        () = socket.outbox.at_most(bytes) => {}
        () = socket.close.cancelled() => {}
    }
}

fn templates(core: &Core, burst: &Burst) -> Vec<Template> {
    let workspace = lock(&core.workspace);
    let user = &workspace.users[workspace.installer].id;
    let open = workspace.conversations.iter().filter(|conversation| {
        conversation.name.is_some() && !conversation.archived && conversation.has(workspace.bot)
    });
    open.take(burst.channels.max(1))
        .map(|conversation| Template::new(&workspace.team.id, &conversation.id, user, burst.bytes))
        .collect()
}
