//! The errors of commands, with Redis's own texts, because clients recognise errors by them.

use crate::embedded::resp::{MAX_OUTPUT, MAX_REQUEST, Reply};

/// The longest name of a channel, pattern, client or prefix, in bytes. Names are not counted in the bounded memory.
pub(super) const MAX_NAME: usize = 1024;

/// The error of a command. Its text is the whole error line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is not a valid float")]
    NotDouble,
    #[error("ERR min or max is not a float")]
    NotBound,
    #[error("ERR resulting score is not a number (NaN)")]
    NotANumber,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR timeout is not a float or out of range")]
    NotTimeout,
    #[error("ERR timeout is negative")]
    NegativeTimeout,
    #[error("ERR Unsupported option {0}")]
    UnsupportedOption(String),
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    Memory,
    #[error("ERR unknown command '{name}', with args beginning with: {arguments}")]
    UnknownCommand { name: String, arguments: String },
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand {
        command: &'static str,
        subcommand: String,
    },
    #[error("ERR DB index is out of range")]
    Database,
    #[error("NOAUTH Authentication required.")]
    NotAuthenticated,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. \
         Are you sure your configuration is correct?"
    )]
    NoPassword,
    #[error("NOPROTO unsupported protocol version")]
    Protocol,
    #[error(
        "ERR Can't execute '{0}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )]
    Subscribed(&'static str),
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    #[error("ERR {0} without MULTI")]
    NoMulti(&'static str),
    #[error("ERR Command not allowed inside a transaction")]
    InTransaction,
    #[error("ERR the commands queued since MULTI have more than {MAX_REQUEST} bytes")]
    LongTransaction,
    #[error("ERR this pattern takes too long to match; use a shorter or a simpler one")]
    LongMatch,
    #[error("ERR the commands ran, but their replies have more than {MAX_OUTPUT} bytes")]
    LongReply,
    #[error("ERR the name is too long; it may have at most {MAX_NAME} bytes")]
    LongName,
    #[error("ERR too many prefixes, or too many or too long keys to wait for")]
    TooManyNames,
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    Aborted,
    #[error("NOSCRIPT No matching script. Please use EVAL.")]
    NoScript,
    #[error("ERR Number of keys can't be greater than number of args")]
    TooManyKeys,
    #[error("ERR Number of keys can't be negative")]
    NegativeKeys,
    #[error(
        "ERR the embedded channel layer runs no Lua. It knows the scripts of channels_redis 3 and 4, of asgi_redis 1 \
         and of djangobot, and this is none of them; use a Redis server to run it"
    )]
    UnknownScript,
    /// The error of a script, or of a single command.
    #[error("{0}")]
    Other(&'static str),
}

/// Refuses a name that is too long to be stored.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.len() > MAX_NAME {
        return Err(CommandError::LongName);
    }
    Ok(())
}

impl From<CommandError> for Reply {
    fn from(refusal: CommandError) -> Self {
        Self::Error(refusal.to_string())
    }
}
