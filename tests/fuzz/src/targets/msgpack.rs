//! A channel layer's msgpack message, compared with `rmpv`.

use djangobot_event::{BYTES_KEY, Event, MAX_DEPTH, MsgpackError};

use crate::{Target, json, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "msgpack",
    check,
    seeds,
    words: &[
        "\u{81}",
        "type",
        "text",
        "channel",
        "reply_channel",
        "token",
        "\"token\":\"",
        "xoxb-",
    ],
    longest: 1024,
};

fn seeds() -> Vec<Vec<u8>> {
    let events = samples::EVENTS.iter().map(|text| text.as_bytes().to_vec());
    let mut seeds: Vec<_> = events
        .chain(samples::of_slack())
        .filter_map(|text| Some(json::msgpack(&Event::parse(text).ok()?)))
        .collect();
    // All forms that none of these has.
    seeds.push(
        [
            &b"\xde\x00\x0a"[..],
            b"\xa1a\xca\x3f\x00\x00\x00\xa1b\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00",
            b"\xa1c\xc4\x02by\xa1d\xc5\x00\x02by\xa1e\xc6\x00\x00\x00\x02by",
            b"\xd9\x01f\xd3\x80\x00\x00\x00\x00\x00\x00\x00\xda\x00\x01g\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xdb\x00\x00\x00\x01h\xdc\x00\x01\xd0\x80\xa1i\xdd\x00\x00\x00\x01\xd1\x80\x00",
            b"\xa1j\xdf\x00\x00\x00\x01\xa1k\xd6\x01\x00\x00\x00\x00",
        ]
        .concat(),
    );
    seeds.push(
        b"\x83\xa5token\xa4hush\xa1a\x91\x81\xa8my_token\x92\xa4hush\xcd\x12\x34\xa1b\xa8xoxb-1-a"
            .to_vec(),
    );
    seeds
}

/// Keys that are looked for in what can't be read, too.
const WANTED: &[&str] = &["type", "channel", "reply_channel"];

fn check(input: &[u8]) {
    let ours = proportion::bounded(input, 96, || Event::from_msgpack(input));
    let salvaged = proportion::bounded(input, 96, || Event::salvage_msgpack(input, WANTED));
    // Bytes are the only thing that may be read more.
    match proportion::bounded(input, 96, || Event::from_msgpack_with_bytes(input)) {
        Ok(event) if ours.is_ok() => {
            assert_eq!(ours.as_ref().map(json::text), Ok(json::text(&event)))
        }
        Ok(event) => assert!(json::text(&event).contains(BYTES_KEY)),
        Err(_) => assert!(ours.is_err()),
    }
    if let Ok(event) = &ours {
        for key in WANTED {
            assert_eq!(salvaged.field(key), event.field(key), "{key}");
        }
    }
    check_masking(input, ours.as_ref().ok());
    let mut rest = input;
    let theirs = rmpv::decode::read_value(&mut rest)
        .ok()
        .filter(|value| rest.is_empty() && value.is_map());
    match ours {
        Ok(event) => {
            let theirs = theirs.expect("only what is msgpack is read");
            let theirs = json::of_msgpack(&theirs).expect("only what JSON has is read");
            let text = json::text(&event);
            json::assert_same(&serde_json::from_str(&text).expect("it is JSON"), &theirs);
            let again = Event::from_msgpack(&json::msgpack(&event)).expect("we read what we write");
            json::assert_same(
                &serde_json::from_str(&json::text(&again)).expect("it is JSON"),
                &theirs,
            );
            if !event.notes().duplicate_keys {
                assert_eq!(json::text(&again), text);
            }
        }
        Err(error) => {
            assert_place(&error, input);
            let is_event = theirs
                .as_ref()
                .and_then(json::of_msgpack)
                .is_some_and(|value| json::depth(&value) <= MAX_DEPTH);
            // `rmpv` takes the byte that msgpack never uses for nil.
            let is_unused =
                matches!(error, MsgpackError::NotJson { found, .. } if found.contains("c1"));
            assert!(!is_event || is_unused, "{error}");
        }
    }
}

/// The dead letter that is kept of it shows no token, and is otherwise as it was.
fn check_masking(input: &[u8], event: Option<&Event>) {
    let masked = proportion::bounded(input, 96, || djangobot::fuzzing::without_tokens(input));
    assert_eq!(djangobot::fuzzing::without_tokens(&masked), masked);
    let Some(event) = event else { return };
    assert_eq!(masked.len(), input.len());
    let masked = Event::from_msgpack(&masked).expect("it is read as before");
    for key in WANTED {
        assert_eq!(masked.field(key).is_some(), event.field(key).is_some());
    }
    if let Some(token) = masked.text("/token") {
        assert!(token.bytes().all(|byte| byte == b'*'), "{token}");
    }
}

fn assert_place(error: &MsgpackError, input: &[u8]) {
    let offset = match *error {
        MsgpackError::Truncated { offset, .. }
        | MsgpackError::Trailing { offset }
        | MsgpackError::KeyNotText { offset, .. }
        | MsgpackError::NotUtf8 { offset, .. }
        | MsgpackError::NotJson { offset, .. }
        | MsgpackError::TooDeep { offset } => offset,
        MsgpackError::NotAMap { .. } | MsgpackError::NotAnEvent(_) => 0,
    };
    assert!(offset <= input.len(), "{error}");
}
