//! Msgpack against the format's definition and against `rmp`.

use crate::Event;

fn payload(text: String) -> Vec<u8> {
    let mut out = Vec::new();
    Event::parse(text).unwrap().write_msgpack(&mut out);
    out
}

/// The msgpack of a value, alone.
fn value(json: &str) -> Vec<u8> {
    payload(format!(r#"{{"":{json}}}"#)).split_off(2)
}

#[test]
fn integers_take_the_smallest_form() {
    let check = |number: &str, expect: &[u8]| assert_eq!(value(number), expect, "{number}");
    check("0", &[0]);
    check("-0", &[0]);
    check("127", &[0x7f]);
    check("128", &[0xcc, 0x80]);
    check("255", &[0xcc, 0xff]);
    check("256", &[0xcd, 1, 0]);
    check("65535", &[0xcd, 0xff, 0xff]);
    check("65536", &[0xce, 0, 1, 0, 0]);
    check("4294967295", &[0xce, 0xff, 0xff, 0xff, 0xff]);
    check("4294967296", &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
    check(
        "18446744073709551615",
        &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    );
    check("-1", &[0xff]);
    check("-32", &[0xe0]);
    check("-33", &[0xd0, 0xdf]);
    check("-128", &[0xd0, 0x80]);
    check("-129", &[0xd1, 0xff, 0x7f]);
    check("-32768", &[0xd1, 0x80, 0]);
    check("-32769", &[0xd2, 0xff, 0xff, 0x7f, 0xff]);
    check("-2147483648", &[0xd2, 0x80, 0, 0, 0]);
    check(
        "-2147483649",
        &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    );
    check("-9223372036854775808", &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn other_scalars_are_as_the_format_says() {
    assert_eq!(value("null"), [0xc0]);
    assert_eq!(value("false"), [0xc2]);
    assert_eq!(value("true"), [0xc3]);
    assert_eq!(value("1.5"), [0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
    assert_eq!(value("-0.0"), [0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(value("1e999"), [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn lengths_and_counts_take_the_smallest_form() {
    for length in [0, 1, 15, 16, 17, 31, 32, 255, 256, 65_535, 65_536] {
        let mut text = Vec::new();
        let plain = "x".repeat(length);
        rmp::encode::write_str(&mut text, &plain).unwrap();
        assert_eq!(value(&format!("\"{plain}\"")), text, "a text of {length}");
        // Three escapes that are one byte each: the length that counts is that after decoding.
        if length >= 3 {
            assert_eq!(
                value(&format!(r#""\u0078\u0078\u0078{}""#, &plain[3..])),
                text,
                "an escaped text of {length}"
            );
        }
        let mut key = vec![0x81];
        rmp::encode::write_str(&mut key, &plain).unwrap();
        key.push(1);
        assert_eq!(
            payload(format!(r#"{{"{plain}":1}}"#)),
            key,
            "a key of {length}"
        );

        let mut array = Vec::new();
        rmp::encode::write_array_len(&mut array, length as u32).unwrap();
        array.resize(array.len() + length, 1);
        assert_eq!(
            value(&format!("[{}]", vec!["1"; length].join(","))),
            array,
            "an array of {length}"
        );

        let mut map = Vec::new();
        rmp::encode::write_map_len(&mut map, length as u32).unwrap();
        let members: Vec<_> = (0..length).map(|key| format!("\"{key}\":1")).collect();
        for key in 0..length {
            rmp::encode::write_str(&mut map, &key.to_string()).unwrap();
            map.push(1);
        }
        assert_eq!(
            value(&format!("{{{}}}", members.join(","))),
            map,
            "a map of {length}"
        );
    }
}

#[test]
fn headers_count_what_edits_added_and_removed() {
    let members: Vec<_> = (0..15)
        .map(|key| format!("\"{key}\":[{}]", vec!["0"; key + 1].join(",")))
        .collect();
    let mut event = Event::parse(format!("{{{}}}", members.join(","))).unwrap();
    event.set("/14/-", 1i64).unwrap();
    event.set("/15", 1i64).unwrap();
    let mut out = Vec::new();
    event.write_msgpack(&mut out);
    assert_eq!(out[..3], [0xde, 0, 16]);
    event.remove("/0").unwrap();
    event.remove("/14/3").unwrap();
    out.clear();
    event.write_msgpack(&mut out);
    assert_eq!(out[0], 0x8f);
    let value = rmpv::decode::read_value(&mut &out[..]).unwrap();
    assert_eq!(value["14"].as_array().unwrap().len(), 15);
}

#[test]
fn a_message_is_appended_to_what_is_there() {
    let mut out = b"random bytes".to_vec();
    Event::default().write_msgpack(&mut out);
    assert_eq!(out, b"random bytes\x80");
}
