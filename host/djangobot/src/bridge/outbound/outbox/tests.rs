//! Tests of the outbox, with a real state file.

use std::path::Path;

use djangobot_channels::{Delivery, Place, Serializer, Wire};
use rusqlite::Connection;

use super::*;
use crate::bridge::outbound::outbox::rows::MAX_REMEMBERED;
use crate::state::State;

/// An outbox that was just opened, with what it found in its state.
struct OpenedOutbox {
    outbox: Outbox,
    newest: u64,
    is_in_doubt: bool,
    state: State,
}

async fn open(folder: &Path) -> OpenedOutbox {
    let state = State::open(folder).unwrap();
    let (outbox, left) = Outbox::open(state.journal().unwrap(), folder)
        .await
        .unwrap();
    OpenedOutbox {
        outbox,
        newest: left.newest,
        is_in_doubt: left.is_in_doubt,
        state,
    }
}

/// All messages.
fn all() -> NumberRange {
    NumberRange {
        after: 0,
        upto: 1 << 40,
    }
}

async fn texts(outbox: &Outbox) -> Vec<String> {
    let page = outbox.read(all(), 10_000, usize::MAX).await.unwrap();
    let text = |entry: &StoredMessage| String::from_utf8(entry.message.to_vec()).unwrap();
    page.entries.iter().map(text).collect()
}

/// The row of a message that was stored.
fn row_of(result: PutResult) -> RowId {
    match result {
        PutResult::Stored(row) => row,
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn messages_come_back_in_order_after_a_restart_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let OpenedOutbox {
        outbox,
        newest,
        state,
        ..
    } = open(folder.path()).await;
    assert_eq!((newest, outbox.messages(), outbox.bytes()), (0, 0, 0));
    let mut rows = Vec::new();
    for name in ["a", "b", "c"] {
        rows.push(row_of(
            outbox
                .put(MessageKey::new(), text(name), None)
                .await
                .unwrap(),
        ));
    }
    let files = ["F1".to_owned(), "F2".to_owned()];
    let since = Ts::from_micros(12_500_000);
    outbox.note_begun(rows[1], since, &files).await.unwrap();
    outbox
        .note_outcome(rows[2], text("{}"), Some("1.2".into()))
        .await
        .unwrap();
    outbox.finish(rows[0], None).await.unwrap();
    let figures = (outbox.messages(), outbox.bytes());
    drop((outbox, state));

    let OpenedOutbox { outbox, newest, .. } = open(folder.path()).await;
    assert_eq!((newest, (outbox.messages(), outbox.bytes())), (3, figures));
    let page = outbox.read(all(), 10, 1 << 20).await.unwrap();
    let seen: Vec<_> = page
        .entries
        .iter()
        .map(|entry| (&*entry.message, entry.begun, entry.outcome.is_some()))
        .collect();
    assert_eq!(
        seen,
        [(&b"b"[..], Some(since), false), (&b"c"[..], None, true)]
    );
    assert_eq!(page.entries[0].files, files);
    assert_eq!((page.last, page.is_end), (3, true));
    let page = outbox
        .read(NumberRange { after: 0, upto: 2 }, 10, 1 << 20)
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.last, page.is_end), (1, 2, true));
    assert!(outbox.is_known("1.2").await.unwrap() && !outbox.is_known("1.3").await.unwrap());
    outbox.clear_begun(rows[1]).await.unwrap();
    assert_eq!(
        outbox
            .read(NumberRange { after: 1, ..all() }, 1, 1)
            .await
            .unwrap()
            .entries[0]
            .begun,
        None
    );
    let next = row_of(
        outbox
            .put(MessageKey::new(), text("d"), None)
            .await
            .unwrap(),
    );
    assert_eq!(next.number(), 4);
}

#[tokio::test]
async fn a_message_is_recognised_even_after_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let OpenedOutbox { outbox, .. } = open(folder.path()).await;
    let key = MessageKey::new();
    let row = row_of(outbox.put(key, text("a"), None).await.unwrap());
    assert_eq!(
        outbox.put(key, text("a"), None).await.unwrap(),
        PutResult::Known
    );
    outbox.finish(row, None).await.unwrap();
    assert_eq!(
        outbox.put(key, text("a"), None).await.unwrap(),
        PutResult::Known
    );
    assert_eq!((outbox.messages(), outbox.bytes()), (0, 0));
    // Twice is once.
    outbox.finish(row, None).await.unwrap();
    assert_eq!((outbox.messages(), outbox.bytes()), (0, 0));
}

#[tokio::test]
async fn only_the_newest_finished_messages_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let OpenedOutbox { outbox, state, .. } = open(folder.path()).await;
    let (oldest, newest) = (MessageKey::new(), MessageKey::new());
    outbox
        .put(MessageKey::new(), text("waiting"), None)
        .await
        .unwrap();
    let row = row_of(outbox.put(oldest, text("x"), None).await.unwrap());
    outbox.finish(row, None).await.unwrap();
    // As many as are remembered, finished.
    let many = |database: &Connection| {
        let sql = "WITH RECURSIVE n(n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                   INSERT INTO outbox (id, key, at) SELECT n * 65536, randomblob(16), 0 FROM n";
        database.execute(sql, [MAX_REMEMBERED + 2])
    };
    state.journal().unwrap().write(many).await.unwrap();
    assert_eq!(
        outbox.put(oldest, text("x"), None).await.unwrap(),
        PutResult::Known
    );
    for n in 0..FORGET_EVERY {
        let key = if n == 0 { newest } else { MessageKey::new() };
        let row = row_of(outbox.put(key, text("x"), None).await.unwrap());
        outbox.finish(row, None).await.unwrap();
    }
    assert_eq!(
        outbox.put(newest, text("x"), None).await.unwrap(),
        PutResult::Known
    );
    row_of(outbox.put(oldest, text("x"), None).await.unwrap());
    assert_eq!(texts(&outbox).await, ["waiting", "x"]);
}

#[tokio::test]
async fn the_result_of_the_plugins_takes_the_place_of_a_message_and_stays_together() {
    let folder = tempfile::tempdir().unwrap();
    let OpenedOutbox { outbox, state, .. } = open(folder.path()).await;
    let (key, other) = (MessageKey::new(), MessageKey::new());
    let first = row_of(outbox.put(key, text("1"), None).await.unwrap());
    row_of(outbox.put(other, text("2"), None).await.unwrap());
    let passed = PluginResult {
        message: Some(text("1 edited")),
        outcome: None,
        emitted: vec![
            (key.emitted(0), text("1 emitted")),
            (key.emitted(1), text("1 emitted too")),
        ],
        messages: vec![text("3 of a plugin's own")],
    };
    let places = outbox.put_plugin_result(first, passed).await.unwrap();
    assert_eq!(
        (places.emitted.len(), places.newest.unwrap().number()),
        (2, 3)
    );
    let (order, figures) = (texts(&outbox).await, (outbox.messages(), outbox.bytes()));
    assert_eq!(
        order,
        [
            "1 edited",
            "1 emitted",
            "1 emitted too",
            "2",
            "3 of a plugin's own"
        ]
    );
    drop((outbox, state));

    let OpenedOutbox { outbox, state, .. } = open(folder.path()).await;
    assert_eq!((outbox.messages(), outbox.bytes()), figures);
    let page = outbox.read(all(), 1, usize::MAX).await.unwrap();
    let passed: Vec<_> = page.entries.iter().map(|entry| entry.passed).collect();
    assert_eq!((passed, page.last, page.is_end), (vec![true; 3], 1, false));
    let page = outbox
        .read(
            NumberRange {
                after: page.last,
                ..all()
            },
            10,
            usize::MAX,
        )
        .await
        .unwrap();
    let passed: Vec<_> = page.entries.iter().map(|entry| entry.passed).collect();
    assert_eq!((passed, page.last, page.is_end), (vec![false; 2], 3, true));

    // A dead letter is what the app sent.
    let letter = DeadLetter::new("slack.send", "no_text", "It has none.", b"");
    let id = outbox.dead_letter(first, letter).await.unwrap();
    assert_eq!(state.dead_letter(id).unwrap().unwrap().message, b"1");
    for row in places.emitted {
        outbox.finish(row, None).await.unwrap();
    }
    assert_eq!(texts(&outbox).await, ["2", "3 of a plugin's own"]);
    assert_eq!(outbox.messages(), 2);
}

#[tokio::test]
async fn a_message_that_plugins_dropped_has_its_outcome_and_those_emitted_with_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let OpenedOutbox { outbox, .. } = open(folder.path()).await;
    let key = MessageKey::new();
    let row = row_of(outbox.put(key, text("1"), None).await.unwrap());
    let passed = PluginResult {
        outcome: Some(text("dropped")),
        emitted: vec![(key.emitted(0), text("1 emitted"))],
        ..PluginResult::default()
    };
    outbox.put_plugin_result(row, passed).await.unwrap();
    let page = outbox.read(all(), 10, usize::MAX).await.unwrap();
    let seen: Vec<_> = page
        .entries
        .iter()
        .map(|entry| (&*entry.message, entry.outcome.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (&b"1"[..], Some(&b"dropped"[..])),
            (&b"1 emitted"[..], None)
        ]
    );
}

#[test]
fn a_key_is_made_of_member_and_place_and_is_random_for_a_broadcast() {
    let wire = |head, sealed| Wire {
        serializer: Serializer::Msgpack,
        head,
        sealed,
    };
    let delivery = |member: &'static str, host, score| Delivery {
        member: Bytes::from_static(member.as_bytes()),
        payload: Ok(Bytes::new()),
        place: Place { host, score },
        redelivered: false,
        channel: None,
    };
    let given = delivery("a", 0, 1.5);
    let key = MessageKey::of(&given, wire(12, false));
    assert_eq!(key, MessageKey::of(&delivery("a", 0, 1.5), wire(12, false)));
    for other in [
        delivery("b", 0, 1.5),
        delivery("a", 1, 1.5),
        delivery("a", 0, 2.5),
    ] {
        assert_ne!(key, MessageKey::of(&other, wire(12, false)));
    }
    let broadcast = delivery("a", 0, 0.0);
    let check = |wire, is_same| {
        let same = MessageKey::of(&broadcast, wire) == MessageKey::of(&broadcast, wire);
        assert_eq!(same, is_same, "{wire}");
    };
    check(wire(0, false), false);
    check(wire(12, false), true);
    check(wire(0, true), true);
    assert_ne!(key.emitted(0), key.emitted(1));
    assert_eq!(key.to_string().len(), 32);
}

#[tokio::test]
async fn a_missing_note_is_remembered_until_all_messages_are_finished() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).await;
    assert!(!opened.is_in_doubt);
    let row = opened
        .outbox
        .put(MessageKey::new(), text("a"), None)
        .await
        .unwrap();
    drop(opened);
    let opened = open(folder.path()).await;
    assert!(!opened.is_in_doubt, "a restart alone is no reason");
    opened.outbox.note_gap();
    opened.outbox.note_gap();
    drop(opened);
    let opened = open(folder.path()).await;
    assert!(opened.is_in_doubt);
    drop(opened);
    let opened = open(folder.path()).await;
    assert!(opened.is_in_doubt, "it still is, where nothing was done");
    opened.outbox.finish(row_of(row), None).await.unwrap();
    opened
        .outbox
        .put(MessageKey::new(), text("b"), None)
        .await
        .unwrap();
    drop(opened);
    assert!(!open(folder.path()).await.is_in_doubt);
}

#[tokio::test]
async fn after_a_message_that_the_disk_refused_later_ones_are_refused_until_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).await;
    let (outbox, journal) = (&opened.outbox, opened.state.journal().unwrap());
    let keys = [(); 4].map(|()| MessageKey::new());
    let keep =
        |at: usize, name| outbox.put(keys[at], text(name), at.checked_sub(1).map(|it| keys[it]));
    row_of(keep(0, "a").await.unwrap());
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END";
    let change = |sql: &'static str| journal.write(|database| database.execute_batch(sql));
    change(refuse).await.unwrap();
    assert!(keep(1, "b").await.is_err());
    change("DROP TRIGGER refuse").await.unwrap();
    assert_eq!(keep(2, "c").await.unwrap(), PutResult::Gap);
    assert_eq!(keep(3, "d").await.unwrap(), PutResult::Gap);
    for (at, name) in ["b", "c", "d"].into_iter().enumerate() {
        row_of(keep(at + 1, name).await.unwrap());
    }
    assert_eq!(texts(outbox).await, ["a", "b", "c", "d"]);
    outbox.finish(RowId::first(3), None).await.unwrap();
    assert_eq!(keep(2, "c").await.unwrap(), PutResult::Known, "finished");
    assert_eq!(keep(3, "d").await.unwrap(), PutResult::Known);
}
