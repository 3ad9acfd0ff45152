//! An event as Python reads it: `json.loads` of its text, compared with `msgpack.unpackb` of its msgpack.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by a panic")]

mod documents;

use std::io::Write;
use std::process::{Command, Stdio};

use djangobot_event::Event;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// By hand, for what the arbitrary documents have not.
const ODD: &[&str] = &[
    r#"{}"#,
    r#"{"a":1,"a":2,"b":{"c":[],"c":{},"\u0063":null}}"#,
    r#"{"zero":-0,"negative":-0.0,"tiny":1e-400,"huge":[1e400,-1e400],"e":1E5,"one":1.0}"#,
    r#"{"limits":[-9223372036854775808,9223372036854775807,9223372036854775808,18446744073709551615]}"#,
    r#"{"beyond":[18446744073709551616,-9223372036854775809,123456789012345678901234567890]}"#,
    r#"{"surrogates":["\ud800","\udc00\ud800","a\ud83d\ud83d\ude00b","\ud83d\u0041"],"\udfff":1}"#,
    r#"{"floats":[0.1,1.7976931348623157e308,4.9e-324,2.2250738585072011e-308,9007199254740993.0,0.30000000000000004]}"#,
    r#"{"escapes":"\"\\\/\b\f\n\r\t\u0000\u001f\u007f\u2028\ud83d\ude00"}"#,
    "{\"plain\":\"\u{7f}é\u{2028}\u{ffff}😀\u{10ffff}\"}",
    include_str!("../benches/events/message.json"),
    include_str!("../benches/events/blocks.json"),
    include_str!("../benches/events/incident.json"),
];

/// Reads pairs of lines, the text and the msgpack in hex; exits with a message at the first that differ.
///
/// `same` is strict where `==` is not: 1 is not 1.0 and not True, and -0.0 is not 0.0.
const COMPARE: &str = r#"
import json, msgpack, re, sys

def expected(value):
    if isinstance(value, dict):
        return {expected(key): expected(member) for key, member in value.items()}
    if isinstance(value, list):
        return [expected(element) for element in value]
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if type(value) is int and not -2**63 <= value < 2**64:
        return str(value)
    return value

def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)

lines = sys.stdin.read().split()
for text, payload in zip(lines[::2], lines[1::2], strict=True):
    text = bytes.fromhex(text)
    a = expected(json.loads(text))
    b = msgpack.unpackb(bytes.fromhex(payload), raw=False, strict_map_key=True)
    if not same(a, b):
        sys.exit(f"{text!r}\nexpected {ascii(a)}\nread     {ascii(b)}")
print(len(lines) // 2, end="")
"#;

#[test]
fn python_reads_the_same_from_msgpack_as_from_json() {
    let mut runner = TestRunner::deterministic();
    let strategy = (
        documents::object(),
        prop::collection::vec(any::<u8>(), 1..64),
    );
    let arbitrary = (0..500).map(|_| {
        let (document, choices) = strategy.new_tree(&mut runner).unwrap().current();
        documents::written(&document, &choices)
    });
    let deepest = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
    let long = format!(
        "{{\"a\":\"{}\",\"b\":[{}0]}}",
        "é".repeat(40_000),
        "0,".repeat(70_000)
    );
    let texts: Vec<String> = ODD
        .iter()
        .map(|&text| text.to_owned())
        .chain([deepest, long])
        .chain(arbitrary)
        .collect();
    compare(&texts, |text| Event::parse(text.to_owned()).unwrap());
}

#[test]
fn python_reads_the_same_from_an_edited_event() {
    let texts: Vec<String> = ODD.iter().map(|&text| text.to_owned()).collect();
    compare(&texts, |text| {
        let mut event = Event::parse(text.to_owned()).unwrap();
        event.set("/type", "slack.message").unwrap();
        event
            .set(
                "/djangobot",
                br#"{"id":"E1","received_at":1795345843.83,"list":[]}"#.to_vec(),
            )
            .unwrap();
        event.set("/djangobot/list/-", u64::MAX).unwrap();
        event.set("/a", -0.0).unwrap();
        event.remove("/user").ok();
        event
    });
}

fn compare(texts: &[String], event: impl Fn(&str) -> Event) {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut lines = String::new();
    for text in texts {
        let event = event(text);
        let (mut json, mut msgpack) = (Vec::new(), Vec::new());
        event.write_json(&mut json);
        event.write_msgpack(&mut msgpack);
        lines += &format!("{}\n{}\n", hex(&json), hex(&msgpack));
    }
    let mut python = Command::new(djangobot_tests::python())
        .args(["-c", COMPARE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        texts.len().to_string()
    );
}
