//! The queues of `asgi_redis.RedisChannelLayer` 1.4 (Channels 1): lists of keys that hold the payloads.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::Codec;
use crate::codec::OpenError;
use crate::config::RedisConfig;
use crate::redis::dialect::{Append, Dialect, Scripts};
use crate::redis::script::Script;
use crate::wire::Member;

/// Bytes of the id that a payload's key ends with.
const ID: usize = 16;

/// asgi_redis's `lua_chansend` for several messages, and its counters of them.
/// Keys: the queue, the counters of messages and of refusals (the channel's, everyone's).
/// Arguments: expiry, capacity, then key and payload of each message.
pub(crate) const APPEND: &str = r"
if #ARGV == 2 then
    -- Whether anything would be taken: refused where nothing may be written, or the memory is full.
    redis.call('INCRBY', KEYS[2], 0)
    redis.call('EXPIRE', KEYS[2], 3600)
end
local room = tonumber(ARGV[2]) - redis.call('LLEN', KEYS[1])
local accepted = 0
local added = 0
for at = 3, #ARGV, 2 do
    if redis.call('EXISTS', ARGV[at]) == 0 then
        if room <= 0 then break end
        redis.call('SET', ARGV[at], ARGV[at + 1], 'EX', ARGV[1])
        redis.call('RPUSH', KEYS[1], ARGV[at])
        room = room - 1
        added = added + 1
    end
    accepted = accepted + 1
end
if added > 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[1] + 1)
    redis.call('INCRBY', KEYS[2], added)
    redis.call('EXPIRE', KEYS[2], 3600)
    redis.call('INCRBY', KEYS[3], added)
    redis.call('EXPIRE', KEYS[3], 86400)
end
if accepted < (#ARGV - 2) / 2 then
    redis.call('INCR', KEYS[4])
    redis.call('EXPIRE', KEYS[4], 3600)
    redis.call('INCR', KEYS[5])
    redis.call('EXPIRE', KEYS[5], 86400)
end
return {accepted, 0, redis.call('LLEN', KEYS[1])}
";

/// A payload whose message was taken is kept a day, for the case that its reader ends.
/// A key that another program uses for something else is found before anything is taken.
pub(crate) const TAKE: &str = r"
for nth = 2, 4 do redis.call('ZCOUNT', KEYS[nth], 0, 0) end
local answer = {}
for nth = 1, tonumber(ARGV[3]) do
    local key = redis.call('LPOP', KEYS[1])
    if not key then break end
    local score = string.format('%.6f', ARGV[4] + nth / 1000000)
    redis.call('EXPIRE', key, 86400)
    redis.call('ZADD', KEYS[2], score, key)
    answer[#answer + 1] = key
    answer[#answer + 1] = score
    answer[#answer + 1] = redis.call('ZREM', KEYS[4], key)
    answer[#answer + 1] = redis.call('GET', key)
end
if #answer > 0 then
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
    redis.call('EXPIRE', KEYS[2], 86400)
    redis.call('EXPIRE', KEYS[3], 86400)
end
return answer
";

/// Begins as [`crate::redis::dialect::core::KEEP`] does, and so does [`GIVE_BACK`].
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
    answer[#answer + 1] = redis.call('GET', found[at])
end
return answer
";

pub(crate) const GIVE_BACK: &str = r"
redis.call('EXPIRE', KEYS[3], 86400)
for at = 4, #ARGV do redis.call('ZADD', KEYS[4], 0, ARGV[at]) end
if #ARGV > 3 then redis.call('EXPIRE', KEYS[4], 86400) end
local left = redis.call('ZRANGE', KEYS[2], 0, -1)
for at = #left, 1, -1 do
    redis.call('LPUSH', KEYS[1], left[at])
    redis.call('EXPIRE', left[at], ARGV[2])
end
if #left > 0 then redis.call('EXPIRE', KEYS[1], ARGV[2] + 1) end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return #left
";

/// Ends what was taken: out of the processing key, and the payload with it.
pub(crate) const FINISH: &str = "for _, key in ipairs(ARGV) do redis.call('ZREM', KEYS[1], key); redis.call('DEL', key) end return #ARGV";

/// Takes back what was appended and not yet read; answers how many that were.
pub(crate) const WITHDRAW: &str = r"
local removed = 0
for _, key in ipairs(ARGV) do
    if redis.call('LREM', KEYS[1], -1, key) > 0 then
        redis.call('DEL', key)
        removed = removed + 1
    end
end
return removed
";

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

    /// A member is the id of its key and the payload: the id is not on the wire, but it makes
    /// sending the same member again harmless.
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

    fn write_append(cmd: &mut Cmd, append: &Append<'_>) {
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

    fn withdraw(append: &Append<'_>) -> Cmd {
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
fn split<'a>(append: &Append<'_>, member: &'a Member) -> (String, &'a [u8]) {
    let (id, payload) = member.0.split_at(ID.min(member.0.len()));
    let mut key = append.config.prefix.clone();
    for byte in id {
        key.push_str(&format!("{byte:02x}"));
    }
    (key, payload)
}
