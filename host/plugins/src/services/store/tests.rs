//! Tests of the store, in memory and in a file.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rusqlite::params;

use super::*;
use crate::services::store::database::{ROUND, SUM};
use crate::services::store::item::ITEM;

const ROOMY: u64 = 16 << 20;

fn memory() -> Store {
    Store::in_memory().unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugins.db");
    (folder, path)
}

fn text(store: &PluginStore, key: &str) -> Option<String> {
    store
        .get(key)
        .unwrap()
        .map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn a_value_outlives_the_process() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap().of("one", ROOMY).unwrap();
    store.set("k", b"\x00\xff", None).unwrap();
    store.set("k", b"v", None).unwrap();
    store.set("gone", b"v", None).unwrap();
    store.delete("gone").unwrap();
    store.delete("never was").unwrap();
    drop(store);
    let store = Store::open(&path).unwrap().of("one", ROOMY).unwrap();
    assert_eq!(text(&store, "k").as_deref(), Some("v"));
    assert_eq!(text(&store, "gone"), None);
}

#[test]
fn a_value_outlives_a_process_that_does_not_close_its_file() {
    let (folder, path) = folder();
    let store = Store::open(&path).unwrap();
    store
        .of("one", ROOMY)
        .unwrap()
        .set("k", b"v", None)
        .unwrap();
    // The files as a killed process leaves them: nothing is closed, nothing is checkpointed.
    let copy = folder.path().join("copy.db");
    for end in ["", "-wal"] {
        let from = format!("{}{end}", path.display());
        std::fs::copy(from, format!("{}{end}", copy.display())).unwrap();
    }
    let copy = Store::open(&copy).unwrap().of("one", ROOMY).unwrap();
    assert_eq!(text(&copy, "k").as_deref(), Some("v"));
}

#[test]
fn a_plugin_sees_its_own_keys_alone() {
    let store = memory();
    let (one, two) = (
        store.of("one", ROOMY).unwrap(),
        store.of("two", ROOMY).unwrap(),
    );
    one.set("k", b"1", None).unwrap();
    assert_eq!(text(&two, "k"), None);
    two.set("k", b"2", None).unwrap();
    two.delete("k").unwrap();
    assert_eq!(text(&one, "k").as_deref(), Some("1"));
    let odd = store.of("one' OR 1=1 --", ROOMY).unwrap();
    assert_eq!(text(&odd, "k"), None);
    store.forget("one").unwrap();
    assert_eq!(text(&one, "k"), None);
    assert_eq!(store.usage("one"), Ok(0));
}

#[test]
fn an_expired_value_is_not_found() {
    let store = memory().of("one", ROOMY).unwrap();
    store.set("now", b"v", Some(0)).unwrap();
    store.set("soon", b"5", Some(30)).unwrap();
    store.set("never", b"v", Some(u64::MAX)).unwrap();
    assert_eq!(text(&store, "now"), None);
    assert_eq!(store.increment("soon", 1), Ok(6));
    sleep(Duration::from_millis(40));
    assert_eq!(text(&store, "soon"), None, "an increment prolongs nothing");
    assert_eq!(store.increment("soon", 1), Ok(1));
    assert_eq!(text(&store, "never").as_deref(), Some("v"));
    store.set("never", b"v", Some(0)).unwrap();
    store.set("never", b"w", None).unwrap();
    assert_eq!(text(&store, "never").as_deref(), Some("w"));
}

#[test]
fn expired_items_make_room_and_are_swept() {
    let all = memory();
    let store = all.of("one", 9 * (10 + ITEM) + 10).unwrap();
    for key in 0..9 {
        store.set(&key.to_string(), b"012345678", Some(1)).unwrap();
    }
    assert_eq!(all.usage("one"), Ok(9 * (10 + ITEM)));
    sleep(Duration::from_millis(5));
    store.set("new", &[0; 50], None).unwrap();
    assert_eq!(all.usage("one"), Ok(53 + ITEM));

    let roomy = all.of("two", ROOMY).unwrap();
    for key in 0..ROUND {
        roomy.set(&key.to_string(), b"", Some(0)).unwrap();
    }
    sleep(Duration::from_millis(5));
    for _ in 0..ROUND {
        roomy.set("k", b"", None).unwrap();
    }
    assert_eq!(all.usage("two"), Ok(1 + ITEM));
    assert_eq!(counted(&all, "two"), 1 + ITEM);
}

#[test]
fn the_quota_counts_keys_and_values() {
    let all = memory();
    let room = 10 + 2 * ITEM;
    let store = all.of("one", room).unwrap();
    let over = |what, bytes, allowed| {
        Err(StoreError::OverQuota {
            what,
            bytes,
            allowed,
        })
    };
    store.set("ab", b"12345678", None).unwrap();
    assert_eq!(store.set("c", b"", None), over("the store", room + 1, room));
    store.set("ab", b"1234567", None).unwrap();
    store.set("c", b"", None).unwrap();
    assert_eq!(
        store.set("c", b"1", None),
        over("the store", room + 1, room)
    );
    assert_eq!(text(&store, "c").as_deref(), Some(""));
    store.delete("ab").unwrap();
    store.delete("ab").unwrap();
    assert_eq!(all.usage("one"), Ok(1 + ITEM));
    // The sum in memory is the sum in the file.
    assert_eq!(counted(&all, "one"), 1 + ITEM);

    let roomy = all.of("two", ROOMY).unwrap();
    let (key, value) = ("k".repeat(MAX_KEY + 1), vec![0; MAX_VALUE + 1]);
    assert_eq!(
        roomy.set("k", &value, None),
        over("the value", MAX_VALUE as u64 + 1, MAX_VALUE as u64)
    );
    assert_eq!(
        roomy.set(&key, b"", None),
        over("the key", MAX_KEY as u64 + 1, MAX_KEY as u64)
    );
    assert!(roomy.get(&key).is_err() && roomy.delete(&key).is_err());
    assert!(roomy.increment(&key, 1).is_err());
    roomy.set(&key[1..], &value[1..], None).unwrap();
    assert_eq!(roomy.get(&key[1..]).unwrap().unwrap().len(), MAX_VALUE);
}

/// The bytes in the file, whatever the sum in memory is.
fn counted(store: &Store, plugin: &str) -> u64 {
    let shelves = store.shelves();
    shelves
        .database
        .query_row(SUM, params![plugin, ITEM], |row| row.get(0))
        .unwrap()
}

#[test]
fn numbers_are_decimal_digits_and_never_wrap() {
    let store = memory().of("one", ROOMY).unwrap();
    assert_eq!(store.increment("n", 5), Ok(5));
    assert_eq!(store.increment("n", -7), Ok(-2));
    assert_eq!(text(&store, "n").as_deref(), Some("-2"));
    for (value, by) in [
        ("x", 0),
        ("", 1),
        ("1.5", 1),
        ("9223372036854775808", 0),
        ("9223372036854775807", 1),
        ("-9223372036854775808", -1),
    ] {
        store.set("n", value.as_bytes(), None).unwrap();
        assert_eq!(store.increment("n", by), Err(StoreError::NotANumber));
        assert_eq!(text(&store, "n").as_deref(), Some(value));
    }
    store.set("n", b"\xff", None).unwrap();
    assert_eq!(store.increment("n", 1), Err(StoreError::NotANumber));
}

#[test]
fn a_number_counts_right_under_many_threads() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mine = store.of("one", ROOMY).unwrap();
            scope.spawn(move || {
                for _ in 0..100 {
                    mine.increment("n", 1).unwrap();
                }
            });
        }
    });
    assert_eq!(
        text(&store.of("one", ROOMY).unwrap(), "n").as_deref(),
        Some("400")
    );
}

#[test]
fn a_shadow_reads_through_and_writes_nothing() {
    let all = memory();
    let store = all.of("one", 13 + 3 * ITEM).unwrap();
    store.set("a", b"1", None).unwrap();
    store.set("b", b"1", None).unwrap();
    let shadow = store.shadow();
    assert_eq!(shadow.increment("a", 1), Ok(2));
    shadow.delete("b").unwrap();
    shadow.set("c", b"12345", None).unwrap();
    shadow.set("soon", b"", Some(0)).unwrap();
    assert_eq!(text(&shadow, "a").as_deref(), Some("2"));
    assert_eq!(text(&shadow, "b"), None);
    assert_eq!(text(&shadow, "soon"), None);
    // "a2", "c12345" and "soon" are three items, as many as fit.
    assert!(shadow.set("d", b"", None).is_err());
    shadow.delete("soon").unwrap();
    shadow.set("d", b"1", None).unwrap();

    let again = shadow.shadow();
    again.set("a", b"3", None).unwrap();
    assert_eq!(text(&again, "c").as_deref(), Some("12345"));
    assert_eq!(text(&shadow.clone(), "a").as_deref(), Some("2"));

    assert_eq!(text(&store, "a").as_deref(), Some("1"));
    assert_eq!(text(&store, "b").as_deref(), Some("1"));
    assert_eq!(text(&store, "c"), None);
    assert_eq!(all.usage("one"), Ok(4 + 2 * ITEM));
}

#[test]
fn another_process_on_the_file_is_counted_too() {
    let (_folder, path) = folder();
    let (here, there) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    let room = 10 + ITEM;
    here.of("one", room)
        .unwrap()
        .set("k", b"12345678", None)
        .unwrap();
    there.of("one", room).unwrap().set("k", b"1", None).unwrap();
    assert_eq!(here.usage("one"), Ok(2 + ITEM));
    there.forget("one").unwrap();
    here.of("one", room)
        .unwrap()
        .set("l", b"123456789", None)
        .unwrap();
}

#[test]
fn a_newer_or_damaged_file_is_named() {
    let (_folder, path) = folder();
    drop(Store::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let check = |says: &str| {
        let Err(StoreError::Unavailable(why)) = Store::open(&path) else {
            panic!("it opened");
        };
        assert!(why.contains(says) && why.contains("plugins.db"), "{why}");
    };
    check("its format is 99");
    std::fs::write(&path, b"not a database, by far not one at all").unwrap();
    check("not a database");
}

/// Not a test, but a measurement: it prints the time of a call.
#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture what_a_call_costs"]
fn what_a_call_costs() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap().of("one", ROOMY).unwrap();
    let run = |what: &str, call: &dyn Fn(u32)| {
        let mut took: Vec<_> = (0..20_000)
            .map(|round| {
                let start = std::time::Instant::now();
                call(round);
                start.elapsed()
            })
            .collect();
        took.sort();
        let at = |share: f64| took[(took.len() as f64 * share) as usize];
        #[expect(clippy::print_stderr, reason = "it is what the measurement is for")]
        {
            eprintln!(
                "{what}: p50 {:?} p99 {:?} p99.9 {:?} most {:?}",
                at(0.5),
                at(0.99),
                at(0.999),
                took[took.len() - 1]
            );
        }
    };
    let key = |round: u32| format!("key-{}", round % 2_000);
    run("set", &|round| {
        store.set(&key(round), &[7; 100], None).unwrap()
    });
    run("set with ttl", &|round| {
        store.set(&key(round), &[7; 100], Some(60_000)).unwrap()
    });
    run("get", &|round| drop(store.get(&key(round)).unwrap()));
    run("increment", &|_| assert!(store.increment("n", 1).is_ok()));
}

fn write(key: &str, value: Option<&str>) -> StoreWrite {
    StoreWrite {
        key: key.into(),
        value: value.map(|value| value.as_bytes().to_vec()),
        ttl_ms: None,
    }
}

#[test]
fn keys_are_listed_by_prefix_in_order_and_in_pages_also_in_a_rehearsal() {
    let store = Store::in_memory().unwrap();
    let own = store.of("a", 1 << 20).unwrap();
    for key in ["b", "a/2", "a/1", "a/3", "a", "a0", "\u{e4}/1"] {
        own.set(key, b"v", None).unwrap();
    }
    store
        .of("other", 1 << 20)
        .unwrap()
        .set("a/4", b"v", None)
        .unwrap();
    own.set("a/0", b"v", Some(0)).unwrap();
    let check = |of: &PluginStore, prefix: &str, after, limit, expect: &[&str]| {
        assert_eq!(
            of.keys(prefix, after, limit).unwrap(),
            expect,
            "{prefix} {after:?} {limit}"
        );
    };
    check(&own, "a/", None, 100, &["a/1", "a/2", "a/3"]);
    check(&own, "a/", None, 2, &["a/1", "a/2"]);
    check(&own, "a/", Some("a/2"), 2, &["a/3"]);
    check(&own, "\u{e4}", None, 9, &["\u{e4}/1"]);
    check(&own, "a/", None, 0, &[]);
    check(&own, "", None, 3, &["a", "a/1", "a/2"]);
    let shadow = own.shadow();
    shadow.delete("a/1").unwrap();
    shadow.set("a/15", b"v", None).unwrap();
    check(&shadow, "a/", None, 2, &["a/15", "a/2"]);
    check(&own, "a/", None, 2, &["a/1", "a/2"]);
}

#[test]
fn several_writes_are_made_all_or_none() {
    let store = Store::in_memory().unwrap();
    let own = store.of("a", 200).unwrap();
    own.set("old", b"v", None).unwrap();
    for of in [&own, &own.shadow()] {
        let large = "x".repeat(200);
        let error = of.set_many(&[
            write("new", Some("v")),
            write("old", None),
            write("large", Some(&large)),
        ]);
        assert!(
            matches!(error, Err(StoreError::OverQuota { .. })),
            "{error:?}"
        );
        let keys = ["new".into(), "old".into()];
        assert_eq!(of.get_many(&keys).unwrap(), [None, Some(b"v".to_vec())]);
        of.set_many(&[write("new", Some("v")), write("old", None)])
            .unwrap();
        assert_eq!(of.get_many(&keys).unwrap(), [Some(b"v".to_vec()), None]);
        of.set_many(&[write("new", None), write("old", Some("v"))])
            .unwrap();
    }
    assert_eq!(store.usage("a").unwrap(), 3 + 1 + ITEM);
}

#[test]
fn a_value_is_set_only_if_it_is_as_expected() {
    let store = Store::in_memory().unwrap();
    let own = store.of("a", 1 << 20).unwrap();
    for of in [&own.shadow(), &own] {
        let set = |expected: Option<&str>, value| {
            let expected = expected.map(str::as_bytes);
            of.compare_and_set(expected, &write("k", value)).unwrap()
        };
        assert!(!set(Some("1"), Some("2")));
        assert!(set(None, Some("1")));
        assert!(!set(None, Some("2")));
        assert!(set(Some("1"), Some("2")));
        assert!(set(Some("2"), None));
        assert_eq!(of.get("k").unwrap(), None);
    }
    // Of many who count at once, each counts.
    let count = || {
        for _ in 0..50 {
            loop {
                let before = own.get("n").unwrap();
                let number = before.as_deref().map_or(0, |it| decimal(it).unwrap());
                let next = write("n", Some(&(number + 1).to_string()));
                if own.compare_and_set(before.as_deref(), &next).unwrap() {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(count);
        }
    });
    assert_eq!(own.get("n").unwrap().unwrap(), b"200");
}
