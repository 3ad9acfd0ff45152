//! Generated messages: composed once, and patched in place with what differs from one to the next.

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::state::ts::Ts;
use crate::state::workspace::Workspace;

/// Digits of a message's number in its text.
const DIGITS: usize = 10;
/// A time that has as many digits as the times that take its place.
const TIME: &str = "0000000000.000000";
/// Hexadecimal digits of an event's id, behind `Ev0`.
const ID_DIGITS: usize = 12;

/// JSON, or a frame of it, with places for a message's number, for its time in two places, and for an event's id.
#[derive(Debug)]
pub(super) struct Template {
    text: Vec<u8>,
    number: usize,
    times: [usize; 2],
    event_id: Option<usize>,
}

impl Template {
    /// Finds the places in a text that a message of [`message`] stands in.
    pub(super) fn new(text: Vec<u8>) -> Self {
        let place = |key: &str| {
            let mut windows = text.windows(key.len());
            let found = windows.position(|window| window == key.as_bytes());
            found.map(|at| at + key.len())
        };
        Template {
            number: place("\"text\":\"message ").unwrap_or_default(),
            times: ["\"ts\":\"", "\"event_ts\":\""].map(|key| place(key).unwrap_or_default()),
            event_id: place("\"event_id\":\"Ev0"),
            text,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Appends the text with these values in their places.
    pub(super) fn write(&self, number: u64, ts: Ts, event_id: u64, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        let text = &mut out[start..];
        digits(&mut text[self.number..self.number + DIGITS], number);
        for place in self.times {
            digits(&mut text[place..place + 10], ts.0 / 1_000_000);
            digits(&mut text[place + 11..place + 17], ts.0 % 1_000_000);
        }
        if let Some(place) = self.event_id {
            hex_digits(&mut text[place..place + ID_DIGITS], event_id);
        }
    }
}

/// A message of `bytes` bytes from a user in a channel.
pub(super) fn message(team: &str, channel: &str, user: &str, bytes: usize) -> Value {
    let build = |padding: usize| {
        let block = json!([{"type": "rich_text", "block_id": "burst", "elements": [
            {"type": "rich_text_section", "elements": [{"type": "text", "text": "message"}]}]}]);
        json!({"type": "message", "channel": channel, "user": user, "text": text(0, padding), "team": team,
            "blocks": block, "ts": TIME, "event_ts": TIME})
    };
    let bare = build(0).to_string().len();
    build(bytes.saturating_sub(bare))
}

/// A message's text: its number, and words, `padding` bytes of them.
pub(super) fn text(number: u64, padding: usize) -> String {
    format!("message {number:0DIGITS$} {}", filler(padding))
}

/// A message in each of so many channels that the bot is in, with the channel's id.
pub(super) fn messages(
    workspace: &Workspace,
    channels: usize,
    bytes: usize,
) -> Vec<(String, Value)> {
    let user = &workspace.users[workspace.installer].id;
    let open = workspace.conversations.iter().filter(|conversation| {
        conversation.name.is_some() && !conversation.archived && conversation.has(workspace.bot)
    });
    open.take(channels.max(1))
        .map(|conversation| {
            let id = &conversation.id;
            let message = message(&workspace.team.id, id, user, bytes);
            (id.clone(), message)
        })
        .collect()
}

/// Writes a number with leading zeros.
fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn hex_digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number % 16) as usize];
        number /= 16;
    }
}

fn filler(length: usize) -> String {
    "the quick brown fox jumps over the lazy dog while it rains "
        .chars()
        .cycle()
        .take(length)
        .collect()
}
