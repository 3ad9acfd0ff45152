//! Events asked and edited.

use super::*;
use crate::MAX_DEPTH;

const MESSAGE: &str = r#"{"type":"message","user":"U1","n":-7,"big":18446744073709551615,"x":1.5,"yes":true,"none":null,
 "caf\u00e9":"\ud83d\ude00\n","a/b":{"m~n":[10,[20,{"deep":"er"}],30]},"":"empty","huge":123456789012345678901234567890}"#;

fn event(text: &str) -> Event {
    Event::parse(text.to_owned()).unwrap()
}

fn json(event: &Event) -> String {
    let mut text = Vec::new();
    event.write_json(&mut text);
    String::from_utf8(text).unwrap()
}

/// The view of a reader of the msgpack, as JSON.
fn msgpack(event: &Event) -> serde_json::Value {
    let mut payload = Vec::new();
    event.write_msgpack(&mut payload);
    rmp_serde::from_slice(&payload).unwrap()
}

#[test]
fn only_an_object_is_an_event() {
    let check = |text: &'static str, found| {
        assert_eq!(
            Event::parse(text).unwrap_err(),
            ParseError::NotAnObject { found }
        );
    };
    check("null", "null");
    check("true", "a boolean");
    check("1", "a number");
    check("123456789012345678901234567890", "a number");
    check("\"{}\"", "a string");
    check(" [{}]", "an array");
    assert_eq!(json(&event(" {} ")), " {} ");
}

#[test]
fn values_are_found_by_pointer() {
    let event = event(MESSAGE);
    let check = |pointer, expect| assert_eq!(event.get(pointer), expect, "{pointer}");
    check("/type", Some(Value::Text("message".into())));
    check("/n", Some(Value::Int(-7)));
    check("/big", Some(Value::UInt(u64::MAX)));
    check("/x", Some(Value::Float(1.5)));
    check("/yes", Some(Value::Bool(true)));
    check("/none", Some(Value::Null));
    check("/café", Some(Value::Text("😀\n".into())));
    check("/", Some(Value::Text("empty".into())));
    check(
        "/huge",
        Some(Value::Json("123456789012345678901234567890".into())),
    );
    check("/a~1b/m~0n/0", Some(Value::Int(10)));
    check("/a~1b/m~0n/1/1/deep", Some(Value::Text("er".into())));
    check(
        "/a~1b/m~0n/1",
        Some(Value::Json(r#"[20,{"deep":"er"}]"#.into())),
    );
    check("", Some(Value::Json(MESSAGE.into())));
    for missing in [
        "/nope",
        "type",
        "/type/0",
        "/a~1b/m~0n/3",
        "/a~1b/m~0n/-",
        "/a~1b/m~0n/01",
        "/~2",
        "/a/b",
        "/__proto__",
    ] {
        check(missing, None);
    }
    assert_eq!(event.field("a/b"), event.get("/a~1b"));
    assert_eq!(event.text("/n"), None);
}

#[test]
fn of_duplicate_keys_the_last_one_counts_everywhere() {
    let mut event = event(r#"{"a":1,"b":{"c":1,"c":2},"a":2,"\u0061":3}"#);
    assert!(event.notes().duplicate_keys);
    assert_eq!(event.get("/a"), Some(Value::Int(3)));
    assert_eq!(event.get("/b/c"), Some(Value::Int(2)));
    assert_eq!(event.members("").unwrap().count(), 2);
    assert_eq!(msgpack(&event), serde_json::json!({"a": 3, "b": {"c": 2}}));
    event.set("/a", 4i64).unwrap();
    assert_eq!(msgpack(&event), serde_json::json!({"a": 4, "b": {"c": 2}}));
    event.remove("/a").unwrap();
    assert_eq!(event.get("/a"), None);
    assert_eq!(json(&event), r#"{"b":{"c":1,"c":2}}"#);
    event.remove("/b/c").unwrap();
    assert_eq!(json(&event), r#"{"b":{}}"#);
    assert_eq!(msgpack(&event), serde_json::json!({"b": {}}));
}

#[test]
fn oddities_are_noted() {
    let check = |text, expect| assert_eq!(event(text).notes(), expect, "{text}");
    check(
        MESSAGE,
        Notes {
            big_integers: true,
            ..Notes::default()
        },
    );
    check(
        r#"{"a":"\ud83d\ude00","n":18446744073709551615}"#,
        Notes::default(),
    );
    check(
        r#"{"a":"\ude00"}"#,
        Notes {
            lone_surrogates: true,
            ..Notes::default()
        },
    );
    check(
        r#"{"\ud83d":1}"#,
        Notes {
            lone_surrogates: true,
            ..Notes::default()
        },
    );
    check(
        r#"{"a":{"b":1,"b":1}}"#,
        Notes {
            duplicate_keys: true,
            ..Notes::default()
        },
    );
    let mut edited = event("{}");
    edited
        .set("/a", b"[1e9,-99999999999999999999]".to_vec())
        .unwrap();
    assert!(edited.notes().big_integers);
}

#[test]
fn values_that_msgpack_lacks_are_written_as_the_closest_ones() {
    let event = event(
        r#"{"i":123456789012345678901234567890,"s":"a\ud800b","f":1e400,"z":-0,"k\udc00":-1e-400}"#,
    );
    let mut payload = Vec::new();
    event.write_msgpack(&mut payload);
    let value = rmpv::decode::read_value(&mut &payload[..]).unwrap();
    assert_eq!(value["i"], "123456789012345678901234567890".into());
    assert_eq!(value["s"], "a\u{fffd}b".into());
    assert_eq!(value["f"], f64::INFINITY.into());
    assert_eq!(value["z"], 0.into());
    assert_eq!(value["k\u{fffd}"], (-0.0).into());
}

#[test]
fn an_edit_leaves_the_rest_as_it_came() {
    let mut event = event(r#"{ "b" : [ 1 ,  2 ] , "a" : { "x" : "\u0041" } }"#);
    assert!(!event.is_edited());
    event.set("/c", "new").unwrap();
    event.set("/a/y", 2.5).unwrap();
    assert!(event.is_edited());
    assert_eq!(
        json(&event),
        r#"{"b":[ 1 ,  2 ],"a":{"x":"\u0041","y":2.5},"c":"new"}"#
    );
    assert_eq!(
        event.raw(),
        r#"{ "b" : [ 1 ,  2 ] , "a" : { "x" : "\u0041" } }"#
    );
    assert_eq!(
        event.get("/a"),
        Some(Value::Json(r#"{"x":"\u0041","y":2.5}"#.into()))
    );
    assert_eq!(event.get("/b"), Some(Value::Json("[ 1 ,  2 ]".into())));
}

#[test]
fn edits_are_seen_by_edits_that_come_later() {
    let mut event = event(r#"{"list":[1,2,3],"o":{"k":1}}"#);
    event.remove("/list/0").unwrap();
    event.set("/list/0", "two").unwrap();
    event.set("/list/-", b"{}".to_vec()).unwrap();
    event.set("/list/3", NewValue::Null).unwrap();
    event.set("/list/2/in", true).unwrap();
    assert_eq!(
        json(&event),
        r#"{"list":["two",3,{"in":true},null],"o":{"k":1}}"#
    );
    event.remove("/list/1").unwrap();
    event.remove("/list/2").unwrap();
    assert_eq!(json(&event), r#"{"list":["two",{"in":true}],"o":{"k":1}}"#);
    event.set("/o", br#"{"fresh":[]}"#.to_vec()).unwrap();
    event.set("/o/fresh/-", u64::MAX).unwrap();
    assert_eq!(event.get("/o/k"), None);
    assert_eq!(event.get("/o/fresh/0"), Some(Value::UInt(u64::MAX)));
    event.remove("/o").unwrap();
    event.set("/o", "back").unwrap();
    event.set("/o", "again").unwrap();
    assert_eq!(json(&event), r#"{"list":["two",{"in":true}],"o":"again"}"#);
    assert_eq!(
        msgpack(&event),
        serde_json::json!({"list": ["two", {"in": true}], "o": "again"})
    );
    event.remove("/list/0").unwrap();
    event.remove("/list/0").unwrap();
    event.remove("/o").unwrap();
    assert_eq!(json(&event), r#"{"list":[]}"#);
}

#[test]
fn a_bad_edit_says_why_and_changes_nothing() {
    let mut event = event(r#"{"t":"x","l":[1],"o":{}}"#);
    event.set("/added", 1i64).unwrap();
    let before = json(&event);
    let mut check = |pointer: &str, value: NewValue, expect: &str| {
        assert_eq!(event.set(pointer, value).unwrap_err().to_string(), expect);
        assert_eq!(json(&event), before);
    };
    let null = || NewValue::Null;
    check(
        "",
        null(),
        "an edit needs the pointer of a member or element, not that of the whole event",
    );
    check(
        "t",
        null(),
        "\"t\" is not a JSON pointer: one begins with `/`, and `~` is written `~0`, `/` in a key `~1`",
    );
    check(
        "/~2",
        null(),
        "\"/~2\" is not a JSON pointer: one begins with `/`, and `~` is written `~0`, `/` in a key `~1`",
    );
    check(
        "/no/where",
        null(),
        "/no/where: there is no \"no\" to look into; set its parents first",
    );
    check(
        "/t/a",
        null(),
        "/t/a: \"t\" is neither an object nor an array, and can't hold it",
    );
    check(
        "/added/a",
        null(),
        "/added/a: \"added\" is neither an object nor an array, and can't hold it",
    );
    check(
        "/l/2",
        null(),
        "/l/2: \"2\" is not an index of an array of 1; `-` appends",
    );
    check(
        "/l/x",
        null(),
        "/l/x: \"x\" is not an index of an array of 1; `-` appends",
    );
    check(
        "/t",
        NewValue::Float(f64::NAN),
        "/t: NaN is not a JSON number",
    );
    check(
        "/t",
        NewValue::Float(f64::NEG_INFINITY),
        "/t: -inf is not a JSON number",
    );
    check(
        "/t",
        NewValue::Json(b"[1,]".to_vec()),
        "/t: the new value is not JSON: line 1, byte 3: expected a value, found ']'",
    );
    for missing in ["/nope", "/l/1", "/l/-", "/o/x"] {
        let expect = EditError::NotFound {
            pointer: missing.into(),
        };
        assert_eq!(event.remove(missing).unwrap_err(), expect);
    }
    assert_eq!(event.remove("").unwrap_err(), EditError::Root);
    assert_eq!(json(&event), before);
}

#[test]
fn edits_are_applied_all_or_none() {
    let mut event = event(r#"{"a":1}"#);
    let set = |pointer: &str, value: i64| Edit::Set {
        pointer: pointer.to_owned(),
        value: value.into(),
    };
    let remove = |pointer: &str| Edit::Remove {
        pointer: pointer.to_owned(),
    };
    assert!(
        event
            .apply(&[set("/b", 2), remove("/a"), remove("/a")])
            .is_err()
    );
    assert!(!event.is_edited());
    event
        .apply(&[set("/b", 2), remove("/a"), set("/a", 3)])
        .unwrap();
    assert_eq!(json(&event), r#"{"b":2,"a":3}"#);
}

#[test]
fn edits_can_nest_no_deeper_than_texts() {
    let mut event = Event::default();
    let mut pointer = String::new();
    for _ in 1..MAX_DEPTH {
        pointer.push_str("/a");
        event.set(&pointer, b"{}".to_vec()).unwrap();
    }
    pointer.push_str("/a");
    assert!(matches!(
        event.set(&pointer, b"{}".to_vec()),
        Err(EditError::NotJson { .. })
    ));
    event.set(&pointer, true).unwrap();
    assert_eq!(
        json(&event),
        format!(
            "{}true{}",
            r#"{"a":"#.repeat(MAX_DEPTH),
            "}".repeat(MAX_DEPTH)
        )
    );
    assert_eq!(
        msgpack(&event),
        serde_json::from_str::<serde_json::Value>(&json(&event)).unwrap()
    );
    assert!(Event::parse(json(&event)).is_ok());
}

#[test]
fn a_subtree_is_an_event_of_its_own_that_shares_the_text() {
    let mut envelope =
        event(r#"{"n":1,"payload":{"event":{"type":"message","l":[1,{"x":"y"}]}},"z":[{}]}"#);
    let inner = envelope.subtree("/payload/event").unwrap();
    assert_eq!(inner.raw(), r#"{"type":"message","l":[1,{"x":"y"}]}"#);
    assert_eq!(
        inner.raw().as_ptr(),
        envelope.raw()[r#"{"n":1,"payload":{"event":"#.len()..].as_ptr()
    );
    assert_eq!(inner.get("/l/1/x"), Some(Value::Text("y".into())));
    assert_eq!(
        msgpack(&inner),
        serde_json::json!({"type": "message", "l": [1, {"x": "y"}]})
    );
    let mut edited = inner.clone();
    edited.set("/l/1/x", "z").unwrap();
    edited.remove("/type").unwrap();
    edited.set("/new", 1i64).unwrap();
    assert_eq!(json(&edited), r#"{"l":[1,{"x":"z"}],"new":1}"#);
    assert_eq!(
        msgpack(&edited),
        serde_json::json!({"l": [1, {"x": "z"}], "new": 1})
    );
    assert_eq!(
        edited.subtree("/l/1").unwrap().text("/x").as_deref(),
        Some("z")
    );
    assert_eq!(json(&inner.subtree("/l/1").unwrap()), r#"{"x":"y"}"#);

    envelope.set("/n", 2i64).unwrap();
    assert!(!envelope.subtree("/payload").unwrap().is_edited());
    envelope.set("/payload/event/type", "hello").unwrap();
    assert_eq!(
        envelope
            .subtree("/payload")
            .unwrap()
            .text("/event/type")
            .as_deref(),
        Some("hello")
    );
    for no_object in ["/n", "/z", "/nope", "/payload/event/type"] {
        assert!(envelope.subtree(no_object).is_none(), "{no_object}");
    }
}

#[test]
fn members_are_given_as_edited() {
    let mut event = event(r#"{"a":1,"\u0062":"two","c":{}}"#);
    event.remove("/a").unwrap();
    event.set("/d", false).unwrap();
    let members: Vec<_> = event.members("").unwrap().collect();
    let expect = [
        ("b".into(), Value::Text("two".into())),
        ("c".into(), Value::Json("{}".into())),
        ("d".into(), Value::Bool(false)),
    ];
    assert_eq!(members, expect);
    assert_eq!(event.members("/c").unwrap().count(), 0);
    assert!(event.members("/b").is_none() && event.members("/d").is_none());
}

#[test]
fn a_clone_keeps_its_own_edits() {
    let mut event = event(r#"{"a":1}"#);
    let clone = event.clone();
    event.set("/a", 2i64).unwrap();
    assert_eq!(json(&clone), r#"{"a":1}"#);
}

#[test]
fn an_event_is_built_from_a_tree_of_values() {
    let value = serde_json::json!({"ok": true, "n": u64::MAX, "l": [1.5, null, "é\n"]});
    let event = Event::try_from(&value).unwrap();
    assert_eq!(msgpack(&event), value);
    assert!(Event::from_value(&serde_json::json!([])).is_err());
    assert_eq!(json(&Event::default()), "{}");
}
