//! Counts the events and messages that wait in a state file that can't be used: an operator must know what is at stake.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// A kind of rows that may wait.
struct Kind {
    query: &'static str,
    singular: &'static str,
    plural: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        query: "SELECT count(*) FROM spool",
        singular: "event for the app",
        plural: "events for the app",
    },
    Kind {
        query: "SELECT count(message) FROM outbox",
        singular: "message for Slack",
        plural: "messages for Slack",
    },
    Kind {
        query: "SELECT count(*) FROM dead_letters",
        singular: "dead letter",
        plural: "dead letters",
    },
];

/// Describes what waits, in a clause such as "2 events for the app and 1 dead letter wait in it".
pub(super) fn describe(path: &Path) -> String {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(database) = Connection::open_with_flags(path, flags) else {
        return UNREADABLE.to_owned();
    };
    let counts = KINDS.map(|kind| {
        let count: u64 = database.query_row(kind.query, [], |row| row.get(0)).ok()?;
        let noun = if count == 1 {
            kind.singular
        } else {
            kind.plural
        };
        Some((count, noun))
    });
    let read: Vec<_> = counts.iter().flatten().collect();
    let waiting: Vec<_> = read
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| format!("{count} {noun}"))
        .collect();
    let rest = match read.len() {
        0 => return UNREADABLE.to_owned(),
        read if read < KINDS.len() => ", as far as can be read",
        _ => "",
    };
    match waiting.as_slice() {
        [] => format!("nothing waits in it{rest}"),
        [one] if one.starts_with("1 ") => format!("{one} waits in it{rest}"),
        [one] => format!("{one} wait in it{rest}"),
        [all @ .., last] => format!("{} and {last} wait in it{rest}", all.join(", ")),
    }
}

const UNREADABLE: &str = "its content can't be read";
