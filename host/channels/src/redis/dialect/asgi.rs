//! The queues of `asgi_redis.RedisChannelLayer` 1.4 (Channels 1): lists of keys that hold the payloads.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::{Codec, OpenError};
use crate::config::RedisConfig;
use crate::redis::dialect::{AppendRequest, Dialect, Scripts};
use crate::redis::script::Script;
use crate::wire::Member;

/// The number of bytes in the id with which a payload's key ends.
const ID: usize = 16;

/// Puts messages on a queue. Its keys and arguments are those that [`Dialect::write_append`] writes.
pub(crate) const APPEND: &str = include_str!("asgi/append.lua");
/// The script [`Scripts::take`].
pub(crate) const TAKE: &str = concat!(
    include_str!("reader/take_begin.lua"),
    include_str!("asgi/take.lua"),
    include_str!("reader/take_end.lua"),
);
/// The script [`Scripts::keep`].
pub(crate) const KEEP: &str = concat!(
    include_str!("asgi/stored.lua"),
    include_str!("reader/keep.lua"),
);
/// The script [`Scripts::give_back`].
pub(crate) const GIVE_BACK: &str = concat!(
    include_str!("reader/give_back_begin.lua"),
    include_str!("asgi/give_back.lua"),
);
/// Removes finished messages from the processing key, with their payloads. It has no comments in it, because it is sent
/// whole with each call.
pub(crate) const FINISH: &str = include_str!("asgi/finish.lua");
/// Removes messages that were appended and not read yet; answers how many those were. It is sent whole with each call, too.
pub(crate) const WITHDRAW: &str = include_str!("asgi/withdraw.lua");

static APPEND_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(APPEND));
static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    take: Script::new(TAKE),
    keep: Script::new(KEEP),
    give_back: Script::new(GIVE_BACK),
});

/// Channels 1's layer.
#[derive(Debug)]
pub(crate) struct AsgiRedis;

impl Dialect for AsgiRedis {
    const NAME: &'static str = "asgi_redis";
    const HEAD: usize = ID;
    const SHARES_GROUP_MESSAGES: bool = false;

    fn scripts() -> &'static Scripts {
        &SCRIPTS
    }

    fn codec(config: &RedisConfig) -> Codec {
        Codec::new(0, config.keys.clone(), Some(config.expiry + 10))
    }

    /// A member is the id of its key, then the payload. The id is not part of the payload on the wire; it makes a
    /// second send of the same member harmless.
    fn seal(codec: &Codec, payload: &[u8]) -> Member {
        let mut member = uuid::Uuid::new_v4().into_bytes().to_vec();
        member.extend_from_slice(&codec.seal(payload).0);
        Member(member.into())
    }

    fn sealed(_member: &Bytes, stored: Option<Bytes>) -> Result<Bytes, OpenError> {
        stored.ok_or(OpenError::Expired)
    }

    fn append() -> &'static Script {
        &APPEND_SCRIPT
    }

    fn write_append(cmd: &mut Cmd, append: &AppendRequest<'_>) {
        cmd.arg(5).arg(append.queue);
        for counter in ["messages_count", "channel_full_count"] {
            cmd.arg(format!("asgi-meta:{}:{counter}", append.name))
                .arg(format!("asgi-meta:#global#:{counter}"));
        }
        cmd.arg(append.config.expiry).arg(append.capacity);
        for member in append.members {
            let (key, payload) = split(append, member);
            cmd.arg(key).arg(payload);
        }
    }

    fn withdraw(append: &AppendRequest<'_>) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(WITHDRAW).arg(1).arg(append.queue);
        for member in append.members {
            cmd.arg(split(append, member).0);
        }
        cmd
    }

    fn finish(own: &str, members: &[Bytes]) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(FINISH).arg(1).arg(own);
        for member in members {
            cmd.arg(&member[..]);
        }
        cmd
    }

    fn depth(queue: &str) -> Cmd {
        let mut cmd = redis::cmd("LLEN");
        cmd.arg(queue);
        cmd
    }
}

/// The key of a member's payload, and the payload.
fn split<'a>(append: &AppendRequest<'_>, member: &'a Member) -> (String, &'a [u8]) {
    let (id, payload) = member.0.split_at(ID.min(member.0.len()));
    let mut key = append.config.prefix.clone();
    for byte in id {
        key.push_str(&format!("{byte:02x}"));
    }
    (key, payload)
}
