//! Frames of every kind, and bytes of none.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn envelope(frame: &serde_json::Value) -> Envelope {
    match read(frame.to_string().into()) {
        Message::Envelope(envelope) => *envelope,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slacks_own_frames_differ_from_envelopes() {
    let check = |frame: serde_json::Value, expect: fn(&Message) -> bool| {
        let message = read(frame.to_string().into());
        assert!(expect(&message), "{frame}: {message:?}");
    };
    check(
        json!({"type": "hello", "num_connections": 2, "debug_info": {}}),
        |it| {
            matches!(
                it,
                Message::Hello {
                    num_connections: Some(2),
                    ..
                }
            )
        },
    );
    for odd in [json!(-1), json!("2"), json!(1e30), json!(null)] {
        check(json!({"type": "hello", "num_connections": odd}), |it| {
            matches!(
                it,
                Message::Hello {
                    num_connections: None,
                    ..
                }
            )
        });
    }
    check(json!({"type": "pong"}), |it| matches!(it, Message::Pong));
    check(
        json!({"type": "disconnect", "reason": "warning"}),
        |it| matches!(it, Message::Disconnect(Reason::Refresh(word)) if word == "warning"),
    );
    check(json!({"type": "disconnect"}), |it| {
        matches!(it, Message::Disconnect(Reason::Refresh(_)))
    });
    check(
        json!({"type": "disconnect", "reason": "too_many_websockets"}),
        |it| matches!(it, Message::Disconnect(Reason::TooMany)),
    );
    check(
        json!({"type": "disconnect", "reason": "link_disabled"}),
        |it| matches!(it, Message::Disconnect(Reason::LinkDisabled)),
    );
}

#[test]
fn a_ping_in_json_is_answered_with_what_it_carries() {
    let check = |ping: &str, expect: &str| match read(ping.to_owned().into()) {
        Message::Ping(answer) => assert_eq!(answer, expect),
        other => panic!("{other:?}"),
    };
    check(r#"{"type":"ping"}"#, r#"{"type":"pong"}"#);
    check(
        r#"{"type":"ping","id":7,"time":1.5}"#,
        r#"{"type":"pong","id":7,"time":1.5,"reply_to":7}"#,
    );
    let long = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(MAX_PING));
    check(&long, r#"{"type":"pong"}"#);
}

#[test]
fn an_envelope_says_how_it_was_given() {
    let read = envelope(&json!({
        "type": "events_api", "envelope_id": "E1", "accepts_response_payload": false,
        "retry_attempt": 2, "retry_reason": "timeout",
        "payload": {"event": {"type": "message"}, "event_id": "Ev1", "team_id": "T1", "event_time": 5},
    }));
    assert_eq!(
        read.origin,
        Origin {
            event_id: Some("Ev1".into()),
            envelope_id: Some("E1".into()),
            attempt: 3,
            retry_reason: Some("timeout".into()),
            team_id: Some("T1".into()),
            wrapper: Some(r#"{"event_time":5}"#.into()),
            ..Origin::default()
        }
    );
    assert_eq!(
        read.event.unwrap().raw(),
        br#"{"type":"message"}"#.as_slice()
    );

    let read = envelope(&json!({
        "type": "slash_commands", "envelope_id": "E2", "accepts_response_payload": true,
        "retry_attempt": 0, "retry_reason": "", "payload": {"command": "/do", "token": "hush"},
    }));
    assert!(read.accepts_payload && read.origin.answerable);
    assert_eq!((read.origin.attempt, read.origin.retry_reason), (1, None));
    assert_eq!(read.origin.kind.as_deref(), Some("slash_commands"));
    assert!(read.event.unwrap().field("token").is_none());
}

#[test]
fn only_where_slack_takes_an_answer_is_one_wanted() {
    let check = |payload: serde_json::Value, accepts: serde_json::Value, expect| {
        let read = envelope(
            &json!({"type": "interactive", "envelope_id": "E", "accepts_response_payload": accepts, "payload": payload}),
        );
        assert_eq!(read.origin.answerable, expect, "{payload} {accepts}");
    };
    check(json!({"type": "view_submission"}), json!(true), true);
    check(json!({"type": "view_submission"}), json!(false), false);
    check(json!({"type": "view_submission"}), json!(null), false);
    check(json!({"type": "block_actions"}), json!(true), false);
}

#[test]
fn an_unknown_envelope_is_handed_on_as_it_is() {
    let check = |frame: serde_json::Value, kind: Option<&str>, event: serde_json::Value| {
        let read = envelope(&frame);
        assert_eq!(read.origin.kind.as_deref(), kind, "{frame}");
        let raw: serde_json::Value = serde_json::from_slice(read.event.unwrap().raw()).unwrap();
        assert_eq!(raw, event, "{frame}");
    };
    let with = json!({"type": "canvas", "envelope_id": "E", "payload": {"type": "x"}});
    check(with, Some("canvas"), json!({"type": "x"}));
    let without = json!({"type": "canvas", "envelope_id": "E"});
    check(without.clone(), Some("canvas"), without);
    let nameless = json!({"ok": false, "error": "internal_error"});
    check(nameless.clone(), None, nameless);
}

#[test]
fn oddities_of_an_envelope_do_not_hide_its_id() {
    let check = |frame: serde_json::Value, id: Option<&str>| {
        assert_eq!(
            envelope(&frame).origin.envelope_id.as_deref(),
            id,
            "{frame}"
        );
    };
    for payload in [json!(null), json!([]), json!("{}"), json!(7)] {
        let frame = json!({"type": "events_api", "envelope_id": "E", "payload": payload});
        check(frame.clone(), Some("E"));
        assert!(matches!(
            envelope(&frame).event,
            Err(BadFrame::Unreadable { .. })
        ));
    }
    check(
        json!({"type": "events_api", "envelope_id": 7, "payload": {}}),
        None,
    );
    check(
        json!({"type": "events_api", "envelope_id": "x".repeat(2000), "payload": {}}),
        None,
    );
    for (attempt, expect) in [
        (json!(-3), 1),
        (json!("1"), 1),
        (json!(i64::MAX), 1),
        (json!(1.5), 1),
    ] {
        let frame = json!({"type": "events_api", "envelope_id": "E", "retry_attempt": attempt, "payload": {}});
        assert_eq!(envelope(&frame).origin.attempt, expect, "{frame}");
    }
}

#[test]
fn a_frame_that_is_not_an_envelope_is_bad_with_its_id_where_it_has_one() {
    let check = |raw: &'static [u8], expect: Option<&str>| match read(raw.into()) {
        Message::Bad { envelope_id, error } => {
            assert_eq!(envelope_id.as_deref(), expect, "{error}");
        }
        other => panic!("{other:?}"),
    };
    check(b"", None);
    check(b"Ping from applink", None);
    check(b"[]", None);
    check(br#"{"envelope_id":"E1","payload":{"#, Some("E1"));
    match too_long(1 << 30, 1 << 20, br#"{"envelope_id":"E1","payload":{"a"#) {
        Message::Bad {
            envelope_id,
            error: BadFrame::TooLong { .. },
        } => assert_eq!(envelope_id.as_deref(), Some("E1")),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd_to_be_read(bytes in vec(any::<u8>(), 0..300)) {
        read(bytes.into());
    }

    #[test]
    fn every_object_is_read(
        kind in "hello|disconnect|ping|pong|events_api|slash_commands|interactive|\\PC{0,9}",
        key in "payload|reason|id|num_connections|retry_attempt|envelope_id|accepts_response_payload",
        value in r#"null|true|-?[0-9]{1,30}|1e999|"\PC{0,8}"|\{"event":(1|\{\})\}|\[\]"#,
    ) {
        let frame = format!(r#"{{"type":{},"{key}":{value}}}"#, json!(kind));
        if serde_json::from_str::<serde::de::IgnoredAny>(&frame).is_ok() {
            let is_bad = matches!(read(frame.into()), Message::Bad { .. });
            prop_assert!(!is_bad);
        }
    }
}
