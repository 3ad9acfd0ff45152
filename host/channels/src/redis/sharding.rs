//! Which of several hosts a name lives on: channels_redis's consistent hash.

/// The host, of `hosts`, of a process-local channel's queue, or of a group.
///
/// The CRC-32 of the name picks one of 4096 slots, which are shared out evenly
/// (`channels_redis.utils._consistent_hash`). For a channel `name` is its queue, up to and with
/// the `!`: readers hash that, though channels_redis's own `send` hashes the full name (its #221).
pub(crate) fn consistent_hash(name: &str, hosts: usize) -> usize {
    if hosts <= 1 {
        return 0;
    }
    let slot = crc32fast::hash(name.as_bytes()) & 0xFFF;
    // The division is done in floating point as Python does it, so that borders fall alike.
    let host = f64::from(slot) / (4096.0 / hosts as f64);
    (host as usize).min(hosts - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_land_where_python_puts_them() {
        let cases = [
            ("key_one", 2, 1),
            ("key_two", 2, 0),
            ("slack.send", 2, 1),
            ("key_one", 10, 6),
            ("key_two", 10, 4),
            ("x", 1, 0),
        ];
        for (name, hosts, expect) in cases {
            assert_eq!(consistent_hash(name, hosts), expect, "{name} on {hosts}");
        }
    }
}
