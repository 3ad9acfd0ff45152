//! What waits in a state file that can't be used, as far as it can be read.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// A query for a count, and what is counted: one, several.
const KINDS: [(&str, &str, &str); 3] = [
    (
        "SELECT count(*) FROM spool",
        "event for the app",
        "events for the app",
    ),
    (
        "SELECT count(message) FROM outbox",
        "message for Slack",
        "messages for Slack",
    ),
    (
        "SELECT count(*) FROM dead_letters",
        "dead letter",
        "dead letters",
    ),
];

/// A clause that says it, such as "2 events for the app and 1 dead letter wait in it".
pub(super) fn describe(path: &Path) -> String {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(database) = Connection::open_with_flags(path, flags) else {
        return UNREADABLE.to_owned();
    };
    let counts = KINDS.map(|(query, one, several)| {
        let count: u64 = database.query_row(query, [], |row| row.get(0)).ok()?;
        Some((count, if count == 1 { one } else { several }))
    });
    let read: Vec<_> = counts.iter().flatten().collect();
    let waiting: Vec<_> = read
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
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

const UNREADABLE: &str = "what waits in it can't be read";
