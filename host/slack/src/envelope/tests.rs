//! Payloads of each kind, and frames of which little is left.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn opened(wrapping: &str, payload: &serde_json::Value) -> (serde_json::Value, Origin) {
    let payload = Event::from_value(payload).unwrap();
    let (event, origin) = Wrapping::of(wrapping.into()).open(payload);
    let mut text = Vec::new();
    event.write_json(&mut text);
    (serde_json::from_slice(&text).unwrap(), origin)
}

#[test]
fn the_inner_event_of_the_events_api_comes_out_and_its_wrapper_is_kept() {
    let event = json!({"type": "message", "text": "hi", "token": "of the inner event"});
    let (event, origin) = opened(
        "events_api",
        &json!({
            "token": "hush", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event": event,
            "event_id": "Ev1", "event_time": 1_700_000_000, "event_context": "4-\"é\"", "ratio": 1.5,
            "huge": u64::MAX, "is_ext_shared_channel": false, "context_enterprise_id": null,
            "authorizations": [{"user_id": "U1", "is_bot": true}],
        }),
    );
    assert_eq!(event, json!({"type": "message", "text": "hi"}));
    let wrapper: serde_json::Value = serde_json::from_slice(&origin.wrapper.unwrap()).unwrap();
    assert_eq!(
        wrapper,
        json!({
            "api_app_id": "A1", "event_time": 1_700_000_000, "event_context": "4-\"é\"", "ratio": 1.5,
            "huge": u64::MAX, "is_ext_shared_channel": false, "context_enterprise_id": null,
            "authorizations": [{"user_id": "U1", "is_bot": true}],
        })
    );
    assert_eq!(
        (origin.event_id.as_deref(), origin.team_id.as_deref()),
        (Some("Ev1"), Some("T1"))
    );
    assert_eq!(
        (origin.kind, origin.answerable, origin.attempt),
        (None, false, 1)
    );
}

#[test]
fn an_inner_event_shares_the_text_that_it_came_in() {
    let payload =
        Event::parse(r#"{"event": { "type":"message" ,"n":1.50},"event_id":"Ev1"}"#).unwrap();
    let within = payload.raw().as_ptr_range();
    let (event, origin) = Wrapping::EventsApi.open(payload);
    assert_eq!(event.raw(), br#"{ "type":"message" ,"n":1.50}"#.as_slice());
    assert!(within.contains(&event.raw().as_ptr()));
    assert_eq!(origin.wrapper, None);
}

#[test]
fn without_an_inner_event_the_payload_is_the_event() {
    let (event, origin) = opened(
        "events_api",
        &json!({"token": "hush", "type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1, "api_app_id": "A1"}),
    );
    assert_eq!(
        event,
        json!({"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1, "api_app_id": "A1"})
    );
    assert_eq!(origin.team_id.as_deref(), Some("T1"));
}

#[test]
fn other_payloads_stay_flat_and_lose_their_token() {
    let check = |wrapping, payload, kind: Option<&str>, answerable, team: Option<&str>| {
        let (event, origin) = opened(wrapping, &payload);
        let mut expect = payload.clone();
        expect.as_object_mut().unwrap().remove("token");
        expect.as_object_mut().unwrap().remove("bot_access_token");
        assert_eq!(event, expect);
        assert_eq!(
            (origin.kind.as_deref(), origin.answerable),
            (kind, answerable),
            "{payload}"
        );
        assert_eq!(origin.team_id.as_deref(), team, "{payload}");
    };
    let command = json!({"token": "hush", "command": "/do", "text": "it", "team_id": "T1"});
    check(
        "slash_commands",
        command,
        Some("slash_commands"),
        true,
        Some("T1"),
    );
    for (kind, answerable) in [
        ("block_actions", false),
        ("shortcut", false),
        ("view_closed", false),
        ("block_suggestion", true),
        ("view_submission", true),
        ("dialog_suggestion", true),
    ] {
        let payload =
            json!({"type": kind, "token": "hush", "team": {"id": "T1"}, "user": {"team_id": "T2"}});
        check("interactive", payload, None, answerable, Some("T1"));
    }
    check(
        "interactive",
        json!({"type": "block_actions", "bot_access_token": "hush", "user": {"team_id": "T2"}}),
        None,
        false,
        Some("T2"),
    );
    check(
        "a_new_one",
        json!({"type": "x", "a": 1}),
        Some("a_new_one"),
        false,
        None,
    );
}

#[test]
fn the_token_of_a_function_is_kept_apart_for_the_app() {
    let event = json!({"type": "function_executed", "function_execution_id": "Fx1", "bot_access_token": "xwfp-hush"});
    let (event, origin) = opened("events_api", &json!({"event": event, "team_id": "T1"}));
    assert_eq!(
        event,
        json!({"type": "function_executed", "function_execution_id": "Fx1"})
    );
    let token = origin.bot_access_token.as_ref().map(BotAccessToken::expose);
    assert_eq!(token, Some("xwfp-hush"));
    assert!(!format!("{origin:?}").contains("hush"), "{origin:?}");
}

#[test]
fn commands_and_interactions_have_addresses_for_answers_and_events_have_none() {
    let payload = json!({"type": "block_actions", "response_url": "https://hooks.slack.com/1", "channel": {"id": "C1"},
        "event": {"type": "message", "response_url": "https://hooks.slack.com/2"}});
    let check = |wrapping, expect: usize| {
        assert_eq!(
            opened(wrapping, &payload).1.response_urls.len(),
            expect,
            "{wrapping}"
        );
    };
    check("slash_commands", 1);
    check("interactive", 1);
    check("events_api", 0);
    check("a_new_one", 0);
}

#[test]
fn the_id_of_a_broken_envelope_is_found_where_it_can_be() {
    let check = |frame: &[u8], expect: Option<&str>| {
        assert_eq!(
            id_in(frame).as_deref(),
            expect,
            "{}",
            String::from_utf8_lossy(frame)
        );
    };
    check(br#"{"envelope_id":"E1","payload":{"cut":"o"#, Some("E1"));
    check(
        br#"{"payload":{"a":[1,"]"]},"envelope_id" : "E1""#,
        Some("E1"),
    );
    check(
        b"{\"text\":\"\xff\xfe\",\"envelope_id\":\"E\\u00e9\\\"\"",
        Some("Eé\""),
    );
    check(
        br#"{"payload":{"envelope_id":"no"},"envelope_id":"E1""#,
        Some("E1"),
    );
    check(br#"{"payload":{"envelope_id":"no"},"x":}"#, None);
    check(br#"{"text":"\"envelope_id\":\"no\"","x":}"#, None);
    check(br#"{"text":"envelope_id","x":"no"}"#, None);
    check(br#"{"envelope_id":17}"#, None);
    check(br#"{"envelope_id":"E1"#, None);
    check(br#"{"envelope_id"#, None);
    check(br#"{"a":"\"#, None);
    check(
        br#"se_payload":false,"envelope_id":"E1","payload":{"te"#,
        Some("E1"),
    );
    check(
        br#"t":"\"envelope_id\":\"no\"","envelope_id":"E1""#,
        Some("E1"),
    );
    check(b"envelope_id", None);
    check(b"", None);
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd_to_be_searched(bytes in vec(prop::sample::select(b"{}[]\":\\,envelope_id\xff".to_vec()), 0..200)) {
        id_in(&bytes);
    }

    #[test]
    fn the_id_is_found_however_a_frame_is_cut_behind_it(id in "\\PC{0,20}", rest in vec(any::<u8>(), 0..100)) {
        let mut frame = format!(r#"{{"envelope_id":{},"payload":"#, json!(id)).into_bytes();
        frame.extend(rest);
        prop_assert_eq!(id_in(&frame), Some(id));
    }

    #[test]
    fn every_object_can_be_opened_and_the_wrapper_of_an_event_is_an_object(
        text in r#"\{("(event|event_id|team_id|type|token|team|a\\"b)":(\{"type":"x","token":1\}|"\PC{0,5}"|-?[0-9]{1,25}(\.[0-9])?|null|true|\[1,"x"\]),){0,6}"z":1e400\}"#,
        wrapping in prop::sample::select(vec!["events_api", "slash_commands", "interactive", "odd"]),
    ) {
        if let Ok(payload) = Event::parse(text) {
            let (event, origin) = Wrapping::of(wrapping.into()).open(payload);
            prop_assert!(event.field("token").is_none());
            if let Some(wrapper) = origin.wrapper {
                let wrapper = Event::parse(wrapper).unwrap();
                prop_assert!(NOT_IN_WRAPPER.iter().all(|key| wrapper.field(key).is_none()));
            }
        }
    }
}
