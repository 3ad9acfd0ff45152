//! Messages against the JSON text made of them, and against their errors.

use rmpv::Value;

use super::*;
use crate::Event;

fn packed(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    out
}

fn map(members: &[(&str, Value)]) -> Value {
    Value::Map(
        members
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

fn json(payload: &[u8]) -> String {
    String::from_utf8(to_json(payload, Binary::Refused).unwrap()).unwrap()
}

#[test]
fn a_message_becomes_the_same_json() {
    let message = map(&[
        ("text", "h\u{e9} \"\n😀".into()),
        ("none", Value::Nil),
        ("yes", true.into()),
        ("no", false.into()),
        (
            "list",
            vec![
                Value::from(0),
                (-1).into(),
                127.into(),
                128.into(),
                (-33).into(),
                70_000.into(),
            ]
            .into(),
        ),
        (
            "limits",
            vec![Value::from(i64::MIN), i64::MAX.into(), u64::MAX.into()].into(),
        ),
        (
            "floats",
            vec![
                Value::F32(0.5),
                Value::F64(0.1),
                Value::F64(-0.0),
                Value::F64(1e300),
            ]
            .into(),
        ),
        ("bytes", Value::Binary(b"as text".to_vec())),
        (
            "nested",
            map(&[("a", map(&[])), ("b", Value::Array(vec![]))]),
        ),
    ]);
    assert_eq!(
        json(&packed(&message)),
        concat!(
            r#"{"text":"hé \"\n😀","none":null,"yes":true,"no":false,"list":[0,-1,127,128,-33,70000],"#,
            r#""limits":[-9223372036854775808,9223372036854775807,18446744073709551615],"#,
            r#""floats":[0.5,0.1,-0.0,1e300],"bytes":"as text","nested":{"a":{},"b":[]}}"#,
        ),
    );
}

#[test]
fn each_form_of_integer_text_and_count_is_read() {
    let check = |value: &[u8], expect: &str| {
        let payload = [b"\x81\xa1k", value].concat();
        assert_eq!(json(&payload), format!("{{\"k\":{expect}}}"));
    };
    check(&[0xcc, 1], "1");
    check(&[0xcd, 0, 1], "1");
    check(&[0xce, 0, 0, 0, 1], "1");
    check(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 1], "1");
    check(&[0xd0, 0xff], "-1");
    check(&[0xd1, 0xff, 0xfe], "-2");
    check(&[0xd2, 0xff, 0xff, 0xff, 0xfd], "-3");
    check(
        &[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc],
        "-4",
    );
    check(&[0xe0], "-32");
    for text in [
        &[0xa1][..],
        &[0xd9, 1],
        &[0xda, 0, 1],
        &[0xdb, 0, 0, 0, 1],
        &[0xc4, 1],
        &[0xc5, 0, 1],
        &[0xc6, 0, 0, 0, 1],
    ] {
        check(&[text, b"x"].concat(), "\"x\"");
    }
    for array in [&[0x91][..], &[0xdc, 0, 1], &[0xdd, 0, 0, 0, 1]] {
        check(&[array, &[0xc0]].concat(), "[null]");
    }
    for map in [&[0x81][..], &[0xde, 0, 1], &[0xdf, 0, 0, 0, 1]] {
        check(&[map, b"\xa1x\x05"].concat(), "{\"x\":5}");
    }
}

#[test]
fn a_message_that_is_not_an_event_is_refused_with_its_place() {
    let check = |payload: &[u8], expect: &str| {
        assert_eq!(
            Event::from_msgpack(payload).unwrap_err().to_string(),
            expect
        );
    };
    check(b"", "byte 0: the message ends within the message");
    check(b"\x05", "expected a map, found an integer");
    check(b"\xa4text", "expected a map, found text");
    check(b"\x91\x80", "expected a map, found an array");
    check(b"\xc0", "expected a map, found nil");
    check(b"{\"text\":1}", "expected a map, found an integer");
    check(
        b"\x80\x80",
        "byte 1: the message is complete, but more follows",
    );
    check(
        b"\x81\x01\x02",
        "byte 1: a key of the message is an integer, but keys are texts",
    );
    check(
        b"\x81\xa1a\x81\xc4\x01b\x02",
        "byte 4: a key of /a is bytes, but keys are texts",
    );
    check(b"\x82\xa1a\x01\xa1b", "byte 6: the message ends within /b");
    check(
        b"\x81\xa1a\xd9\x05abc",
        "byte 5: the message ends within /a",
    );
    check(
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        "byte 8: the message ends within /a/0",
    );
    check(
        b"\x81\xa1a\x92\x01\xc4\x02\xff\xfe",
        "byte 5: /a/1 is bytes that is not UTF-8; send such bytes as base64 text",
    );
    check(
        b"\x81\xa3a/~\xd6\xff\x00\x00\x00\x00",
        "byte 5: /a~1~0 is an extension type, which JSON does not have",
    );
    check(
        b"\x81\xa1a\xc1",
        "byte 3: /a is the byte c1, which msgpack never uses, which JSON does not have",
    );
    check(
        &packed(&map(&[("x", f64::NAN.into())])),
        "byte 3: /x is NaN, which JSON does not have",
    );
    check(
        &packed(&map(&[("x", f64::NEG_INFINITY.into())])),
        "byte 3: /x is an infinity, which JSON does not have",
    );
}

#[test]
fn depth_is_limited_and_costs_no_stack() {
    let nested = |depth: usize| [&b"\x81\xa1a"[..], &vec![0x91; depth - 1], b"\xc0"].concat();
    assert!(Event::from_msgpack(&nested(MAX_DEPTH)).is_ok());
    let offset = MAX_DEPTH + 2;
    assert_eq!(
        Event::from_msgpack(&nested(MAX_DEPTH + 1)).unwrap_err(),
        MsgpackError::TooDeep { offset }
    );
    assert_eq!(
        Event::from_msgpack(&nested(1_000_000)).unwrap_err(),
        MsgpackError::TooDeep { offset }
    );
}

#[test]
fn each_truncated_message_is_refused() {
    let message = map(&[
        ("type", "slack.send".into()),
        (
            "list",
            vec![
                Value::from(1.5),
                70_000.into(),
                "text".into(),
                Value::Binary(b"bytes".to_vec()),
            ]
            .into(),
        ),
        ("map", map(&[("k", Value::Nil)])),
    ]);
    let payload = packed(&message);
    assert!(Event::from_msgpack(&payload).is_ok());
    for end in 0..payload.len() {
        let error = Event::from_msgpack(&payload[..end]).unwrap_err();
        assert!(
            matches!(error, MsgpackError::Truncated { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn of_a_key_that_comes_twice_the_last_one_counts() {
    let event = Event::from_msgpack(b"\x82\xa1a\x01\xa1a\x02").unwrap();
    assert_eq!(event.get("/a"), Some(crate::Value::Int(2)));
    assert!(event.notes().duplicate_keys);
}

#[test]
fn wanted_members_of_a_broken_message_are_read_whatever_their_neighbours_are() {
    let check = |payload: &[u8], expect: &str| {
        let found = Event::salvage_msgpack(payload, &["reply_channel", "id"]);
        assert_eq!(format!("{found:?}"), expect);
    };
    let whole = Value::Map(vec![
        (7.into(), "an int key".into()),
        (Value::Binary(b"id".to_vec()), "a key of bytes".into()),
        ("reply_channelx".into(), "another".into()),
        (
            "deep".into(),
            map(&[("x", vec![f64::NAN.into(), Value::F32(f32::INFINITY)].into())]),
        ),
        ("time".into(), Value::Ext(-1, vec![0; 12])),
        ("bytes".into(), Value::Binary(vec![0xff; 300])),
        ("reply_channel".into(), Value::Binary(b"app".to_vec())),
        (
            "id".into(),
            map(&[(
                "n",
                vec![Value::from(1), (-5).into(), u64::MAX.into()].into(),
            )]),
        ),
    ]);
    let expect = r#"{"reply_channel":"app","id":{"n":[1,-5,18446744073709551615]}}"#;
    let payload = packed(&whole);
    assert!(Event::from_msgpack(&payload).is_err());
    check(&payload, expect);
    // Values behind them, and a message that is cut off there, do not matter.
    check(&[&payload[..], b"more"].concat(), expect);
    check(&payload[..payload.len() - 1], r#"{"reply_channel":"app"}"#);
    for at in 0..payload.len() {
        Event::salvage_msgpack(&payload[..at], &["reply_channel"]);
    }
    // A value that itself can't be read is not found.
    check(
        &packed(&map(&[
            ("id", f64::NAN.into()),
            ("reply_channel", "a".into()),
        ])),
        r#"{"reply_channel":"a"}"#,
    );
    for nothing in [
        &b""[..],
        b"\x93\x01\x02\x03",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xc1",
        b"\x81\xc6\xff\xff\xff\xff",
    ] {
        check(nothing, "{}");
    }
}

#[test]
fn bytes_that_are_not_a_text_are_kept_as_base64_where_that_is_asked_for() {
    let message = map(&[
        ("text", Value::Binary(b"hi".to_vec())),
        (
            "file",
            map(&[("content", Value::Binary(vec![0, 255, 128]))]),
        ),
    ]);
    let event = Event::from_msgpack_with_bytes(&packed(&message)).unwrap();
    let expect = r#"{"text":"hi","file":{"content":{"$bytes":"AP+A"}}}"#;
    assert_eq!(format!("{event:?}"), expect);
    // A value that is marked as a text has to be one.
    assert!(Event::from_msgpack_with_bytes(b"\x81\xa1a\xa1\xff").is_err());
    assert!(Event::from_msgpack(&packed(&message)).is_err());
}
