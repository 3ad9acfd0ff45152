//! The difference between the two kinds of queues in Redis: those of channels_redis's core layer and of asgi_redis.

pub(crate) mod asgi;
pub(crate) mod core;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::{Codec, OpenError};
use crate::config::RedisConfig;
use crate::redis::script::Script;
use crate::wire::Member;

/// The commands of one kind of queue. It has no state; the layer and its readers have that.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// The layer's name for people.
    const NAME: &'static str;

    /// The scripts that readers run; their keys and arguments are those of [`Scripts`].
    fn scripts() -> &'static Scripts;

    /// The codec that `config` asks for.
    fn codec(config: &RedisConfig) -> Codec;

    /// Makes the member of a payload. [`Dialect::append`] takes it, and takes it again after a lost answer.
    fn seal(codec: &Codec, payload: &[u8]) -> Member;

    /// How many bytes of its own [`Dialect::seal`] puts before the bytes of the codec.
    const HEAD: usize = 0;

    /// Whether one message serves all channels of a group that share a queue.
    const SHARES_GROUP_MESSAGES: bool;

    /// Finds the bytes that the codec of [`Dialect::seal`] made. `stored` is the payload that a script answered next to
    /// the member, for queues that store payloads apart.
    fn sealed(member: &Bytes, stored: Option<Bytes>) -> Result<Bytes, OpenError>;

    /// The script that puts members on a queue, as many as there is room for. It answers three numbers: how many
    /// members it accepted, how many messages had expired, and how many wait now.
    fn append() -> &'static Script;

    /// Writes the keys and arguments of [`Dialect::append`].
    fn write_append(cmd: &mut Cmd, append: &AppendRequest<'_>);

    /// Removes members that were put on `queue` and may have been read since.
    fn withdraw(append: &AppendRequest<'_>) -> Cmd;

    /// Removes `members` from `own`, a reader's processing key.
    fn finish(own: &str, members: &[Bytes]) -> Cmd;

    /// Counts the messages that wait on `queue`.
    fn depth(queue: &str) -> Cmd;

    /// Reads the first member of a queue and its score. `None` if the queue has no scores that are times.
    fn oldest(_queue: &str) -> Option<Cmd> {
        None
    }
}

/// Members to be put on one queue of one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendRequest<'a> {
    pub(crate) config: &'a RedisConfig,
    /// The queue's key.
    pub(crate) queue: &'a str,
    /// The queue's name, without the prefix.
    pub(crate) name: &'a str,
    /// How many messages the queue may hold.
    pub(crate) capacity: usize,
    /// Unix time in seconds.
    pub(crate) now: u64,
    /// Strictly increasing, one for each member.
    pub(crate) scores: &'a [f64],
    pub(crate) members: &'a [&'a Member],
}

/// The scripts that readers run. The part that both dialects share lies in `reader/`.
///
/// They use only commands that channels_redis uses too, so that a user who may run those may run djangobot. Therefore
/// the time is an argument, all sets are sorted sets, and all keys are declared.
///
/// KEYS are the queue, the reader's processing key, the leases, and the members that were delivered and given back. The
/// first argument is the reader's id.
///
/// Answers are flat lists with four items for each message: the member, its score, whether a reader had it before (0 or
/// 1), and the payload if it is stored apart from the member.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// Moves messages from the queue to the processing key. Arguments: the end of the lease in milliseconds, the
    /// greatest number of messages, the time in seconds.
    pub(crate) take: Script,
    /// Renews the lease and takes over the messages of readers whose lease ran out. Further keys are the processing
    /// keys of those readers. Arguments: the end of the lease in milliseconds, whether to answer all our messages (1)
    /// or only those that were taken over (0), the time in milliseconds, the ids of those readers.
    pub(crate) keep: Script,
    /// Gives unfinished messages back and ends the lease. Arguments: the expiry and the time in seconds, then the
    /// members that had been delivered.
    pub(crate) give_back: Script,
}
