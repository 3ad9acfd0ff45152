//! The parts of the interface beyond reading and editing an event: timers, answers, deferrals, outcomes, facts about the
//! host, and whole numbers of any size.

use std::time::Duration;

use djangobot_event::Event;
use djangobot_plugins::{Direction, HostKind, PluginEvent, State};
use serde_json::{Value, json};

use crate::guest::{Guest, Put};
use crate::stage::{PluginOutput, Role, Stage, only, value};

/// A guest that emits `standup` for each event.
fn emits() -> Guest {
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/emitter@1.0.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#,
    );
    let (kind, body) = (guest.data.put(b"standup"), guest.data.put(b"{\"a\":1}"));
    guest.before_answer = format!(
        "(call $emit (i32.const {kind}) (i32.const 7) (i32.const {body}) (i32.const 7) (i32.const 64))"
    );
    guest
}

async fn pass(stage: &Stage, event: PluginEvent) -> PluginOutput {
    stage.host.pass(Direction::Inbound, event, 7).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_timer_comes_to_its_plugin_alone_and_what_it_emits_goes_on() {
    let timer = "emits = [\"standup\"]\ntimer = [{ name = \"tick\", every = \"1s\" }]\n";
    let hears = "[\"djangobot.timer\", \"message\"]";
    let ticks = Role::new("ticks", &emits()).manifest(timer).inbound(hears);
    let beside = Role::new("beside", &Guest::marks("beside", "yes")).inbound("[\"*\"]");
    let stage = Stage::with(&[ticks, beside]).await;
    let state = stage.status("ticks");
    assert_eq!(state.state, State::Running, "{:?}", state.why);
    let due = tokio::time::timeout(Duration::from_secs(60), stage.host.next_timer())
        .await
        .unwrap();
    let body = value(&due.body);
    assert_eq!(
        (&body["name"], &*due.kind),
        (&json!("tick"), "djangobot.timer")
    );
    assert_eq!(body["due_ms"].as_u64().unwrap() % 1_000, 0);
    let again = stage.host.next_timer().await;
    assert!(value(&again.body)["due_ms"].as_u64() > body["due_ms"].as_u64());
    let passed = pass(&stage, due).await;
    // The event itself goes no further, and the other plugin sees what was emitted.
    assert_eq!(passed.events.len(), 1, "{passed:?}");
    assert_eq!(&*passed.events[0].kind, "standup");
    assert_eq!(
        value(&passed.events[0].body),
        json!({"a": 1, "beside": "yes"})
    );
    assert_eq!(stage.status("beside").calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_the_hosts_own_comes_from_the_host_alone() {
    let role = Role::new("ticks", &emits())
        .manifest("emits = [\"standup\"]\n")
        .inbound("[\"*\"]");
    let stage = Stage::with(&[role]).await;
    let out = only(&stage.event(json!({"type": "djangobot.timer"})).await);
    assert_eq!(out, json!({"type": "djangobot.timer"}));
    assert_eq!(stage.status("ticks").calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_answers_an_event_that_takes_an_answer_and_no_other() {
    let guest = Guest::new().answers(|data| data.answers_with("{\"text\":\"pong\"}"));
    let stage = Stage::with(&[Role::new("answers", &guest)]).await;
    let event = |is_answerable| PluginEvent {
        is_answerable,
        ..PluginEvent::new(
            "Ev1",
            "message",
            Event::parse("{\"type\":\"message\"}").unwrap(),
        )
    };
    let passed = pass(&stage, event(true)).await;
    let answer = passed.answer.unwrap();
    assert_eq!(
        (answer.plugin.as_str(), value(&answer.message)),
        ("answers", json!({"text": "pong"}))
    );
    assert!(passed.events.is_empty() && passed.dropped.is_none());
    assert_eq!(pass(&stage, event(false)).await.events.len(), 1);
    let status = stage.status("answers");
    assert_eq!((status.answered, status.bad_answers), (1, 1), "{status:?}");
    let guest = Guest::new().answers(|data| data.answers_with("[1]"));
    let stage = Stage::with(&[Role::new("answers", &guest)]).await;
    assert!(pass(&stage, event(true)).await.answer.is_none());
}

/// A guest that defers an event by `ms` milliseconds for the first `times` calls, and keeps it then.
fn defers(times: u32, ms: usize) -> Guest {
    let mut guest = Guest::new().fields("(global $calls (mut i32) (i32.const 0))");
    let at = guest.data.defers(ms);
    guest.on_event(&format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (result i32) (i32.le_u (global.get $calls) (i32.const {times}))
           (then (i32.const {at})) (else (i32.const 16)))"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_event_comes_again_to_a_plugin_whose_manifest_says_so() {
    let role = Role::new("waits", &defers(2, 10)).manifest("defers = true\n");
    let stage = Stage::with(&[role]).await;
    only(&stage.message("hi").await);
    let status = stage.status("waits");
    assert_eq!((status.deferred, status.kept), (2, 1), "{status:?}");
    let event = Event::parse("{}").unwrap();
    assert!(stage.host.may_wait(
        Direction::Inbound,
        &PluginEvent::new("Ev1", "message", event)
    ));

    let stage = Stage::with(&[Role::new("waits", &defers(2, 10))]).await;
    only(&stage.message("hi").await);
    assert_eq!(stage.status("waits").bad_answers, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_deferred_for_ever_ends_as_on_error_says() {
    use djangobot_plugins::OnError;
    for (on_error, passes) in [(OnError::Pass, 1), (OnError::Drop, 0)] {
        let role = Role::new("waits", &defers(u32::MAX, 0))
            .manifest("defers = true\n")
            .on_error(on_error);
        let stage = Stage::with(&[role]).await;
        let passed = stage.message("hi").await;
        assert_eq!(passed.events.len(), passes, "{passed:?}");
        assert_eq!(passed.dropped.is_some_and(|it| it.failed), passes == 0);
        assert_eq!(stage.status("waits").deferred, 101);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_the_id_that_its_plugin_was_told() {
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/slack@1.0.0" "send" (func $send (param i32 i32 i32)))"#,
    );
    let message = guest.data.put(b"{\"text\":\"hi\"}");
    let pointer = guest.data.put(b"/sent");
    let at = guest.data.words(&[0, 1, 400, 1]);
    let send = format!("(call $send (i32.const {message}) (i32.const 13) (i32.const 64))");
    let guest = guest.on_event(&format!(
        "{send} {send}
         ;; One edit at 400: set, the pointer, and as its text the id that the second call returned.
         (i32.store (i32.const 400) (i32.const 0))
         (i32.store (i32.const 408) (i32.const {pointer})) (i32.store (i32.const 412) (i32.const 5))
         (i32.store (i32.const 416) (i32.const 5))
         (i32.store (i32.const 424) (i32.load (i32.const 72))) (i32.store (i32.const 428) (i32.load (i32.const 76)))
         (i32.const {at})"
    ));
    let role = Role {
        grants: vec!["slack"],
        ..Role::new("sends", &guest).manifest("capabilities = [\"slack\"]\n")
    };
    let stage = Stage::with(&[role]).await;
    let passed = stage.message("hi").await;
    let ids: Vec<&str> = passed.messages.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["Ev1.sends.send.1", "Ev1.sends.send.2"]);
    assert_eq!(only(&passed)["sent"], "Ev1.sends.send.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_comes_to_the_plugin_that_sent_the_message() {
    let hears = Role::new("hears", &emits())
        .manifest("emits = [\"standup\"]\n")
        .inbound("[\"djangobot.sent\"]");
    let other = Role::new("other", &emits())
        .manifest("emits = [\"standup\"]\n")
        .inbound("[\"djangobot.*\"]");
    let stage = Stage::with(&[hears, other]).await;
    let outcome = |kind| {
        let body =
            Event::parse("{\"type\":\"djangobot.sent\",\"id\":\"Ev1.hears.send.1\"}").unwrap();
        PluginEvent::of_host("o", kind, body, "hears")
    };
    assert!(
        stage
            .host
            .wants(Direction::Inbound, &outcome(HostKind::Sent))
    );
    assert!(
        !stage
            .host
            .wants(Direction::Inbound, &outcome(HostKind::Failed))
    );
    let passed = pass(&stage, outcome(HostKind::Sent)).await;
    assert_eq!(passed.events.len(), 1, "{passed:?}");
    assert_eq!(
        (stage.status("hears").calls, stage.status("other").calls),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_number_of_any_size_is_read_and_written_as_it_is() {
    let digits = "123456789012345678901234567890";
    let edits = [
        ("/big", Put::BigInteger(digits)),
        ("/negative", Put::BigInteger("-18446744073709551616")),
    ];
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/event@1.0.0" "get" (func $get (param i32 i32 i32)))"#,
    );
    let pointer = guest.data.put(b"/n");
    // Some value, whose case is that of a big integer, of 20 digits.
    guest.before_answer = format!(
        "(call $get (i32.const {pointer}) (i32.const 2) (i32.const 64))
         (if (i32.ne (i32.load8_u (i32.const 72)) (i32.const 3)) (then unreachable))
         (if (i32.ne (i32.load (i32.const 84)) (i32.const 20)) (then unreachable))"
    );
    let guest = guest.answers(|data| data.edits(&edits));
    let stage = Stage::with(&[Role::new("big", &guest)]).await;
    let event = Event::parse("{\"type\":\"message\",\"n\":18446744073709551615}").unwrap();
    let passed = pass(&stage, PluginEvent::new("Ev1", "message", event)).await;
    let mut json = Vec::new();
    passed.events[0].body.write_json(&mut json);
    let json = String::from_utf8(json).unwrap();
    assert!(
        json.contains(&format!("\"big\":{digits}"))
            && json.contains("\"negative\":-18446744073709551616"),
        "{json} {:?}",
        stage.status("big")
    );
    let guest = Guest::new().answers(|data| data.edits(&[("/x", Put::BigInteger("12x"))]));
    let stage = Stage::with(&[Role::new("not", &guest)]).await;
    assert_eq!(only(&stage.message("hi").await)["x"], Value::Null);
    assert_eq!(stage.status("not").bad_answers, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_learns_its_name_its_grants_and_its_instance() {
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/host@1.0.0" "name" (func $name (param i32)))
        (import "djangobot:plugin/host@1.0.0" "grants" (func $grants (param i32)))
        (import "djangobot:plugin/host@1.0.0" "instances" (func $instances (result i32)))
        (import "djangobot:plugin/host@1.0.0" "is-rehearsal" (func $rehearses (result i32)))
        (import "djangobot:plugin/random@1.0.0" "bytes" (func $random (param i32 i32)))
        (import "djangobot:plugin/random@1.0.0" "number" (func $number (result i64)))"#,
    );
    let pointer = guest.data.put(b"/name");
    let at = guest.data.words(&[0, 1, 400, 1]);
    let guest = guest.on_event(&format!(
        "(call $grants (i32.const 64))
         (if (i32.ne (i32.load (i32.const 68)) (i32.const 1)) (then unreachable))
         (if (i32.ne (call $instances) (i32.const 3)) (then unreachable))
         (if (call $rehearses) (then unreachable))
         (call $random (i32.const 1000) (i32.const 64))
         (if (i32.ne (i32.load (i32.const 68)) (i32.const 1000)) (then unreachable))
         (if (i64.eq (call $number) (call $number)) (then unreachable))
         (call $name (i32.const 64))
         (i32.store (i32.const 400) (i32.const 0))
         (i32.store (i32.const 408) (i32.const {pointer})) (i32.store (i32.const 412) (i32.const 5))
         (i32.store (i32.const 416) (i32.const 5))
         (i32.store (i32.const 424) (i32.load (i32.const 64))) (i32.store (i32.const 428) (i32.load (i32.const 68)))
         (i32.const {at})"
    ));
    let mut role = Role::new("knows-itself", &guest).manifest("capabilities = [\"store\"]\n");
    role.grants = vec!["store"];
    role.instances = Some(3);
    let stage = Stage::with(&[role]).await;
    let out = only(&stage.message("hi").await);
    assert_eq!(
        out["name"],
        "knows-itself",
        "{:?}",
        stage.status("knows-itself")
    );
}
