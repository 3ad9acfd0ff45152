use super::*;
use crate::embedded::list::End;

fn add(keyspace: &mut Keyspace<'_>, key: &[u8], member: &[u8]) {
    keyspace
        .edit(key, MissingKey::Create, |set: &mut SortedSet| {
            set.insert(member, 1.0)
        })
        .unwrap();
}

fn changed(store: &mut Store) -> Vec<(usize, String)> {
    store
        .take_changed()
        .into_iter()
        .map(|it| (it.database, String::from_utf8(it.key.to_vec()).unwrap()))
        .collect()
}

#[test]
fn a_key_goes_when_its_time_has_come() {
    let mut store = Store::new(1 << 20);
    add(&mut store.at(0, 1000), b"k", b"m");
    assert!(store.at(0, 1000).set_deadline(b"k", Some(1500)));
    assert_eq!(store.at(0, 1499).expiry(b"k"), Expiry::At(1500));
    assert!(store.at(0, 1500).get(b"k").is_none());
    assert_eq!(store.used(), 0);
    assert!(!store.at(0, 1500).set_deadline(b"k", None));
}

#[test]
fn expired_keys_go_without_being_asked_for() {
    let mut store = Store::new(1 << 20);
    for (database, key, deadline) in [(0, b"a", 10), (3, b"b", 20), (3, b"c", 30)] {
        add(&mut store.at(database, 0), key, b"m");
        store.at(database, 0).set_deadline(key, Some(deadline));
    }
    store.expire(20);
    let left = Census {
        database: 3,
        keys: 1,
        expiring: 1,
    };
    assert_eq!(store.census().collect::<Vec<_>>(), [left]);
}

#[test]
fn an_emptied_collection_removes_its_key_and_takes_no_memory() {
    let mut store = Store::new(1 << 20);
    let mut keyspace = store.at(0, 0);
    add(&mut keyspace, b"k", b"m");
    keyspace
        .edit(b"k", MissingKey::Ignore, SortedSet::pop_first)
        .unwrap();
    keyspace
        .edit(b"l", MissingKey::Create, |list: &mut List| {
            list.push(End::Left, b"x")
        })
        .unwrap();
    keyspace
        .edit(b"l", MissingKey::Ignore, |list: &mut List| {
            list.pop(End::Right)
        })
        .unwrap();
    assert_eq!(keyspace.len(), 0);
    assert_eq!(store.used(), 0);
}

#[test]
fn a_value_of_another_kind_is_left_alone() {
    let mut store = Store::new(1 << 20);
    let mut keyspace = store.at(0, 0);
    keyspace.set_text(b"k", b"text", None);
    let refused = keyspace.edit(b"k", MissingKey::Create, |list: &mut List| {
        list.push(End::Left, b"x")
    });
    assert_eq!(refused, Err(CommandError::WrongType));
    assert_eq!(keyspace.text(b"k").unwrap().unwrap(), &b"text"[..]);
}

#[test]
fn only_changed_keys_are_reported() {
    let mut store = Store::new(1 << 20);
    add(&mut store.at(2, 0), b"k", b"m");
    assert_eq!(changed(&mut store), [(2, "k".to_owned())]);
    // The same member with the same score, and a read of a key that does not exist.
    add(&mut store.at(2, 0), b"k", b"m");
    store
        .at(2, 0)
        .edit(b"none", MissingKey::Ignore, SortedSet::pop_first)
        .unwrap();
    assert_eq!(changed(&mut store), []);
    store.at(2, 0).clear();
    assert_eq!(changed(&mut store), [(2, "k".to_owned())]);
}

#[test]
fn used_memory_counts_up_and_down_to_nothing() {
    let mut store = Store::new(10_000);
    let mut keyspace = store.at(0, 0);
    for index in 0..20u8 {
        add(&mut keyspace, &[index % 3], &[index; 50]);
        keyspace.set_text(&[b't', index % 2], &[0; 100], Some(u64::from(index) + 1));
    }
    assert!(keyspace.room() < 10_000 - 20 * 50);
    for key in [&[0][..], &[1], &[2], b"t\0", b"t\x01"] {
        assert!(keyspace.remove(key));
    }
    assert_eq!(store.used(), 0);
}
