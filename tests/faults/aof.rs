//! Redis's append-only log: the truth about the messages that were on the channels, and about their fate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem;

/// The messages that came onto the channels.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Messages and mentions by `djangobot.id`, reactions by name.
    pub(crate) events: BTreeMap<String, Placed>,
    /// Those that were thrown away as too old, and did not come again.
    pub(crate) expired: BTreeSet<String>,
    /// By label, as `~s/C1/17~`.
    pub(crate) sends: BTreeMap<String, Placed>,
    /// How often the app's reader took an event.
    pub(crate) taken: HashMap<String, usize>,
    queues: HashMap<Vec<u8>, Queue>,
    /// Up to where the log is read, in bytes: the end of a whole command.
    place: u64,
}

/// How something was put on a channel.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Placed {
    /// The members that held it: each is of one making, with random bytes of its own.
    pub(crate) members: BTreeSet<Vec<u8>>,
    /// How often any of them was put there.
    pub(crate) times: usize,
}

/// The sorted set of a channel: members by score, which is a time and so no negative number.
#[derive(Debug, Default)]
struct Queue {
    scores: HashMap<Vec<u8>, u64>,
    order: BTreeSet<(u64, Vec<u8>)>,
}

impl Told {
    /// Reads on in the log of the Redis whose files are in `folder`, which is one file.
    pub(crate) fn read_on(&mut self, folder: &Path) {
        let path = folder.join("appendonlydir/appendonly.aof.1.incr.aof");
        let Ok(mut file) = File::open(path) else {
            return;
        };
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(self.place))
            .and_then(|_| file.read_to_end(&mut bytes));
        if read.is_err() {
            return;
        }
        let (mut rest, mut done) = (&bytes[..], 0);
        while let Some(words) = command(&mut rest) {
            self.note(&words);
            done = bytes.len() - rest.len();
        }
        self.place += done as u64;
    }

    fn note(&mut self, command: &[&[u8]]) {
        let [name, key, arguments @ ..] = command else {
            return;
        };
        let is_events = matches!(
            *key,
            b"asgislack.message" | b"asgislack.app_mention" | b"asgislack.reaction_added"
        );
        if !is_events && *key != b"asgislack.send" {
            return;
        }
        let queue = self.queues.entry(key.to_vec()).or_default();
        match &*name.to_ascii_uppercase() {
            b"ZADD" => {
                let (only_new, pairs) = match arguments {
                    [first, rest @ ..] if first.eq_ignore_ascii_case(b"NX") => (true, rest),
                    all => (false, all),
                };
                for pair in pairs.chunks_exact(2) {
                    queue.put(pair[1], score(pair[0]), only_new);
                    let named = match is_events {
                        true => event(pair[1]).map(|name| {
                            self.expired.remove(&name);
                            self.events.entry(name).or_default()
                        }),
                        false => label(pair[1]).map(|label| self.sends.entry(label).or_default()),
                    };
                    if let Some(placed) = named {
                        placed.members.insert(pair[1].to_owned());
                        placed.times += 1;
                    }
                }
            }
            b"ZREM" => arguments.iter().for_each(|member| queue.remove(member)),
            b"ZPOPMIN" => {
                let count = arguments
                    .first()
                    .and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
                for _ in 0..count.unwrap_or(1) {
                    let name = queue.pop().filter(|_| is_events).and_then(|it| event(&it));
                    if let Some(name) = name {
                        *self.taken.entry(name).or_default() += 1;
                    }
                }
            }
            b"ZREMRANGEBYSCORE" => {
                let gone = queue.remove_up_to(arguments.get(1).map_or(0, |most| score(most)));
                self.expired.extend(gone.iter().filter_map(|it| event(it)));
            }
            b"DEL" | b"UNLINK" => {
                let gone = queue.remove_up_to(u64::MAX);
                self.expired.extend(gone.iter().filter_map(|it| event(it)));
            }
            _ => {}
        }
    }
}

impl Queue {
    fn put(&mut self, member: &[u8], score: u64, only_new: bool) {
        if only_new && self.scores.contains_key(member) {
            return;
        }
        self.remove(member);
        self.scores.insert(member.to_owned(), score);
        self.order.insert((score, member.to_owned()));
    }

    fn remove(&mut self, member: &[u8]) {
        if let Some(score) = self.scores.remove(member) {
            self.order.remove(&(score, member.to_owned()));
        }
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, member) = self.order.pop_first()?;
        self.scores.remove(&member);
        Some(member)
    }

    fn remove_up_to(&mut self, most: u64) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while self.order.first().is_some_and(|(score, _)| *score <= most)
            && let Some((_, member)) = self.order.pop_first()
        {
            self.scores.remove(&member);
            gone.push(member);
        }
        gone
    }
}

/// A score as a number that has the same order.
fn score(text: &[u8]) -> u64 {
    let number: Option<f64> = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.unwrap_or(0.0).max(0.0).to_bits()
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
    let end = memmem::find(rest, b"\r\n")?;
    let (line, after) = rest.split_at(end);
    let digits = line.strip_prefix(&[sign])?;
    *rest = &after[2..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The key of an event: a reaction's name, or `djangobot.id`.
fn event(member: &[u8]) -> Option<String> {
    let reaction = text_after(member, b"\xa8reaction");
    reaction.or_else(|| {
        // The key before a map: the bot's name is the same word, and its posts have an id of their own.
        let after_each = memmem::find_iter(member, b"\xa9djangobot").map(|at| &member[at + 10..]);
        let map = after_each
            .filter_map(|rest| rest.split_first())
            .find(|(first, _)| matches!(first, 0x80..=0x8f))?;
        text_after(map.1, b"\xa2id")
    })
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

/// The label in a message of the app: from a `~` that a letter and a slash follow to the next `~`.
fn label(member: &[u8]) -> Option<String> {
    let start = member
        .windows(3)
        .position(|it| it[0] == b'~' && it[1].is_ascii_lowercase() && it[2] == b'/')?;
    let length = member[start + 1..].iter().position(|byte| *byte == b'~')?;
    String::from_utf8(member[start..start + length + 2].to_vec()).ok()
}

fn after<'a>(bytes: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::find(bytes, what)?;
    Some(&bytes[at + what.len()..])
}

/// That what the checks rely on is read as it is meant: a run whose evidence is misread would pass.
pub(crate) fn self_test() {
    let words: [&[&[u8]]; 6] = [
        &[b"SELECT", b"0"],
        &[
            b"ZADD",
            b"asgislack.message",
            b"NX",
            b"1.5",
            b"random\xa4name\xa9djangobot\xa2id\xa2M1\xa9djangobot\x85\xa2id\xa2E1",
            b"1.6",
            b"random\xa9djangobot\x85\xa2id\xa2E2",
        ],
        &[b"ZREMRANGEBYSCORE", b"asgislack.message", b"0", b"1.5"],
        &[b"ZPOPMIN", b"asgislack.message"],
        &[b"DEL", b"asgislack.message"],
        &[
            b"ZADD",
            b"asgislack.send",
            b"2",
            b"xx\x81\xa4text\xa7~s/C/1~~",
        ],
    ];
    let mut log = Vec::new();
    for command in words {
        log.extend(format!("*{}\r\n", command.len()).into_bytes());
        for word in command {
            log.extend(format!("${}\r\n", word.len()).into_bytes());
            log.extend(*word);
            log.extend(b"\r\n");
        }
    }
    // A kill cut the last one short.
    log.extend(b"*3\r\n$3\r\nDEL");
    let (mut rest, mut told) = (&log[..], Told::default());
    while let Some(words) = command(&mut rest) {
        told.note(&words);
    }
    assert!(told.events.keys().eq(["E1", "E2"]));
    assert!(told.expired.iter().eq(["E1"]), "one was popped in time");
    assert!(told.taken.keys().eq(["E2"]));
    assert!(told.sends.keys().eq(["~s/C/1~"]));
}
