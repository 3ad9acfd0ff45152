//! Tests of the ids of events, the `djangobot` key, and the body of djangobot 0.1.

use super::*;

fn envelope() -> Envelope {
    let mut envelope = Envelope::new(BodyFormat::Flat, "slack.send".into(), "rtm");
    envelope.set_team("T1");
    envelope
}

fn ids(frames: [&'static str; 2]) -> [String; 2] {
    let mut envelope = envelope();
    frames.map(|json| {
        let event = Event::parse(json).unwrap();
        let receipt = Receipt {
            received: UNIX_EPOCH,
            origin: Origin::default(),
        };
        envelope.id(&event.text("/type").unwrap(), &event, &receipt)
    })
}

#[test]
fn a_message_is_named_by_its_conversation_and_ts_alone() {
    let [live, from_history] = ids([
        r#"{"type":"message","channel":"C1","ts":"1.2","text":"a"}"#,
        r#"{"type":"message","ts":"1.2","channel":"C1","team":"T1"}"#,
    ]);
    assert_eq!(live, "T1.message.C1.1.2");
    assert_eq!(live, from_history);
}

#[test]
fn a_change_of_a_message_is_not_the_message() {
    let [changed, deleted] = ids([
        r#"{"type":"message","channel":"C1","ts":"1.2","subtype":"message_changed"}"#,
        r#"{"type":"message","channel":"C1","ts":"1.2","subtype":"message_deleted"}"#,
    ]);
    assert_eq!(changed, "T1.message_changed.C1.1.2");
    assert_eq!(deleted, "T1.message_deleted.C1.1.2");
}

#[test]
fn slacks_own_id_is_the_events_where_it_gives_one() {
    let check = |json: &'static str, kind: &str, origin: Origin, expect: &str| {
        let receipt = Receipt {
            received: UNIX_EPOCH,
            origin,
        };
        let event = Event::parse(json).unwrap();
        assert_eq!(envelope().id(kind, &event, &receipt), expect);
    };
    let origin = Origin {
        event_id: Some("Ev1".into()),
        envelope_id: Some("e1".into()),
        ..Origin::default()
    };
    check(
        r#"{"type":"pin_added"}"#,
        "pin_added",
        origin.clone(),
        "Ev1",
    );
    let message = r#"{"type":"message","channel":"C1","ts":"1.2"}"#;
    check(message, "message", origin.clone(), "T1.message.C1.1.2");
    let mention = r#"{"type":"app_mention","channel":"C1","ts":"1.2"}"#;
    check(
        mention,
        "app_mention",
        origin.clone(),
        "T1.app_mention.C1.1.2",
    );
    let command = r#"{"command":"/deploy","trigger_id":"9.9"}"#;
    let envelope = Origin {
        event_id: None,
        ..origin
    };
    check(command, "slash_commands", envelope, "e1");
    check(
        command,
        "slash_commands",
        Origin::default(),
        "T1.slash_commands.9.9",
    );
}

#[test]
fn other_events_are_told_apart_by_their_bytes() {
    let [one, again] = ids([r#"{"type":"pin_added","event_ts":"1.2","item":{"channel":"C1"}}"#; 2]);
    assert_eq!(one, again);
    assert!(one.starts_with("T1.pin_added.C1.1.2."), "{one}");
    let [one, other] = ids([
        r#"{"type":"pin_added","event_ts":"1.2","user":"U1"}"#,
        r#"{"type":"pin_added","event_ts":"1.2","user":"U2"}"#,
    ]);
    assert_ne!(one, other);
}

#[test]
fn events_without_a_time_are_each_their_own() {
    let [one, next] = ids([r#"{"type":"user_typing","channel":"C1","user":"U1"}"#; 2]);
    assert_ne!(one, next);
    assert!(one.starts_with("T1.user_typing.C1."), "{one}");
}

#[test]
fn the_djangobot_key_has_the_documented_shape() {
    let receipt = Receipt {
        received: UNIX_EPOCH + std::time::Duration::from_micros(1_795_345_843_830_000),
        origin: Origin::default(),
    };
    let about: serde_json::Value =
        serde_json::from_slice(&envelope().djangobot_key("x", &receipt)).unwrap();
    let expect = serde_json::json!(
        {"id": "x", "team_id": "T1", "transport": "rtm", "received_at": 1795345843.83, "attempt": 1});
    assert_eq!(about, expect);

    let again = Receipt {
        origin: Origin {
            attempt: 2,
            retry_reason: Some("timeout".into()),
            team_id: Some("T2".into()),
            wrapper: Some(r#"{"event_time": 7}"#.into()),
            ..Origin::default()
        },
        ..receipt
    };
    let about: serde_json::Value =
        serde_json::from_slice(&envelope().djangobot_key("x", &again)).unwrap();
    let expect = serde_json::json!(
        {"id": "x", "team_id": "T2", "transport": "rtm", "received_at": 1795345843.83, "attempt": 2,
         "retry_reason": "timeout", "event_time": 7});
    assert_eq!(about, expect);
}

#[test]
fn our_keys_win_over_slacks_of_the_same_names() {
    let check = |wrapper: &'static str, expect: serde_json::Value| {
        let receipt = Receipt {
            received: UNIX_EPOCH,
            origin: Origin {
                wrapper: Some(wrapper.into()),
                ..Origin::default()
            },
        };
        let about = envelope().djangobot_key("ours", &receipt);
        let text = String::from_utf8(about).unwrap();
        let about: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours = serde_json::json!(
            {"id": "ours", "team_id": "T1", "transport": "rtm", "received_at": 0.0, "attempt": 1});
        let mut all = ours.as_object().unwrap().clone();
        all.extend(expect.as_object().unwrap().clone());
        assert_eq!(about, serde_json::Value::Object(all), "{text}");
        assert_eq!(text.matches("\"attempt\"").count(), 1, "{text}");
    };
    check("{}", serde_json::json!({}));
    check(
        r#"{"id":"theirs","attempt":[9],"transport":null,"received_at":{},"retry_reason":"x","event_time":7.10}"#,
        serde_json::json!({"event_time": 7.10}),
    );
    check(r#"{"id":1}"#, serde_json::json!({}));
    let deeper = r#"{"authorizations":[{"id":5,"team_id":"T9"}],"word":"transport"}"#;
    check(deeper, serde_json::from_str(deeper).unwrap());
}

#[test]
fn a_signed_request_that_comes_again_is_the_same_event() {
    let mut envelope = envelope();
    let mut id = |signature: &str, received| {
        let receipt = Receipt {
            received: UNIX_EPOCH + std::time::Duration::from_secs(received),
            origin: Origin {
                signature: Some(signature.into()),
                ..Origin::default()
            },
        };
        let event = Event::parse(r#"{"type":"view_closed","view":{"id":"V1"}}"#).unwrap();
        envelope.id("view_closed", &event, &receipt)
    };
    assert_eq!(id("a2114d57", 1), id("a2114d57", 2));
    assert_ne!(id("a2114d57", 1), id("b2114d57", 1));
}

#[test]
fn the_body_of_djangobot_0_1_has_its_bytes() {
    let check = |filler: usize, head: &[u8]| {
        let event = Event::parse(format!("{{\"type\":\"{}\"}}", "x".repeat(filler))).unwrap();
        let payload = v01_payload(Serializer::Msgpack, &event);
        assert!(payload.starts_with(b"\x81\xa4text"));
        assert!(payload[6..].starts_with(head), "{:02x?}", &payload[..12]);
        assert!(payload.ends_with(event.raw()));
    };
    check(0, &[0xc4, 11]);
    check(245, &[0xc5, 1, 0]);
    check(0x10000, &[0xc6, 0, 1, 0, 11]);
}
