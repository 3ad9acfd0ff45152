//! Tests of the state, as commands and a bridge use it.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn facts_and_the_host_id_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let id = state.host_id().unwrap();
    state.set_fact("k", b"v").unwrap();
    drop(state);
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.host_id().unwrap(), id);
    assert_eq!(state.fact("k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn folder_and_file_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state");
    State::open(&folder).unwrap().set_fact("k", b"v").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("state.db")), 0o600);
}

#[test]
fn a_second_host_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = State::open(folder.path()).unwrap();
    assert!(matches!(
        State::open(folder.path()),
        Err(StateError::InUse { .. })
    ));
}

#[test]
fn a_newer_or_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(State::open(folder.path()).unwrap());
    let path = folder.path().join("state.db");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        State::open(folder.path()),
        Err(StateError::Newer { found: 99, .. })
    ));
    std::fs::write(&path, b"not a database, by far not one at all").unwrap();
    for more in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(more));
    }
    let damaged = State::open(folder.path()).err().unwrap();
    assert!(matches!(damaged, StateError::Damaged { .. }), "{damaged:?}");
    assert!(
        damaged.to_string().ends_with("its content can't be read"),
        "{damaged}"
    );
}

#[test]
fn dead_letters_are_kept_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let letter = DeadLetter::new("slack.send", "no_text", "It has no text.", b"{}");
    assert_eq!(state.add_dead_letter(&letter).unwrap(), 1);
    assert_eq!(state.add_dead_letter(&letter).unwrap(), 2);
    assert_eq!(state.dead_letter_count().unwrap(), 2);
    let second = State::open_shared(folder.path()).unwrap();
    second.forget_dead_letter(1).unwrap();
    assert!(state.dead_letter(1).unwrap().is_none());
    let left = state.dead_letters().unwrap();
    assert_eq!(
        (left.len(), left[0].id, left[0].error.as_str()),
        (1, 2, "no_text")
    );
}

#[test]
fn a_state_that_can_not_be_used_is_reported_with_what_waits_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let letter = DeadLetter::new("slack.send", "no_text", "It has no text.", &[b'x'; 9000]);
    state.add_dead_letter(&letter).unwrap();
    let path = folder.path().join("state.db");
    let database = Connection::open(&path).unwrap();
    let fill = "INSERT INTO spool (channel, id, wire, member) VALUES ('slack.message', 'a', 'msgpack', x'00'), ('b', 'b', 'msgpack', x'00');
        INSERT INTO outbox (key, at, message) VALUES (x'01', 1.0, '{}'), (x'02', 1.0, NULL);";
    database.execute_batch(fill).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop((state, database));
    let newer = State::open(folder.path()).err().unwrap().to_string();
    let waits = "2 events for the app, 1 message for Slack and 1 dead letter wait in it";
    assert!(newer.ends_with(waits), "{newer}");

    let database = Connection::open(&path).unwrap();
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 'outbox'";
    let page: u64 = database.query_row(root, [], |row| row.get(0)).unwrap();
    let size: u64 = database
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    database
        .pragma_update(None, "user_version", MIGRATIONS.len())
        .unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(database);
    let mut bytes = std::fs::read(&path).unwrap();
    let start = ((page - 1) * size) as usize;
    bytes[start..start + size as usize].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let state = State::open(folder.path()).unwrap();
    let damaged = state
        .with(|database| {
            database.query_row("SELECT sum(length(message)) FROM outbox", [], |_| Ok(()))
        })
        .unwrap_err();
    let said = damaged.to_string();
    assert!(
        said.ends_with("2 events for the app and 1 dead letter wait in it, as far as can be read"),
        "{said}"
    );
}
