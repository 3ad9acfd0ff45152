//! What the clients' commands show of their settings, compared with the layer's own.
//!
//! A client with other settings is no error to a server: it reads and writes other keys, or bytes that nobody can read.
//! channels_redis says its settings nowhere, but its commands have them as keys and arguments.

use std::collections::HashSet;

use bytes::Bytes;

use crate::codec::OpenError;
use crate::embedded::options::{DATABASE, LayerOptions};
use crate::embedded::script::Script;
use crate::name::{ChannelName, GroupName};
use crate::wire::Serializer;

/// How an encrypted payload begins: the version of Fernet, and the first bytes of a time.
const SEALED: &[u8] = b"gAAAA";
/// The most of a key that is shown.
const SHOWN: usize = 60;

/// Compares, and says each difference once.
#[derive(Debug)]
pub(super) struct Differences {
    expected: LayerOptions,
    /// The settings of which it was said that they differ.
    told: HashSet<&'static str>,
}

/// A setting that a client and the layer have differently.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    setting: &'static str,
    theirs: String,
    ours: String,
    /// What comes of it.
    effect: &'static str,
}

impl Differences {
    pub(super) fn new(expected: LayerOptions) -> Self {
        Self {
            expected,
            told: HashSet::new(),
        }
    }

    /// Looks at a command of a client.
    pub(super) fn look_at(&mut self, database: usize, command: &str, arguments: &[Bytes]) {
        match (command, arguments) {
            ("bzpopmin", [key, ..]) => drop(self.queue(database, key)),
            ("zcount", [key, from, to]) if &from[..] == b"-inf" && &to[..] == b"+inf" => {
                self.queue(database, key);
            }
            ("zadd", [key, _, member]) if database == DATABASE && self.name(key).is_some() => {
                let difference = of_member(member, &self.expected);
                self.tell_if(difference);
            }
            ("expire", [key, seconds]) if database == DATABASE => self.expire(key, seconds),
            _ => {}
        }
    }

    /// Looks at a script that a client runs.
    pub(super) fn look_at_script(
        &mut self,
        database: usize,
        script: Script,
        keys: &[Bytes],
        arguments: &[Bytes],
    ) {
        let (capacities, expiry) = match (script, arguments) {
            (Script::GroupSend, [each @ .., _, expiry]) if each.len() == keys.len() * 2 => {
                (&each[keys.len()..], expiry)
            }
            (Script::Append, [_, capacity, expiry, ..]) => (std::slice::from_ref(capacity), expiry),
            _ => return,
        };
        for (key, capacity) in keys.iter().zip(capacities) {
            let Some(name) = self.queue(database, key) else {
                continue;
            };
            let ours = self.expected.capacities.of(&name);
            self.compare(
                "capacity",
                capacity,
                ours,
                "a channel is full for one of them while the other goes on",
            );
            self.compare_expiry(expiry);
        }
    }

    /// Says a difference, unless that was done before.
    pub(super) fn tell(&mut self, difference: Difference) {
        let Difference {
            setting,
            theirs,
            ours,
            effect,
        } = difference;
        if self.told.insert(setting) {
            tracing::warn!(
                "a client of the embedded channel layer has another {setting} than the layer: the client has {theirs}, the \
                 layer has {ours}, and so {effect}. Write the same into CHANNEL_LAYERS (CONFIG) of the Django project and \
                 below [layer] config in djangobot.toml"
            );
        }
    }

    fn tell_if(&mut self, difference: Option<Difference>) {
        if let Some(difference) = difference {
            self.tell(difference);
        }
    }

    /// The channel's name in a queue's key; one that is not the layer's is said.
    fn queue(&mut self, database: usize, key: &[u8]) -> Option<String> {
        if database != DATABASE {
            self.tell(Difference {
                setting: "database",
                theirs: database.to_string(),
                ours: DATABASE.to_string(),
                effect: "neither gets the other's messages",
            });
            return None;
        }
        let name = self.name(key);
        if name.is_none() && !key.contains(&b'$') {
            self.tell_prefix(shown_prefix(key));
        }
        name
    }

    /// The channel's name in a queue's key of the layer.
    fn name(&self, key: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.expected.prefix)?;
        ChannelName::new(name).is_ok().then(|| name.to_owned())
    }

    fn tell_prefix(&mut self, theirs: String) {
        let ours = format!("{:?}", self.expected.prefix);
        self.tell(Difference {
            setting: "prefix",
            theirs,
            ours,
            effect: "neither gets the other's messages",
        });
    }

    fn expire(&mut self, key: &[u8], seconds: &[u8]) {
        if let Some(prefix) = group_prefix(key) {
            if prefix == self.expected.prefix {
                self.compare(
                    "group_expiry",
                    seconds,
                    self.expected.group_expiry,
                    "channels leave a group after the time of who added to it last",
                );
            } else {
                self.tell_prefix(format!("{prefix:?}"));
            }
        } else if self.name(key).is_some() {
            self.compare_expiry(seconds);
        }
    }

    fn compare_expiry(&mut self, theirs: &[u8]) {
        self.compare(
            "expiry",
            theirs,
            self.expected.expiry,
            "unread messages are dropped after the time of whoever sends next",
        );
    }

    /// Compares a number, of which only the whole part counts.
    fn compare<T: ToString>(
        &mut self,
        setting: &'static str,
        theirs: &[u8],
        ours: T,
        effect: &'static str,
    ) {
        let Ok(theirs) = std::str::from_utf8(theirs) else {
            return;
        };
        let (theirs, ours) = (
            theirs.split('.').next().unwrap_or_default(),
            ours.to_string(),
        );
        if theirs != ours && theirs.bytes().all(|byte| byte.is_ascii_digit()) {
            self.tell(Difference {
                setting,
                theirs: theirs.chars().take(SHOWN).collect(),
                ours,
                effect,
            });
        }
    }
}

/// What the bytes of a member show, without its being decrypted.
fn of_member(member: &Bytes, expected: &LayerOptions) -> Option<Difference> {
    let payload = member.get(expected.random_prefix_length..)?;
    match payload.starts_with(SEALED) {
        true if expected.keys.is_empty() => Some(of_keys("some", expected)),
        false if !expected.keys.is_empty() => Some(of_keys("none", expected)),
        true => None,
        false => of_serializer(payload, expected),
    }
}

/// What a member shows when it is opened.
pub(super) fn of_payload(
    opened: &Result<Bytes, OpenError>,
    expected: &LayerOptions,
) -> Option<Difference> {
    match opened {
        Ok(payload) if payload.starts_with(SEALED) => Some(of_keys("some", expected)),
        Ok(payload) => of_serializer(payload, expected),
        Err(OpenError::Key { .. }) => Some(of_keys("others, or none", expected)),
        Err(_) => None,
    }
}

fn of_keys(theirs: &str, expected: &LayerOptions) -> Difference {
    Difference {
        setting: "list of symmetric_encryption_keys",
        theirs: theirs.to_owned(),
        ours: match expected.keys.len() {
            0 => "none".to_owned(),
            count => format!("{count} of its own"),
        },
        effect: "neither can read the other's messages",
    }
}

/// A message is a dict: the first byte of one in MessagePack is none that a JSON text begins with.
fn of_serializer(payload: &[u8], expected: &LayerOptions) -> Option<Difference> {
    let theirs = match payload.first()? {
        b'{' => Serializer::Json,
        0x80..=0x8f | 0xde | 0xdf => Serializer::Msgpack,
        _ => return None,
    };
    (theirs != expected.serializer).then(|| Difference {
        setting: "serializer_format",
        theirs: format!("\"{theirs}\""),
        ours: format!("\"{}\"", expected.serializer),
        effect: "neither can read the other's messages",
    })
}

/// The prefix in a group's key.
fn group_prefix(key: &[u8]) -> Option<&str> {
    let (prefix, group) = std::str::from_utf8(key).ok()?.rsplit_once(":group:")?;
    GroupName::new(group).is_ok().then_some(prefix)
}

/// The prefix in a queue's key as far as it can be told: names of Slack's events and of replies are known.
fn shown_prefix(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(&key[..key.len().min(4 * SHOWN)]);
    let name = ["slack.", "specific."]
        .into_iter()
        .filter_map(|name| text.find(name))
        .min();
    match name {
        Some(at) => format!("{:?}", text[..at].chars().take(SHOWN).collect::<String>()),
        None => format!(
            "that of its key {:?}",
            text.chars().take(SHOWN).collect::<String>()
        ),
    }
}

#[cfg(test)]
mod tests;
