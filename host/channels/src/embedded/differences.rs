//! Compares the settings of the clients with the layer's own, as far as the clients' commands show them.
//!
//! To a Redis server a client with other settings is not an error: it reads and writes other keys, or bytes that nobody
//! can read. channels_redis does not report its settings, but its commands contain them as keys and arguments.

use std::collections::HashSet;

use bytes::Bytes;

use crate::codec::OpenError;
use crate::embedded::options::{DATABASE, LayerOptions};
use crate::embedded::script::Script;
use crate::name::{ChannelName, GroupName};
use crate::wire::Serializer;

/// The beginning of an encrypted payload: the version of Fernet, and the first bytes of a time.
const SEALED: &[u8] = b"gAAAA";
/// The most characters of a key that are shown.
const SHOWN: usize = 60;

/// Compares settings, and reports each difference once.
#[derive(Debug)]
pub(super) struct Differences {
    expected: LayerOptions,
    /// The settings whose difference was reported.
    reported: HashSet<&'static str>,
}

/// A setting that differs between a client and the layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    setting: &'static str,
    theirs: String,
    ours: String,
    /// The consequence, for the operator.
    effect: &'static str,
}

impl Differences {
    pub(super) fn new(expected: LayerOptions) -> Self {
        Self {
            expected,
            reported: HashSet::new(),
        }
    }

    /// Compares the settings that a client's command shows.
    pub(super) fn compare_command(&mut self, database: usize, command: &str, arguments: &[Bytes]) {
        match (command, arguments) {
            ("bzpopmin", [key, ..]) => drop(self.queue(database, key)),
            ("zcount", [key, from, to]) if &from[..] == b"-inf" && &to[..] == b"+inf" => {
                self.queue(database, key);
            }
            ("zadd", [key, _, member]) if database == DATABASE && self.name(key).is_some() => {
                let difference = of_member(member, &self.expected);
                self.report_if(difference);
            }
            ("expire", [key, seconds]) if database == DATABASE => self.expire(key, seconds),
            _ => {}
        }
    }

    /// Compares the settings that a client's script shows.
    pub(super) fn compare_script(
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
                "a channel is full for one of them and not for the other",
            );
            self.compare_expiry(expiry);
        }
    }

    /// Reports a difference, unless that was done before.
    pub(super) fn report(&mut self, difference: Difference) {
        let Difference {
            setting,
            theirs,
            ours,
            effect,
        } = difference;
        if self.reported.insert(setting) {
            tracing::warn!(
                "a client of the embedded channel layer has another {setting} than the layer: the client has {theirs}, the \
                 layer has {ours}, and so {effect}; set the same value in CHANNEL_LAYERS (CONFIG) of the Django project and \
                 in `config` below [layer] in djangobot.toml"
            );
        }
    }

    fn report_if(&mut self, difference: Option<Difference>) {
        if let Some(difference) = difference {
            self.report(difference);
        }
    }

    /// The channel's name in a queue's key. A key that is not the layer's is reported.
    fn queue(&mut self, database: usize, key: &[u8]) -> Option<String> {
        if database != DATABASE {
            self.report(Difference {
                setting: "database",
                theirs: database.to_string(),
                ours: DATABASE.to_string(),
                effect: "neither gets messages from the other",
            });
            return None;
        }
        let name = self.name(key);
        if name.is_none() && !key.contains(&b'$') {
            self.report_prefix(shown_prefix(key));
        }
        name
    }

    /// The channel's name in a queue's key, if the key is one of the layer.
    fn name(&self, key: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.expected.prefix)?;
        ChannelName::new(name).is_ok().then(|| name.to_owned())
    }

    fn report_prefix(&mut self, theirs: String) {
        let ours = format!("{:?}", self.expected.prefix);
        self.report(Difference {
            setting: "prefix",
            theirs,
            ours,
            effect: "neither gets messages from the other",
        });
    }

    fn expire(&mut self, key: &[u8], seconds: &[u8]) {
        if let Some(prefix) = group_prefix(key) {
            if prefix == self.expected.prefix {
                self.compare(
                    "group_expiry",
                    seconds,
                    self.expected.group_expiry,
                    "channels leave a group after the time that the last one to add a channel has set",
                );
            } else {
                self.report_prefix(format!("{prefix:?}"));
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
            "unread messages are dropped after the time that the next sender has set",
        );
    }

    /// Compares a number, by its whole part only.
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
            self.report(Difference {
                setting,
                theirs: theirs.chars().take(SHOWN).collect(),
                ours,
                effect,
            });
        }
    }
}

/// The difference that the bytes of a member show without decryption.
fn of_member(member: &Bytes, expected: &LayerOptions) -> Option<Difference> {
    let payload = member.get(expected.random_prefix_length..)?;
    match payload.starts_with(SEALED) {
        true if expected.keys.is_empty() => Some(of_keys("some", expected)),
        false if !expected.keys.is_empty() => Some(of_keys("none", expected)),
        true => None,
        false => of_serializer(payload, expected),
    }
}

/// The difference that a member shows when it is opened.
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
        effect: "neither can read messages of the other",
    }
}

/// A message is a dict. In MessagePack its first byte is never one that begins a JSON text.
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
        effect: "neither can read messages of the other",
    })
}

/// The prefix in a group's key.
fn group_prefix(key: &[u8]) -> Option<&str> {
    let (prefix, group) = std::str::from_utf8(key).ok()?.rsplit_once(":group:")?;
    GroupName::new(group).is_ok().then_some(prefix)
}

/// The prefix in a queue's key, as far as it can be recognised: names of Slack's events and of replies have known
/// beginnings.
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
