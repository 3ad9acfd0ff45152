//! Which kind of error a server answered: whether waiting helps, and whose fault it is.

use redis::{ErrorKind, RedisError};

/// Why a server refused a request. Each kind has a cure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// It wants a password, or another one (`NOAUTH`, `WRONGPASS`).
    Credentials,
    /// Our user may not run a command or touch a key (`NOPERM`).
    Permission,
    /// It does not know a command: it was renamed or disabled, or this is a Sentinel or a proxy.
    UnknownCommand,
    /// It is a replica (`READONLY`).
    ReadOnly,
    /// It is a member of a cluster, and the keys lie elsewhere (`MOVED`, `ASK`, `CROSSSLOT`).
    Cluster,
    /// It has too few replicas (`NOREPLICAS`).
    Replicas,
    /// Its memory is full (`OOM`).
    Memory,
    /// It can't write its own disk (`MISCONF`).
    Disk,
    /// It is loading, busy, or has too many clients: it says itself that this passes.
    Busy,
    /// Another program uses the key for something else (`WRONGTYPE`).
    WrongType,
    /// It was not asked: our own settings can't be used, a certificate's file for instance.
    Settings,
    /// It refused this one request, as one that is too large.
    Request,
}

impl RefusalKind {
    /// Whether the same request may succeed later with nothing changed on our side.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::Replicas | Self::Memory | Self::Disk | Self::Busy
        )
    }

    /// Whether the content of the request may be what is refused. All other kinds refuse any request.
    pub fn is_about_content(self) -> bool {
        self == Self::Request
    }

    /// The kind of an error that a server answered; `None` where there was no answer, or one that can't be read.
    pub(crate) fn of(error: &RedisError) -> Option<Self> {
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse => return None,
            ErrorKind::AuthenticationFailed => return Some(Self::Credentials),
            ErrorKind::InvalidClientConfig => return Some(Self::Settings),
            _ => {}
        }
        let kind = match code(error).unwrap_or_default() {
            "NOAUTH" | "WRONGPASS" => Self::Credentials,
            "NOPERM" => Self::Permission,
            "READONLY" => Self::ReadOnly,
            "MOVED" | "ASK" | "CROSSSLOT" => Self::Cluster,
            "NOREPLICAS" => Self::Replicas,
            "OOM" => Self::Memory,
            "MISCONF" => Self::Disk,
            "WRONGTYPE" => Self::WrongType,
            "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" | "UNBLOCKED" => {
                Self::Busy
            }
            _ => Self::of_words(error.detail().unwrap_or_default()),
        };
        Some(kind)
    }

    /// The kind of an error whose code says nothing: `ERR` and the like.
    fn of_words(words: &str) -> Self {
        let has = |part: &str| words.contains(part);
        if has("max number of clients") {
            Self::Busy
        } else if has("unknown command") || has("Unknown Redis command") {
            Self::UnknownCommand
        } else if has("ACL failure in script") || has("The user executing the script") {
            Self::Permission
        } else if has("Only HELLO messages are accepted by Sentinel") {
            Self::UnknownCommand
        } else if has("same slot") || has("non local key") || has("undeclared key") {
            Self::Cluster
        } else if has("invalid password") || has("without any password configured") {
            Self::Credentials
        } else {
            Self::Request
        }
    }
}

/// Whether the connection is of no more use: it broke, is stuck, is not logged in any more, or leads to a server that is no
/// master any more.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
        || matches!(code(error), Some("READONLY" | "MASTERDOWN" | "NOAUTH"))
}

/// The first word of a server's error.
fn code(error: &RedisError) -> Option<&str> {
    let quoted = error.detail().and_then(code_in_script);
    quoted.or_else(|| error.code())
}

/// The code of an error that a script met, where `detail` quotes it.
///
/// Before Redis 7 such an error came as an `ERR` of the script: `Error running script (call to f_…): @user_script:2:
/// @user_script: 2: -READONLY You can't write …`, and from some commands `@user_script:3: WRONGTYPE Operation …`.
fn code_in_script(detail: &str) -> Option<&str> {
    let (_, mut words) = detail
        .strip_prefix("Error running script")?
        .split_once("): ")?;
    while let Some(place) = words.strip_prefix("@user_script:") {
        let line = place
            .trim_start()
            .trim_start_matches(|letter: char| letter.is_ascii_digit());
        words = line.strip_prefix(": ")?;
    }
    let code = words.trim_start_matches('-').split(' ').next()?;
    code.bytes()
        .all(|byte| byte.is_ascii_uppercase())
        .then_some(code)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// The error that a server sends as this line.
    fn sent(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        answer.and_then(Value::extract_error).unwrap_err()
    }

    #[test]
    fn an_error_inside_a_script_means_what_it_means_outside() {
        // How Redis 6 words it, and how Redis 7 does.
        let wrapped = |error: &str| {
            sent(&format!(
                "ERR Error running script (call to f_e0e1f9): @user_script:2: @user_script: 2: -{error}"
            ))
        };
        use RefusalKind as Kind;
        for (error, kind, ends) in [
            (
                "READONLY You can't write against a read only replica.",
                Kind::ReadOnly,
                true,
            ),
            ("MASTERDOWN Link with MASTER is down.", Kind::Busy, true),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Kind::Memory,
                false,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                Kind::Disk,
                false,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Kind::Replicas,
                false,
            ),
            (
                "WRONGTYPE Operation against a key - wrong: -OOM",
                Kind::WrongType,
                false,
            ),
            (
                "ERR value is not an integer or out of range",
                Kind::Request,
                false,
            ),
        ] {
            let bare = sent(&format!(
                "ERR Error running script (call to f_e0e1f9): @user_script:3: {error}"
            ));
            for told in [wrapped(error), bare, sent(error)] {
                assert_eq!(
                    (RefusalKind::of(&told), ends_connection(&told)),
                    (Some(kind), ends),
                    "{told}"
                );
            }
        }
        let other = sent(
            "ERR Error running script (call to f_e0e1f9): user_script:1: attempt to index nil",
        );
        assert_eq!(RefusalKind::of(&other), Some(Kind::Request));
    }

    #[test]
    fn errors_without_a_code_of_their_own_are_known_by_their_words() {
        use RefusalKind as Kind;
        for (error, kind) in [
            (
                "ERR unknown command 'EVALSHA', with args beginning with: ",
                Kind::UnknownCommand,
            ),
            (
                "ERR Unknown Redis command called from script script: 1",
                Kind::UnknownCommand,
            ),
            (
                "ERR Only HELLO messages are accepted by Sentinel instances.",
                Kind::UnknownCommand,
            ),
            (
                "ERR ACL failure in script: User bot has no permissions to run the 'time' command",
                Kind::Permission,
            ),
            (
                "ERR Script attempted to access keys that do not hash to the same slot",
                Kind::Cluster,
            ),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Kind::Cluster,
            ),
            ("MOVED 1 127.0.0.1:7001", Kind::Cluster),
            (
                "NOPERM this user has no permissions to run the 'eval' command",
                Kind::Permission,
            ),
            ("NOAUTH Authentication required.", Kind::Credentials),
            ("ERR max number of clients reached", Kind::Busy),
            ("ERR Protocol error: invalid bulk length", Kind::Request),
        ] {
            let told = sent(error);
            assert_eq!(RefusalKind::of(&told), Some(kind), "{told}");
        }
    }
}
