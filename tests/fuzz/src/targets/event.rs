//! An event's JSON text, compared with `serde_json`.

use djangobot_event::Event;
use serde_json::Value;

use crate::{Target, json, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "event",
    check,
    seeds,
    words: &[
        "null",
        "true",
        "false",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "e+",
        "E-",
        "-0",
        "1e999",
        "18446744073709551615",
        "9223372036854775808",
        "{\"a\":",
        "[[",
        "]]",
        "},{",
        "\u{feff}",
        "\"type\":",
    ],
    longest: 2048,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = pieces::texts(samples::EVENTS.iter().copied());
    seeds.extend(samples::of_slack());
    seeds.push([b"[".repeat(130), b"]".repeat(130)].concat());
    seeds
}

fn check(input: &[u8]) {
    let ours = proportion::bounded(input, 64, || Event::parse(input.to_vec()));
    let salvaged = proportion::bounded(input, 64, || Event::salvage(input, &["a", "type"]));
    // Keys are looked for as they are written, without escapes.
    if let Ok(event) = &ours
        && !input.contains(&b'\\')
    {
        for key in ["a", "type"] {
            assert_eq!(salvaged.field(key), event.field(key), "{key}");
        }
    }
    let theirs = serde_json::from_slice::<Value>(input);
    match (ours, theirs) {
        (Ok(event), theirs) => {
            assert_eq!(event.raw(), input);
            assert_eq!(json::text(&event).as_bytes(), input);
            check_written(&event, theirs);
        }
        (Err(error), theirs) => {
            json::assert_place(&error, input);
            let is_value = theirs.is_ok_and(|theirs| theirs.is_object());
            // A very long integer is refused where `serde_json` makes a float of it.
            let is_long = matches!(error, djangobot_event::ParseError::IntegerTooLong { .. });
            assert!(!is_value || is_long, "{error}");
        }
    }
}

/// All must read the written text alike; `theirs` is the value that `serde_json` made of the text.
fn check_written(event: &Event, theirs: serde_json::Result<Value>) {
    let payload = json::msgpack(event);
    let mut rest = &payload[..];
    let unpacked = rmpv::decode::read_value(&mut rest).expect("what is written is msgpack");
    assert!(rest.is_empty());
    let notes = event.notes();
    match theirs {
        Ok(theirs) => {
            let members = event.members("").expect("it is an object").count();
            assert_eq!(Some(members), theirs.as_object().map(serde_json::Map::len));
            if !notes.big_integers && !notes.lone_surrogates {
                let ours = json::of_msgpack(&unpacked).expect("all of it came from JSON");
                json::assert_same(&ours, &theirs);
                let again = Event::from_msgpack(&payload).expect("we read what we write");
                assert_eq!(json::msgpack(&again), payload);
            }
        }
        // The crate reads more than `serde_json` does, as its documentation says.
        Err(error) => {
            let why = error.to_string();
            let is_surrogate = why.contains("surrogate") || why.contains("hex escape");
            assert!(
                why.contains("number out of range") || (notes.lone_surrogates && is_surrogate),
                "{why}"
            );
        }
    }
}
