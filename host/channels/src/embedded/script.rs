//! Recognises the Lua scripts of known clients by their digest. No Lua is interpreted.

use std::collections::HashMap;
use std::sync::LazyLock;

use sha1::{Digest, Sha1};

use crate::lease;
use crate::redis::dialect::{asgi, core};

/// A known script. Each is carried out in Rust, in `command/scripts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// channels_redis: puts the messages of a reader's backup queue back.
    RestoreInflight,
    /// channels_redis and asgi_redis: deletes the keys that match a pattern.
    DeleteMatching,
    /// channels_redis: adds a member to each of several queues that has room.
    GroupSend,
    /// asgi_redis: stores a message under a key, and the key's name in a queue.
    StoreAndPush,
    /// asgi_redis: counts a message in two counters.
    Count,
    /// asgi_redis: pops an item of the first queue that has any.
    PopAny,
    /// Ours, on channels_redis's queues: [`core::APPEND`] and the scripts after it.
    Append,
    Take,
    Keep,
    GiveBack,
    /// Ours, on asgi_redis's queues: [`asgi::APPEND`] and the scripts after it.
    ListAppend,
    ListTake,
    ListKeep,
    ListGiveBack,
    ListFinish,
    ListWithdraw,
    /// Ours, on any layer: [`lease::CLAIM`] and [`lease::RELEASE`].
    ClaimLease,
    ReleaseLease,
}

impl Script {
    /// Whether it may add more than it removes. Then it is refused when the memory is full.
    ///
    /// A script that only moves messages is not refused, because it makes room again.
    pub(super) fn grows(self) -> bool {
        matches!(
            self,
            Self::GroupSend | Self::StoreAndPush | Self::Count | Self::Append | Self::ListAppend
        )
    }
}

/// The scripts of our own layers.
const OURS: &[(&str, Script)] = &[
    (core::APPEND, Script::Append),
    (core::TAKE, Script::Take),
    (core::KEEP, Script::Keep),
    (core::GIVE_BACK, Script::GiveBack),
    (asgi::APPEND, Script::ListAppend),
    (asgi::TAKE, Script::ListTake),
    (asgi::KEEP, Script::ListKeep),
    (asgi::GIVE_BACK, Script::ListGiveBack),
    (asgi::FINISH, Script::ListFinish),
    (asgi::WITHDRAW, Script::ListWithdraw),
    (lease::CLAIM, Script::ClaimLease),
    (lease::RELEASE, Script::ReleaseLease),
];

/// The digests of the scripts of Python's libraries.
const THEIRS: &[(&str, Script)] = &[
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

/// All scripts, by [`digest`].
static KNOWN: LazyLock<HashMap<String, Script>> = LazyLock::new(|| {
    let ours = OURS
        .iter()
        .map(|(text, script)| (digest(text.as_bytes()), *script));
    let theirs = THEIRS
        .iter()
        .map(|(digest, script)| ((*digest).to_owned(), *script));
    ours.chain(theirs).collect()
});

/// The greatest number of scripts that are cached. A known script may come in many spellings.
const CACHE_LIMIT: usize = 1000;

/// The scripts that `EVALSHA` finds, by the SHA-1 of their exact text in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct ScriptCache(HashMap<String, Script>);

impl ScriptCache {
    /// Recognises a script and caches it; returns it with its SHA-1.
    pub(super) fn load(&mut self, text: &[u8]) -> Option<(String, Script)> {
        let script = *KNOWN.get(&digest(text))?;
        let sha = hex_sha1(text);
        // Endless spellings of one script must not fill the memory.
        if self.0.len() >= CACHE_LIMIT {
            self.0.clear();
        }
        self.0.insert(sha.clone(), script);
        Some((sha, script))
    }

    /// The script with this SHA-1, in upper or lower case.
    pub(super) fn get(&self, sha: &[u8]) -> Option<Script> {
        let sha = std::str::from_utf8(sha).ok()?.to_ascii_lowercase();
        self.0.get(&sha).copied()
    }

    /// Forgets all scripts.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// SHA-1 of a script's words with one space between them, so that another indentation is the same script.
fn digest(text: &[u8]) -> String {
    let words: Vec<&[u8]> = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    hex_sha1(&words.join(&b' '))
}

fn hex_sha1(text: &[u8]) -> String {
    Sha1::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use redis::Arg;

    use super::*;
    use crate::config::LayerConfig;
    use crate::redis::dialect::asgi::AsgiRedis;
    use crate::redis::dialect::core::Core;
    use crate::redis::dialect::{AppendRequest, Dialect, Scripts};

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
        let mut cache = ScriptCache::default();
        assert_eq!(cache.load(b"return 1"), None);
        assert_eq!(cache.load(b""), None);
    }

    /// The texts of a layer's scripts, and those in its commands.
    fn texts<D: Dialect>() -> Vec<String> {
        let Scripts {
            take,
            keep,
            give_back,
        } = D::scripts();
        let kept = [D::append(), take, keep, give_back];
        let mut texts: Vec<String> = kept.map(|script| script.text().to_owned()).to_vec();
        let LayerConfig::Redis(config) =
            LayerConfig::from_urls(&["redis://127.0.0.1".to_owned()]).unwrap()
        else {
            unreachable!("a Redis URL is a Redis layer's")
        };
        let append = AppendRequest {
            config: &config,
            queue: "asgic",
            name: "c",
            capacity: 1,
            now: 0,
            scores: &[],
            members: &[],
        };
        for cmd in [
            D::withdraw(&append),
            D::finish("own", &[]),
            D::depth("asgic"),
        ] {
            let words: Vec<_> = cmd
                .args_iter()
                .filter_map(|word| match word {
                    Arg::Simple(word) => Some(String::from_utf8_lossy(word).into_owned()),
                    _ => None,
                })
                .collect();
            if words[0] == "EVAL" {
                texts.push(words[1].clone());
            }
        }
        texts
    }

    #[test]
    fn every_script_of_our_own_layers_is_known() {
        let of_leases = [lease::CLAIM, lease::RELEASE].map(str::to_owned).to_vec();
        let texts = [texts::<Core>(), texts::<AsgiRedis>(), of_leases].concat();
        let mut cache = ScriptCache::default();
        for text in &texts {
            assert!(
                cache.load(text.as_bytes()).is_some(),
                "the embedded server must learn this script:\n{text}"
            );
        }
        assert_eq!(
            texts.len(),
            OURS.len(),
            "no script is known that is not used"
        );
    }
}
