//! Reads the kind of a server's refusal from the client library's error.

use redis::{ErrorKind, RedisError};

use crate::refusal::RefusalKind;

/// The kind of an error that a server answered. `None` if there was no answer, or one that can't be read.
pub(crate) fn kind_of(error: &RedisError) -> Option<RefusalKind> {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => return None,
        ErrorKind::AuthenticationFailed => return Some(RefusalKind::Credentials),
        ErrorKind::InvalidClientConfig => return Some(RefusalKind::Settings),
        _ => {}
    }
    let kind = match code(error).unwrap_or_default() {
        "NOAUTH" | "WRONGPASS" => RefusalKind::Credentials,
        "NOPERM" => RefusalKind::Permission,
        "READONLY" => RefusalKind::ReadOnly,
        "MOVED" | "ASK" | "CROSSSLOT" => RefusalKind::Cluster,
        "NOREPLICAS" => RefusalKind::Replicas,
        "OOM" => RefusalKind::Memory,
        "MISCONF" => RefusalKind::Disk,
        "WRONGTYPE" => RefusalKind::WrongType,
        "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" | "UNBLOCKED" => {
            RefusalKind::Busy
        }
        _ => kind_of_words(error.detail().unwrap_or_default()),
    };
    Some(kind)
}

/// The kind of an error with a general code such as `ERR`, by its text.
fn kind_of_words(words: &str) -> RefusalKind {
    let has = |part: &str| words.contains(part);
    if has("max number of clients") {
        RefusalKind::Busy
    } else if has("unknown command") || has("Unknown Redis command") {
        RefusalKind::UnknownCommand
    } else if has("ACL failure in script") || has("The user executing the script") {
        RefusalKind::Permission
    } else if has("Only HELLO messages are accepted by Sentinel") {
        RefusalKind::UnknownCommand
    } else if has("same slot") || has("non local key") || has("undeclared key") {
        RefusalKind::Cluster
    } else if has("invalid password") || has("without any password configured") {
        RefusalKind::Credentials
    } else {
        RefusalKind::Request
    }
}

/// Whether the connection is of no more use: it broke, it is stuck, it is not logged in any more, or its server is not
/// the master any more.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
        || matches!(code(error), Some("READONLY" | "MASTERDOWN" | "NOAUTH"))
}

/// The first word of a server's error.
fn code(error: &RedisError) -> Option<&str> {
    let quoted = error.detail().and_then(code_in_script);
    quoted.or_else(|| error.code())
}

/// The code of an error inside a script, if `detail` quotes it.
///
/// Before Redis 7 such an error comes as an `ERR` of the script: `Error running script (call to f_…): @user_script:2:
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
    fn an_error_inside_a_script_has_the_same_kind_as_outside() {
        // The wordings of Redis 6 and of Redis 7.
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
            for answered in [wrapped(error), bare, sent(error)] {
                assert_eq!(
                    (kind_of(&answered), ends_connection(&answered)),
                    (Some(kind), ends),
                    "{answered}"
                );
            }
        }
        let other = sent(
            "ERR Error running script (call to f_e0e1f9): user_script:1: attempt to index nil",
        );
        assert_eq!(kind_of(&other), Some(Kind::Request));
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
            let answered = sent(error);
            assert_eq!(kind_of(&answered), Some(kind), "{answered}");
        }
    }
}
