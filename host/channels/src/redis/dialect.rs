//! What the two layers that keep queues in Redis, core and asgi_redis, do differently.

pub(crate) mod asgi;
pub(crate) mod core;

use bytes::Bytes;
use redis::Cmd;

use crate::codec::Codec;
use crate::codec::OpenError;
use crate::config::RedisConfig;
use crate::redis::script::Script;
use crate::wire::Member;

/// The commands of one kind of queue. No state: the layer and its readers hold that.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// The layer's name for people.
    const NAME: &'static str;

    /// The scripts that readers run; their keys and arguments are those of [`Scripts`].
    fn scripts() -> &'static Scripts;

    /// The codec that `config` asks for.
    fn codec(config: &RedisConfig) -> Codec;

    /// Makes a payload a member: what is handed to [`Dialect::append`], now or again.
    fn seal(codec: &Codec, payload: &[u8]) -> Member;

    /// How many bytes of its own [`Dialect::seal`] puts before what the codec makes.
    const HEAD: usize = 0;

    /// Whether one message serves all channels of a group that share a queue.
    const SHARES_GROUP_MESSAGES: bool;

    /// Finds the bytes that [`Dialect::seal`]'s codec made in a member that was taken, `stored` being what lay beside it.
    fn sealed(member: &Bytes, stored: Option<Bytes>) -> Result<Bytes, OpenError>;

    /// The script that puts members on a queue, as many as there is room for. Answers how many, how many messages had
    /// expired and are gone, and how many wait now.
    fn append() -> &'static Script;

    /// Writes the keys and arguments of [`Dialect::append`].
    fn write_append(cmd: &mut Cmd, append: &Append<'_>);

    /// Takes members back that were put on `queue` and may have been read since.
    fn withdraw(append: &Append<'_>) -> Cmd;

    /// Forgets `members` of `own`, a reader's processing key.
    fn finish(own: &str, members: &[Bytes]) -> Cmd;

    /// Asks how many messages wait on `queue`.
    fn depth(queue: &str) -> Cmd;

    /// Asks for a queue's first member and its score, where scores are times.
    fn oldest(_queue: &str) -> Option<Cmd> {
        None
    }
}

/// Members for one queue on one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Append<'a> {
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

/// What readers run. Keys are the queue, the reader's own processing key, the leases, and the
/// members that were given back unfinished; the first argument is the reader's id. The time is an argument too: a server
/// need not tell it to scripts.
///
/// Answers are flat lists of four for each message: member, score, whether another reader had it
/// before (0 or 1), and what lay beside it.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// Moves messages from the queue to the processing key. Arguments: until when the lease is, in milliseconds; how
    /// many; the time in seconds.
    pub(crate) take: Script,
    /// Renews the lease and takes over what readers left whose lease ran out; more keys are their processing keys.
    /// Arguments: until when the lease is; whether to answer all that is ours (1) or only what was taken over (0); the
    /// time in milliseconds; the ids of those readers.
    pub(crate) keep: Script,
    /// Gives back what is left and ends the lease. Arguments: expiry, the time in seconds, then members that had been
    /// handed out.
    pub(crate) give_back: Script,
}
