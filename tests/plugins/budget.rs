//! The host's work for a plugin has a bound: too much of it, in one call or in many, is a failure of the plugin, and
//! the event goes on as it was.

use djangobot_plugins::State;
use serde_json::{Value, json};

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only};

/// The number of elements of the large array.
const MANY: usize = 250_000;

fn large_event() -> Value {
    json!({"type": "message", "text": "hi", "list": vec![0; MANY]})
}

/// Code that does `call` so many times.
fn times(count: u32, call: &str) -> String {
    format!(
        "(local.set $n (i32.const {count}))
         (loop $again {call}
           (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"
    )
}

/// Checks that the guest is stopped at each event, which is counted, and that nothing else changes. On a slow machine
/// the guest's own time may be up first, since both count against one budget.
async fn is_over_budget(stage: &Stage, name: &str, event: &Value) {
    assert_eq!(
        stage.status(name).state,
        State::Running,
        "{name}: {:?}",
        stage.status(name).why
    );
    for _ in 0..3 {
        let mut out = only(&stage.event(event.clone()).await);
        assert_eq!(out["beside"], "yes", "{name}");
        out.as_object_mut().unwrap().remove("beside");
        assert!(out == *event, "{name} changed the event");
    }
    let status = stage.status(name);
    assert_eq!(
        (
            status.state,
            status.over_budget + status.timeouts,
            status.calls
        ),
        (State::Quarantined, 3, 3),
        "{name}: {status:?}"
    );
    let why = status.why.unwrap();
    assert!(
        why.contains("(limits.time-ms)") || why.contains("computed for more than 50 ms"),
        "{name}: {why}"
    );
}

async fn check(name: &str, role: Role, event: &Value) {
    let beside = Role::new("beside", &Guest::marks("beside", "yes"));
    let mut role = Role {
        name: name.into(),
        ..role
    };
    // The test is about the work and not about the clock.
    role.limits.wait_ms = Some(60_000);
    let stage = Stage::with(&[role, beside]).await;
    is_over_budget(&stage, name, event).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_that_go_through_a_large_array_ten_thousand_times_are_over_the_budget() {
    let last = format!("/list/{}", MANY - 1);
    let event = large_event();
    let sets = Guest::new().answers(|data| data.edits(&vec![(&*last, Put::Number(1.0)); 10_000]));
    check("sets", Role::new("", &sets), &event).await;
    let removes =
        Guest::new().answers(|data| data.edits(&vec![("/list/200000", Put::Remove); 5_000]));
    check("removes", Role::new("", &removes), &event).await;
    // Each new key is compared with those that were added before it.
    let keys: Vec<String> = (0..15_000).map(|n| format!("/k{n}")).collect();
    let edits: Vec<_> = keys.iter().map(|key| (&**key, Put::Number(1.0))).collect();
    let adds = Guest::new().answers(|data| data.edits(&edits));
    check("adds", Role::new("", &adds), &json!({"type": "message"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_edits_of_a_large_array_are_made() {
    let last = format!("/list/{}", MANY - 1);
    let guest = Guest::new()
        .answers(|data| data.edits(&[(&*last, Put::Number(1.0)), ("/list/0", Put::Number(2.0))]));
    let stage = Stage::with(&[Role::new("few", &guest)]).await;
    let out = only(&stage.event(large_event()).await);
    assert_eq!(
        (&out["list"][0], &out["list"][MANY - 1]),
        (&json!(2.0), &json!(1.0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_from_a_large_event_again_and_again_is_over_the_budget() {
    let event = large_event();
    let pointer = format!("/list/{}", MANY - 1);

    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/event@1.0.0" "get" (func $get (param i32 i32 i32)))"#,
    );
    let at = guest.data.put(pointer.as_bytes());
    guest.before_answer = times(
        900,
        &format!(
            "(call $get (i32.const {at}) (i32.const {}) (i32.const 64))",
            pointer.len()
        ),
    );
    check("gets", Role::new("", &guest), &event).await;

    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/event@1.0.0" "select" (func $select (param i32 i32 i32)))"#,
    );
    let at = guest.data.put(pointer.as_bytes());
    let list = guest.data.words(&[at, pointer.len()].repeat(900));
    guest.before_answer =
        format!("(call $select (i32.const {list}) (i32.const 900) (i32.const 64))");
    check("selects", Role::new("", &guest), &event).await;

    let mut guest = Guest::new()
        .imports(r#"(import "djangobot:plugin/event@1.0.0" "json" (func $json (param i32)))"#);
    // The guest frees the host's values at once, so that its memory is not the limit.
    guest.realloc = "(i32.const 65536)".into();
    guest = guest.fields("(func $start (drop (memory.grow (i32.const 16)))) (start $start)");
    guest.before_answer = times(900, "(call $json (i32.const 64))");
    check("json", Role::new("", &guest), &event).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_store_and_the_roster_are_charged() {
    let event = json!({"type": "message", "text": "hi"});
    let mut guest = Guest::new()
        .imports(r#"(import "djangobot:plugin/store@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))"#)
        .fields("(func $start (drop (memory.grow (i32.const 16)))) (start $start)")
        .on_event(&format!(
            "{} (i32.const 16)",
            times(900, "(call $set (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 1000000) (i32.const 0) (i64.const 0) (i32.const 64))")
        ));
    guest.data.put(b"key");
    let mut role = Role::new("", &guest).manifest("capabilities = [\"store\"]\n");
    role.grants = vec!["store"];
    check("stores", role, &event).await;

    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/roster@1.0.0" "get-users" (func $users (param i32 i32 i32)))"#,
    );
    let at = guest.data.put(b"U024BE91L");
    let list = guest.data.words(&[at, 9].repeat(900));
    guest.realloc = "(i32.const 65536)".into();
    let guest = guest
        .fields("(func $start (drop (memory.grow (i32.const 16)))) (start $start)")
        .on_event(&format!(
            "{} (i32.const 16)",
            times(
                900,
                &format!("(call $users (i32.const {list}) (i32.const 900) (i32.const 64))")
            )
        ));
    check("users", Role::new("", &guest), &event).await;
}

/// A schema with 28 levels, each of which refers to the next one twice.
fn bomb() -> String {
    let twice = |n: u32| {
        let next = format!("{{ \"$ref\" = \"#/$defs/a{}\" }}", n + 1);
        format!("a{n} = {{ allOf = [{next}, {next}] }}, ")
    };
    let levels: String = (0..28).map(twice).collect();
    format!(
        "config-schema = {{ \"$ref\" = \"#/$defs/a0\", \"$defs\" = {{ {levels} a28 = {{ type = \"object\" }} }} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_a_schema_that_takes_too_long_is_ended_and_the_host_goes_on() {
    let bomb = bomb();
    assert!(bomb.len() < 5_000);
    let stage = Stage::with(&[
        Role::new("bomb", &Guest::new()).manifest(&bomb),
        Role::new("beside", &Guest::marks("beside", "yes")),
    ])
    .await;
    let status = stage.status("bomb");
    assert_eq!(status.state, State::Refused, "{status:?}");
    assert!(
        status
            .why
            .clone()
            .unwrap()
            .contains("config-schema takes more than"),
        "{status:?}"
    );
    assert_eq!(only(&stage.message("hi").await)["beside"], "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_one_and_a_config_that_does_not_fit_are_errors() {
    let cases = [
        (
            "config-schema = { type = \"nonsense\" }\n",
            "its config-schema is not a JSON Schema",
        ),
        (
            "config-schema = { \"$ref\" = \"#/nowhere\" }\n",
            "its config-schema is not a JSON Schema",
        ),
        (
            "config-schema = { required = [\"key\"] }\n",
            "\"key\" is a required property",
        ),
    ];
    for (schema, expect) in cases {
        let stage = Stage::with(&[Role::new("a", &Guest::new()).manifest(schema)]).await;
        let status = stage.status("a");
        assert_eq!(status.state, State::Refused, "{status:?}");
        assert!(status.why.clone().unwrap().contains(expect), "{status:?}");
    }
}
