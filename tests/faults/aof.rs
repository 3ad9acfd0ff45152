//! What Redis was told, from the log that it keeps: the truth about what was on the channels, and from whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The keys of the layer's channels.
const PREFIX: &str = "asgi";

/// What came onto the channels.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By `djangobot.id`.
    pub(crate) events: BTreeMap<String, Placed>,
    /// By label, as `~s/C1/17~`, and in the order in which they first came.
    pub(crate) sends: BTreeMap<String, Placed>,
    /// The names of reactions that came.
    pub(crate) reactions: BTreeSet<String>,
    /// Bytes of the log.
    pub(crate) size: usize,
}

/// How something was put on a channel.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Placed {
    /// The members that held it: each is of one making, with random bytes of its own.
    pub(crate) members: BTreeSet<Vec<u8>>,
    /// How often any of them was put there.
    pub(crate) times: usize,
}

impl Told {
    /// Reads the log of the Redis whose files are in `folder`.
    pub(crate) fn read(folder: &Path) -> Told {
        let mut told = Told::default();
        let files = fs::read_dir(folder.join("appendonlydir"));
        let mut paths: Vec<_> = files
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .collect();
        paths.sort();
        for path in paths {
            let bytes = fs::read(path).unwrap_or_default();
            told.size += bytes.len();
            let mut rest = &bytes[..];
            while let Some(command) = command(&mut rest) {
                told.note(&command);
            }
        }
        told
    }

    fn note(&mut self, command: &[&[u8]]) {
        let [name, key, arguments @ ..] = command else {
            return;
        };
        if !name.eq_ignore_ascii_case(b"ZADD") {
            return;
        }
        let arguments = match arguments {
            [first, rest @ ..] if first.eq_ignore_ascii_case(b"NX") => rest,
            all => all,
        };
        let Some(channel) = key.strip_prefix(PREFIX.as_bytes()) else {
            return;
        };
        for pair in arguments.chunks_exact(2) {
            let member = pair[1];
            if channel == b"slack.reaction_added" {
                self.reactions.extend(text_after(member, b"\xa8reaction"));
            }
            let placed = match channel {
                b"slack.send" => label(member).map(|label| self.sends.entry(label).or_default()),
                b"slack.message" | b"slack.reaction_added" => {
                    id(member).map(|id| self.events.entry(id).or_default())
                }
                _ => None,
            };
            if let Some(placed) = placed {
                placed.members.insert(member.to_owned());
                placed.times += 1;
            }
        }
    }
}

/// The next command of the log, which is written as clients write to Redis: arrays of bulk strings. `None` at its end,
/// also where a kill cut the last command short.
fn command<'a>(rest: &mut &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let count = number(rest, b'*')?;
    (0..count)
        .map(|_| {
            let length = number(rest, b'$')?;
            let (text, after) = rest.split_at_checked(length)?;
            *rest = after.strip_prefix(b"\r\n")?;
            Some(text)
        })
        .collect()
}

fn number(rest: &mut &[u8], sign: u8) -> Option<usize> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let (line, after) = rest.split_at(end);
    let digits = line.strip_prefix(&[sign])?;
    *rest = &after[2..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `djangobot.id` of a member in msgpack: the text that follows the key `id` in the map that follows the key
/// `djangobot`.
fn id(member: &[u8]) -> Option<String> {
    text_after(after(member, b"\xa9djangobot")?, b"\xa2id")
}

/// The short text that follows a key in msgpack.
fn text_after(bytes: &[u8], key: &[u8]) -> Option<String> {
    let (length, text) = match after(bytes, key)? {
        [short @ 0xa0..=0xbf, text @ ..] => (usize::from(short & 0x1f), text),
        [0xd9, length, text @ ..] => (usize::from(*length), text),
        _ => return None,
    };
    String::from_utf8(text.get(..length)?.to_vec()).ok()
}

/// The label in a message of the app: from the first `~` that a slash follows two places on to the next `~`.
fn label(member: &[u8]) -> Option<String> {
    let start = member
        .windows(3)
        .position(|it| it[0] == b'~' && it[1].is_ascii_lowercase() && it[2] == b'/')?;
    let length = member[start + 1..].iter().position(|byte| *byte == b'~')?;
    String::from_utf8(member[start..start + length + 2].to_vec()).ok()
}

fn after<'a>(bytes: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(what.len()).position(|it| *it == *what)?;
    Some(&bytes[at + what.len()..])
}

/// That what the checks rely on is read as it is meant: a run whose evidence is misread would pass.
pub(crate) fn self_test() {
    let log = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*5\r\n$4\r\nZADD\r\n$17\r\nasgislack.message\r\n$2\r\nNX\r\n$3\r\n1.5\r\n$29\r\nrandomrandom\xa9djangobot\x85\xa2id\xa2E1\r\n*4\r\n$4\r\nZADD\r\n$14\r\nasgislack.send\r\n$1\r\n2\r\n$19\r\nxxxx\x81\xa4text\xa7~s/C/1~~\r\n*3\r\n$3\r\nDEL";
    let (mut rest, mut told) = (&log[..], Told::default());
    while let Some(words) = command(&mut rest) {
        told.note(&words);
    }
    let events: Vec<_> = told.events.keys().map(String::as_str).collect();
    let sends: Vec<_> = told.sends.keys().map(String::as_str).collect();
    assert_eq!((events, sends), (vec!["E1"], vec!["~s/C/1~"]));
}
