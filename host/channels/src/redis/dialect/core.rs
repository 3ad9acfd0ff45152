//! The queues of `channels_redis.core.RedisChannelLayer` (3.0 to 4.3): sorted sets, scored by time.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::Codec;
use crate::codec::OpenError;
use crate::config::RedisConfig;
use crate::redis::dialect::{Append, Dialect, Scripts};
use crate::redis::script::Script;
use crate::wire::Member;

/// channels_redis drops what is expired, counts, adds and sets the key's expiry in four commands;
/// this is the same in one. A member that is there already was sent before and its answer lost:
/// it keeps its place and counts as accepted. Answers how many were accepted, how many were expired and are gone, and how
/// many wait.
pub(crate) const APPEND: &str = include_str!("append.lua");

/// Commands that channels_redis does not use are none of ours either: who is allowed to run those alone must be able to run
/// the bridge. So the time is an argument, sets are sorted ones, and keys are all declared.
///
/// A key that another program uses for something else is found before anything is taken.
pub(crate) const TAKE: &str = r"
redis.call('ZCOUNT', KEYS[2], 0, 0)
redis.call('ZCOUNT', KEYS[3], 0, 0)
local given_back = redis.call('ZCOUNT', KEYS[4], '-inf', '+inf') > 0
local got = redis.call('ZPOPMIN', KEYS[1], ARGV[3])
if #got == 0 then return got end
local answer = {}
for at = 1, #got, 2 do
    redis.call('ZADD', KEYS[2], got[at + 1], got[at])
    answer[#answer + 1] = got[at]
    answer[#answer + 1] = got[at + 1]
    answer[#answer + 1] = given_back and redis.call('ZREM', KEYS[4], got[at]) or 0
    answer[#answer + 1] = false
end
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], 86400)
redis.call('EXPIRE', KEYS[3], 86400)
return answer
";

/// The first write is one that Redis allows when its memory is full, and the rest of a script follows
/// its first write: so readers can go on to empty a server that takes nothing in.
pub(crate) const KEEP: &str = r"
redis.call('EXPIRE', KEYS[3], 86400)
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[3], 86400)
local found = {}
for nth = 5, #KEYS do
    local lease = redis.call('ZADD', KEYS[3], 'XX', 'INCR', 0, ARGV[nth])
    if lease and tonumber(lease) <= tonumber(ARGV[4]) then
        local left = redis.call('ZRANGE', KEYS[nth], 0, -1, 'WITHSCORES')
        for at = 1, #left, 2 do
            redis.call('ZADD', KEYS[2], left[at + 1], left[at])
            found[#found + 1] = left[at]
            found[#found + 1] = left[at + 1]
        end
        redis.call('DEL', KEYS[nth])
        redis.call('ZREM', KEYS[3], ARGV[nth])
    end
end
redis.call('EXPIRE', KEYS[2], 86400)
if ARGV[3] == '1' then found = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES') end
local answer = {}
for at = 1, #found, 2 do
    answer[#answer + 1] = found[at]
    answer[#answer + 1] = found[at + 1]
    answer[#answer + 1] = 1
    answer[#answer + 1] = false
end
return answer
";

/// What is older than `expiry` would be dropped by the next send to the queue; it stays where it
/// is, with a lease that has run out, so that the next reader of ours takes it over. It begins as
/// [`KEEP`] does, for the same reason.
pub(crate) const GIVE_BACK: &str = r"
redis.call('EXPIRE', KEYS[3], 86400)
for at = 4, #ARGV do redis.call('ZADD', KEYS[4], 0, ARGV[at]) end
if #ARGV > 3 then redis.call('EXPIRE', KEYS[4], 86400) end
local left = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local moved = 0
for at = 1, #left, 2 do
    if tonumber(left[at + 1]) > ARGV[3] - ARGV[2] then
        redis.call('ZADD', KEYS[1], left[at + 1], left[at])
        redis.call('ZREM', KEYS[2], left[at])
        moved = moved + 1
    end
end
if moved > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
if moved * 2 == #left then
    redis.call('ZREM', KEYS[3], ARGV[1])
else
    redis.call('ZADD', KEYS[3], 0, ARGV[1])
end
return moved
";

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

    fn write_append(cmd: &mut Cmd, append: &Append<'_>) {
        let config = append.config;
        cmd.arg(1).arg(append.queue);
        cmd.arg(append.now.saturating_sub(config.expiry))
            .arg(append.capacity)
            .arg(config.expiry);
        for (score, member) in append.scores.iter().zip(append.members) {
            cmd.arg(*score).arg(&member.0[..]);
        }
    }

    fn withdraw(append: &Append<'_>) -> Cmd {
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
