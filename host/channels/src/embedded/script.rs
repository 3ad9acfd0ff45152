//! The Lua scripts that clients send: recognised by their digest, never interpreted.

use std::collections::HashMap;

use sha1::{Digest, Sha1};

/// What a script does. Each is written in Rust in `command/scripts.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// channels_redis: puts what a reader left in its backup queue back.
    RestoreInflight,
    /// channels_redis and asgi_redis: deletes the keys that match a pattern.
    DeleteMatching,
    /// channels_redis: one member to each of several queues that has room.
    GroupSend,
    /// asgi_redis: a message in a key of its own, and that key's name in a queue.
    StoreAndPush,
    /// asgi_redis: counts a message in two counters.
    Count,
    /// asgi_redis: an item of the first queue that has any.
    PopAny,
}

/// SHA-1 of each script's words with one space between them, so that another indentation is the same script.
const KNOWN: &[(&str, Script)] = &[
    // channels_redis 3.0.0, and 3.0.1 to 4.3.0.
    (
        "babb7c3a648252f1eefd6993f80d94e21168e738",
        Script::RestoreInflight,
    ),
    (
        "eed9a5bf1f67d97a42eb50e3a59d53d708c636da",
        Script::RestoreInflight,
    ),
    (
        "854937a011232e41f72c568bdb17344a91ae7a7f",
        Script::DeleteMatching,
    ),
    (
        "33ce775bc9b43441f7d5abf901ba299582c8562b",
        Script::GroupSend,
    ),
    // asgi_redis 1.4.3.
    (
        "5cdc7df49311eb52bcd445813f47d8bbcb89a004",
        Script::StoreAndPush,
    ),
    ("e4e8a1ec874ab389e34b023c63922e138f93932e", Script::Count),
    ("7bc85555fd03a535c2f695ea445aafcfcd74bb8a", Script::PopAny),
];

/// Most scripts that are kept; there are few texts that are known at all.
const CACHE_LIMIT: usize = 1000;

/// The scripts that `EVALSHA` finds, by the SHA-1 of their exact text in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct ScriptCache(HashMap<String, Script>);

impl ScriptCache {
    /// Recognises a script and keeps it; gives its SHA-1 too.
    pub(super) fn load(&mut self, text: &[u8]) -> Option<(String, Script)> {
        let script = recognise(text)?;
        let sha = hex_sha1(text);
        // The same script in endless spellings must not fill the memory.
        if self.0.len() >= CACHE_LIMIT {
            self.0.clear();
        }
        self.0.insert(sha.clone(), script);
        Some((sha, script))
    }

    /// The script whose SHA-1 this is, in any case.
    pub(super) fn get(&self, sha: &[u8]) -> Option<Script> {
        let sha = std::str::from_utf8(sha).ok()?.to_ascii_lowercase();
        self.0.get(&sha).copied()
    }

    /// Forgets all scripts.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn recognise(text: &[u8]) -> Option<Script> {
    let words: Vec<&[u8]> = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let digest = hex_sha1(&words.join(&b' '));
    KNOWN
        .iter()
        .find(|(known, _)| *known == digest)
        .map(|(_, script)| *script)
}

fn hex_sha1(text: &[u8]) -> String {
    Sha1::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_redis_s_own() {
        // `SCRIPT LOAD "return 1"` of a Redis server.
        assert_eq!(
            hex_sha1(b"return 1"),
            "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
        );
    }

    #[test]
    fn an_unknown_script_is_not_recognised() {
        assert_eq!(recognise(b"return 1"), None);
        assert_eq!(recognise(b""), None);
    }
}
