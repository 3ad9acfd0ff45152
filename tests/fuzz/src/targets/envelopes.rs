//! Frames of Socket Mode and of RTM: which are the connection's own, and what is within those that are not.

use bytes::Bytes;
use djangobot_event::Event;
use djangobot_slack::Origin;
use djangobot_slack::fuzzing::{FrameMeaning, envelope_id, is_own, socket_mode};
use serde_json::Value;

use crate::{Target, json, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "envelopes",
    check,
    seeds,
    words: &[
        "\"envelope_id\":\"",
        "\"type\":\"events_api\"",
        "\"type\":\"slash_commands\"",
        "\"type\":\"interactive\"",
        "\"type\":\"hello\"",
        "\"type\":\"disconnect\"",
        "\"type\":\"ping\"",
        "\"reply_to\":",
        "\"payload\":{",
        "\"event\":{",
        "\"event_id\":",
        "\"team_id\":",
        "\"token\":",
        "\"retry_attempt\":",
        "\"retry_reason\":",
        "\"accepts_response_payload\":true",
        "\"authorizations\":[",
        "view_submission",
        "\\u005f",
    ],
    longest: 1024,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = pieces::texts([
        r#"{"type":"hello","num_connections":2,"debug_info":{"host":"h"},"connection_info":{"app_id":"A1"}}"#,
        r#"{"type":"disconnect","reason":"too_many_websockets"}"#,
        r#"{"type":"ping","id":7,"x":[1]}"#,
        r#"{"type":"events_api","envelope_id":"e1","payload":{"token":"hush","team_id":"T1","event_id":"Ev1","event":{"type":"message","token":"x"},"authorizations":[{"team_id":"T1"}],"event_time":5},"accepts_response_payload":false,"retry_attempt":1,"retry_reason":"timeout"}"#,
        r#"{"type":"events_api","envelope_id":"e2","payload":{"type":"app_rate_limited","minute_rate_limited":5}}"#,
        r#"{"type":"slash_commands","envelope_id":"e3","payload":{"command":"/do","text":"x","team_id":"T1","token":"hush"},"accepts_response_payload":true}"#,
        r#"{"type":"interactive","envelope_id":"e4","payload":{"type":"view_submission","team":{"id":"T1"}},"accepts_response_payload":true}"#,
        r#"{"type":"unheard_of","envelope_id":"e5","payload":[]}"#,
        r#"{"type":"events_api","envelope_id":"e6","payload":{"event":"#,
    ]);
    let wrapped = |event: &str| {
        format!(
            r#"{{"type":"events_api","envelope_id":"e","payload":{{"event_id":"Ev","event":{event}}}}}"#
        )
    };
    seeds.extend(
        samples::EVENTS
            .iter()
            .map(|event| wrapped(event).into_bytes()),
    );
    seeds.extend(samples::of_slack().into_iter().map(|payload| {
        [
            &br#"{"type":"events_api","envelope_id":"e","payload":"#[..],
            &payload,
            b"}",
        ]
        .concat()
    }));
    seeds
}

fn check(input: &[u8]) {
    let raw = Bytes::copy_from_slice(input);
    let said = proportion::bounded(input, 96, || socket_mode(raw));
    let Ok(frame) = Event::parse(input.to_vec()) else {
        let FrameMeaning::Bad {
            envelope_id: id, ..
        } = said
        else {
            panic!("no JSON object is {said:?}");
        };
        assert!(id.is_none() || id == envelope_id(input));
        return;
    };
    check_own(&frame);
    check_id(&frame, input);
    let text = |key: &str| frame.field(key).and_then(|value| value.into_text());
    match said {
        FrameMeaning::Bad { error, .. } => panic!("{error}"),
        FrameMeaning::Own => {
            assert!(["hello", "disconnect", "pong"].contains(&&*text("type").unwrap_or_default()))
        }
        FrameMeaning::Answer(answer) => {
            let answer = Event::parse(answer).expect("an answer is JSON");
            assert_eq!(answer.text("/type").as_deref(), Some("pong"));
        }
        FrameMeaning::Handed {
            event,
            origin,
            accepts_payload,
        } => {
            check_origin(&origin);
            assert!(accepts_payload || !origin.answerable);
            assert!(
                origin.envelope_id.is_none()
                    || origin.envelope_id.as_deref() == text("envelope_id").as_deref()
            );
            let Ok(event) = event else {
                assert!(frame.subtree("/payload").is_none());
                return;
            };
            check_event(&event, &frame);
        }
    }
}

/// The event must be what lies in the frame, less its tokens: that of a function is kept apart.
fn check_event(event: &Event, frame: &Event) {
    let notes = frame.notes();
    if notes.big_integers || notes.lone_surrogates {
        return;
    }
    let Ok(mut frame) = serde_json::from_slice::<Value>(frame.raw()) else {
        return;
    };
    let is_events_api = frame.get("type").and_then(Value::as_str) == Some("events_api");
    let mut expect = match frame.get_mut("payload") {
        Some(payload) if payload.is_object() => payload.take(),
        _ => frame,
    };
    if is_events_api && let Some(inner) = expect.get_mut("event").filter(|inner| inner.is_object())
    {
        expect = inner.take();
    }
    for token in ["token", "bot_access_token"] {
        expect
            .as_object_mut()
            .expect("it is an object")
            .remove(token);
    }
    let text = json::text(event);
    json::assert_same(&serde_json::from_str(&text).expect("it is JSON"), &expect);
}

/// The envelope of an event, without the event, is an object without tokens.
pub(super) fn check_origin(origin: &Origin) {
    assert!(origin.attempt >= 1);
    assert!(origin.response_urls.iter().all(|it| !it.url.is_empty()));
    if let Some(beside) = &origin.wrapper {
        let beside = Event::parse(beside.clone()).expect("it is an object");
        assert!(beside.field("token").is_none());
    }
}

/// A value that is found in the bytes must be the one that is read, if all of it can be read.
fn check_id(frame: &Event, input: &[u8]) {
    if frame.notes().duplicate_keys {
        return;
    }
    let read = frame.text("/envelope_id");
    let found = envelope_id(input);
    assert!(
        found.is_none() || found.as_deref() == read.as_deref(),
        "{found:?}, and {read:?}"
    );
    // A part of the frame has the same id, or none.
    let part = envelope_id(&input[..input.len() / 2]);
    assert!(part.is_none() || part == found, "{part:?}, and {found:?}");
}

/// RTM keeps answers and the like to itself, and hands on what it does not know.
fn check_own(frame: &Event) {
    let kind = frame.text("/type");
    let is_answer = frame.field("type").is_none() && frame.field("reply_to").is_some();
    let expect = is_answer || matches!(kind.as_deref(), Some("pong" | "reconnect_url"));
    assert_eq!(is_own(frame), expect);
}
