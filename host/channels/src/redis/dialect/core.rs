//! The queues of `channels_redis.core.RedisChannelLayer` (3.0 to 4.3): sorted sets, scored by time.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::{Codec, OpenError};
use crate::config::RedisConfig;
use crate::redis::dialect::{AppendRequest, Dialect, Scripts};
use crate::redis::script::Script;
use crate::wire::Member;

/// Puts members on a queue. Its arguments are those that [`Dialect::write_append`] writes.
pub(crate) const APPEND: &str = include_str!("core/append.lua");
/// The script [`Scripts::take`].
pub(crate) const TAKE: &str = concat!(
    include_str!("reader/take_begin.lua"),
    include_str!("core/take.lua"),
    include_str!("reader/take_end.lua"),
);
/// The script [`Scripts::keep`].
pub(crate) const KEEP: &str = concat!(
    include_str!("core/stored.lua"),
    include_str!("reader/keep.lua"),
);
/// The script [`Scripts::give_back`].
pub(crate) const GIVE_BACK: &str = concat!(
    include_str!("reader/give_back_begin.lua"),
    include_str!("core/give_back.lua"),
);

static APPEND_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(APPEND));
static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    take: Script::new(TAKE),
    keep: Script::new(KEEP),
    give_back: Script::new(GIVE_BACK),
});

/// channels_redis's core layer.
#[derive(Debug)]
pub(crate) struct Core;

impl Dialect for Core {
    const NAME: &'static str = "channels_redis";
    const SHARES_GROUP_MESSAGES: bool = true;

    fn scripts() -> &'static Scripts {
        &SCRIPTS
    }

    fn codec(config: &RedisConfig) -> Codec {
        Codec::new(
            config.random_prefix_length,
            config.keys.clone(),
            Some(config.expiry + 10),
        )
    }

    fn seal(codec: &Codec, payload: &[u8]) -> Member {
        codec.seal(payload)
    }

    fn sealed(member: &Bytes, _stored: Option<Bytes>) -> Result<Bytes, OpenError> {
        Ok(member.clone())
    }

    fn append() -> &'static Script {
        &APPEND_SCRIPT
    }

    fn write_append(cmd: &mut Cmd, append: &AppendRequest<'_>) {
        let config = append.config;
        cmd.arg(1).arg(append.queue);
        cmd.arg(append.now.saturating_sub(config.expiry))
            .arg(append.capacity)
            .arg(config.expiry);
        for (score, member) in append.scores.iter().zip(append.members) {
            cmd.arg(*score).arg(&member.0[..]);
        }
    }

    fn withdraw(append: &AppendRequest<'_>) -> Cmd {
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(append.queue);
        for member in append.members {
            cmd.arg(&member.0[..]);
        }
        cmd
    }

    fn finish(own: &str, members: &[Bytes]) -> Cmd {
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(own);
        for member in members {
            cmd.arg(&member[..]);
        }
        cmd
    }

    fn depth(queue: &str) -> Cmd {
        let mut cmd = redis::cmd("ZCOUNT");
        cmd.arg(queue).arg("-inf").arg("+inf");
        cmd
    }

    fn oldest(queue: &str) -> Option<Cmd> {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(queue).arg(0).arg(0).arg("WITHSCORES");
        Some(cmd)
    }
}
