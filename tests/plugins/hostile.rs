//! Plugins that try to harm the host: each costs the plugin its instance, never the event, and never another plugin.

use djangobot_plugins::{OnError, State};
use serde_json::json;

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only};

const LOOP: &str = "(loop $for_ever (br $for_ever)) unreachable";
const LOG: &str =
    r#"(import "djangobot:plugin/log@1.0.0" "write" (func $log (param i32 i32 i32)))"#;
const STORE: &str = r#"(import "djangobot:plugin/store@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))"#;

/// Code that calls `call` so many times.
fn times(count: u32, call: &str) -> String {
    format!(
        "(local.set $n (i32.const {count}))
         (loop $again {call}
           (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
         (i32.const 16)"
    )
}

/// Each case has a guest and a part of the error about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_goes_wrong_costs_neither_the_event_nor_another_plugin() {
    let recursion = "(call $deeper (i32.const 1))";
    let deeper = "(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))";
    let cases: Vec<(&str, Guest, &str)> = vec![
        ("loop", Guest::new().on_event(LOOP), "computed for more than 50 ms"),
        ("trap", Guest::new().on_event("unreachable"), "unreachable"),
        ("stack", Guest::new().on_event(recursion).fields(deeper), "call stack exhausted"),
        (
            "memory",
            Guest::new().on_event("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"),
            "more than 16 MiB",
        ),
        (
            "table",
            Guest::new()
                .fields("(table $t 1 funcref)")
                .on_event("(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)))) unreachable"),
            "tables of more than 100000 entries",
        ),
        ("bounds", Guest::new().on_event("(i32.load (i32.const -8))"), "out of bounds"),
        ("result", Guest::new().on_event("(i32.const 2000000000)"), "trapped"),
        ("misaligned", Guest::new().on_event("(i32.const 17)"), "trapped"),
        (
            "calls",
            Guest::new().imports(LOG).on_event(&times(1_000_000, "(call $log (i32.const 0) (i32.const 16) (i32.const 0))")),
            "more than 1000 times",
        ),
        (
            "utf8",
            Guest::new().answers(|data| data.drops(b"\xff\xfe")),
            "trapped",
        ),
        ("error", Guest::new().answers(|data| data.error(b"not today")), "not today"),
    ];
    for (name, guest, expect) in cases {
        let beside = Role::new("beside", &Guest::marks("beside", "yes"));
        let stage = Stage::with(&[Role::new(name, &guest), beside]).await;
        assert_eq!(
            stage.status(name).state,
            State::Running,
            "{name}: {:?}",
            stage.status(name).why
        );
        for _ in 0..5 {
            let out = only(&stage.message("hi").await);
            assert_eq!(
                out,
                json!({"type": "message", "text": "hi", "channel": "C1", "n": 1, "beside": "yes"}),
                "{name}"
            );
        }
        let status = stage.status(name);
        assert_eq!(status.state, State::Quarantined, "{name}: {status:?}");
        assert_eq!(status.failures(), 3, "{name}: {status:?}");
        assert_eq!(status.bypassed, 2, "{name}");
        let why = status.why.unwrap();
        assert!(why.contains(expect), "{name}: {why}");
        assert_eq!(stage.status("beside").modified, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_start_is_refused_with_the_reason() {
    let loops = Guest {
        realloc: LOOP.into(),
        ..Guest::new()
    };
    let cases: Vec<(&str, Guest, &str)> = vec![
        (
            "init-loops",
            Guest::new().init(LOOP),
            "computed for more than 50 ms",
        ),
        (
            "init-traps",
            Guest::new().init("unreachable"),
            "unreachable",
        ),
        (
            "start-loops",
            Guest::new().fields(&format!("(func $s {}) (start $s)", "(loop $l (br $l))")),
            "computed for more than 50 ms",
        ),
        ("realloc-loops", loops, "computed for more than 50 ms"),
        ("large", Guest::new().fields("(memory $second 1)"), ""),
        (
            "refuses",
            {
                let mut guest = Guest::new();
                let at = guest.data.error(b"the key is wrong");
                guest.init(&format!("(i32.const {at})"))
            },
            "the key is wrong",
        ),
    ];
    for (name, guest, expect) in cases {
        let stage = Stage::with(&[
            Role::new(name, &guest),
            Role::new("beside", &Guest::marks("beside", "yes")),
        ])
        .await;
        let status = stage.status(name);
        assert_eq!(status.state, State::Refused, "{name}: {status:?}");
        assert!(
            status.why.clone().unwrap().contains(expect),
            "{name}: {status:?}"
        );
        assert_eq!(only(&stage.message("hi").await)["beside"], "yes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_a_plugin_is_refused_with_the_reason() {
    let good = Guest::new().wasm();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"hello, this is not WebAssembly".to_vec()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("module", wat::parse_str("(module)").unwrap()),
        ("component", wat::parse_str("(component)").unwrap()),
        (
            "import",
            Guest::new()
                .imports(r#"(import "wasi:http/types@0.2.0" "x" (func))"#)
                .wasm(),
        ),
    ];
    for (name, component) in cases {
        let stage = Stage::with(&[
            Role::of(name, component),
            Role::new("beside", &Guest::marks("beside", "yes")),
        ])
        .await;
        let status = stage.status(name);
        assert_eq!(status.state, State::Refused, "{name}: {status:?}");
        assert!(status.why.unwrap().len() > 20, "{name}");
        assert_eq!(only(&stage.message("hi").await)["beside"], "yes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_that_was_not_granted_is_named_with_the_cure() {
    let guest = Guest::new().imports(STORE);
    let role = Role::new("keeper", &guest).manifest("capabilities = [\"store\"]\n");
    let stage = Stage::with(std::slice::from_ref(&role)).await;
    let why = stage.status("keeper").why.unwrap();
    assert!(
        why.contains("`store`") && why.contains("djangobot plugin update keeper --grant store"),
        "{why}"
    );
    let granted = Role {
        grants: vec!["store"],
        ..role
    };
    stage.plays(&[granted]).await;
    assert_eq!(
        stage.status("keeper").state,
        State::Running,
        "{:?}",
        stage.status("keeper").why
    );
}

/// A guest that calls the four interfaces of capabilities, and marks the event if all of them answer `denied`.
fn asks_for_all() -> Guest {
    let mut guest = Guest::new().imports(STORE).imports(
        r#"(import "djangobot:plugin/slack@1.0.0" "send" (func $send (param i32 i32 i32)))
        (import "djangobot:plugin/secrets@1.0.0" "get" (func $secret (param i32 i32 i32)))
        (import "djangobot:plugin/http@1.0.0" "fetch"
          (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#,
    );
    let message = guest.data.put(b"{\"text\":\"hi\"}");
    let url = guest.data.put(b"https://example.com/");
    // Each result is an error, tag 1, whose first case is `denied`, tag 0.
    let denied = "(if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable))
        (if (i32.load8_u (i32.const 68)) (then unreachable))";
    guest.before_answer = format!(
        "(call $set (i32.const {message}) (i32.const 4) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 64)) {denied}
         (call $send (i32.const {message}) (i32.const 13) (i32.const 64))
         (if (i32.load8_u (i32.const 72)) (then unreachable)) {denied}
         (call $secret (i32.const {message}) (i32.const 3) (i32.const 64)) {denied}
         (call $fetch (i32.const {message}) (i32.const 3) (i32.const {url}) (i32.const 20) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)) {denied}"
    );
    guest.answers(|data| data.edits(&[("/denied", Put::Text("all"))]))
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_capabilities_that_were_not_asked_for_or_not_granted_answer_denied() {
    let all = "[\"store\", \"slack\", \"secrets:KEY\", \"http:example.com\"]";
    let optional = format!("optional-capabilities = {all}\n");
    for (manifest, grants) in [
        ("", vec![]),
        // A grant counts only if the manifest asks for it in the same words.
        ("", vec!["store", "slack"]),
        (&*optional, vec![]),
    ] {
        let mut role = Role::new("asks", &asks_for_all()).manifest(manifest);
        role.grants = grants;
        let stage = Stage::with(&[role]).await;
        let passed = stage.message("hi").await;
        assert_eq!(
            only(&passed)["denied"],
            "all",
            "{manifest}: {:?}",
            stage.status("asks")
        );
        assert!(passed.messages.is_empty());
        assert_eq!(stage.usage("asks"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_capability_that_was_granted_can_be_used() {
    let set = "(call $set (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 60000) (i32.const 0) (i64.const 0) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then unreachable))
        (i32.const 16)";
    let mut guest = Guest::new().imports(STORE).on_event(set);
    guest.data.put(b"key1");
    let mut role = Role::new("keeper", &guest).manifest("optional-capabilities = [\"store\"]\n");
    role.grants = vec!["store"];
    let stage = Stage::with(&[role]).await;
    only(&stage.message("hi").await);
    assert_eq!(
        stage.status("keeper").kept,
        1,
        "{:?}",
        stage.status("keeper")
    );
    assert!(stage.usage("keeper") > 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_over_its_quota_is_an_error_for_the_plugin_and_other_plugins_keys_are_not_seen() {
    // The plugin stores 100,000 bytes under a key of 4 bytes, and its quota is 0.
    let set = "(call $set (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 60000) (i32.const 0) (i64.const 0) (i32.const 64))
        (i32.load8_u (i32.const 64))
        (if (result i32) (then (i32.const 16)) (else unreachable))";
    let mut guest = Guest::new().imports(STORE).on_event(set);
    guest.data.put(b"key1");
    let mut role = Role::new("keeper", &guest).manifest("capabilities = [\"store\"]\n");
    role.grants = vec!["store"];
    role.limits.store_mib = Some(0);
    let stage = Stage::with(&[role]).await;
    only(&stage.message("hi").await);
    let status = stage.status("keeper");
    assert_eq!((status.kept, status.traps), (1, 0), "{status:?}");
    assert_eq!(stage.usage("keeper"), 0);
    let other = stage.store.of("other", 1 << 20).unwrap();
    other.set("key1", b"theirs", None).unwrap();
    assert_eq!(
        stage
            .store
            .of("keeper", 1 << 20)
            .unwrap()
            .get("key1")
            .unwrap(),
        None
    );
}

/// Code that takes so many pages more.
fn leaks(pages: u32) -> String {
    format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_leaks_is_replaced_between_two_events_with_its_state() {
    // The guest leaks a mebibyte for each event, and may have 16. Its state is the number of its calls.
    let lifecycle = r#"(global $seen (mut i32) (i32.const 0))
        (func (export "djangobot:plugin/lifecycle@1.0.0#health") (result i32) (i32.const 16))
        (func (export "djangobot:plugin/lifecycle@1.0.0#snapshot") (result i32)
          (i32.store (i32.const 200) (global.get $seen))
          (i32.store (i32.const 208) (i32.const 200))
          (i32.store (i32.const 212) (i32.const 4))
          (i32.const 208))
        (func (export "djangobot:plugin/lifecycle@1.0.0#restore") (param $at i32) (param $length i32) (result i32)
          (global.set $seen (i32.load (local.get $at))) (i32.const 16))"#;
    let mut guest = Guest::new().fields(lifecycle);
    let at = guest.data.edits(&[("/seen", Put::Text("000"))]);
    let digits = guest.data.find(b"000");
    let digit = |place: usize, unit: u32| {
        format!(
            "(i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (global.get $seen) (i32.const {unit})) (i32.const 10))))",
            digits + place
        )
    };
    let guest = guest.on_event(&format!(
        "{} (global.set $seen (i32.add (global.get $seen) (i32.const 1))) {} {} {} (i32.const {at})",
        leaks(16),
        digit(0, 100),
        digit(1, 10),
        digit(2, 1)
    ));
    let stage = Stage::with(&[Role::new("leaks", &guest).on_error(OnError::Drop)]).await;
    for n in 1..=100 {
        let out = only(&stage.message("hi").await);
        assert_eq!(out["seen"], format!("{n:03}"));
    }
    let status = stage.status("leaks");
    let figures = (status.state, status.modified, status.failures());
    assert_eq!(figures, (State::Running, 100, 0), "{status:?}");
    assert!(status.retired >= 5, "{status:?}");
    assert!(status.memory_bytes <= 16 << 20, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_begins_large_is_not_replaced_for_that() {
    let guest = Guest::new().init(&format!("{} (i32.const 16)", leaks(220)));
    let stage = Stage::with(&[Role::new("large", &guest)]).await;
    for _ in 0..10 {
        only(&stage.message("hi").await);
    }
    let status = stage.status("large");
    assert_eq!((status.kept, status.retired), (10, 0), "{status:?}");
    assert!(status.memory_bytes > 12 << 20, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_that_is_too_large_for_the_rest_of_the_memory_costs_the_instance_alone() {
    let guest = Guest::new().on_event(&format!("{} (i32.const 16)", leaks(170)));
    let stage = Stage::with(&[Role::new("leaks", &guest)]).await;
    for _ in 0..20 {
        only(&stage.message("hi").await);
    }
    let status = stage.status("leaks");
    assert_eq!(status.state, State::Running, "{status:?}");
    assert!(status.over_budget >= 5 && status.kept >= 5, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_for_the_compiler_is_refused_or_loaded_and_the_host_goes_on() {
    // One function with many thousand blocks, all of which the register allocator has to consider.
    let body =
        "(local.set $n (i32.add (i32.mul (local.get $n) (i32.const 3)) (i32.load (local.get $n))))"
            .repeat(20_000);
    let guest = Guest::new().on_event(&format!("(if (i32.const 0) (then {body})) (i32.const 16)"));
    let stage = Stage::with(&[
        Role::new("bomb", &guest),
        Role::new("beside", &Guest::marks("beside", "yes")),
    ])
    .await;
    assert_eq!(only(&stage.message("hi").await)["beside"], "yes");
    assert!(stage.folder().exists());
}

const TAG: &str = "(tag $e (param i32))";

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_throw_and_catch_and_keep_its_objects_in_the_engines_heap() {
    let deep = "(func $deep (param i32)
        (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (throw $e (i32.const 16)))))";
    let catches = "(block $caught (result i32)
        (try_table (catch $e $caught) (call $deep (i32.const 100)))
        unreachable)";
    // 100 times a list of objects of 100 KB in all, each of which replaces the one before.
    let types = "(type $bytes (array (mut i8)))
        (type $node (struct (field (ref null $node)) (field (ref $bytes))))
        (global $list (mut (ref null $node)) (ref.null $node))";
    let garbage = "(global.set $list (struct.new $node (ref.null $node) (array.new_default $bytes (i32.const 100000))))";
    let guests = [
        (
            "throws",
            Guest::new().fields(TAG).fields(deep).on_event(catches),
        ),
        (
            "allocates",
            Guest::new().fields(types).on_event(&times(100, garbage)),
        ),
    ];
    for (name, guest) in guests {
        let stage = Stage::with(&[Role::new(name, &guest)]).await;
        for _ in 0..50 {
            only(&stage.message("hi").await);
        }
        let status = stage.status(name);
        let figures = (status.state, status.kept, status.failures());
        assert_eq!(figures, (State::Running, 50, 0), "{name}: {:?}", status.why);
        assert!(status.memory_bytes <= 16 << 20, "{name}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncaught_exception_and_a_heap_that_only_grows_cost_the_instance_alone() {
    let for_ever = "(loop $again
          (drop (block $caught (result i32) (try_table (catch $e $caught) (throw $e (i32.const 16))) unreachable))
          (br $again))
        unreachable";
    let types = "(type $bytes (array (mut i8)))
        (type $node (struct (field (ref null $node)) (field (ref $bytes))))
        (global $list (mut (ref null $node)) (ref.null $node))";
    let grows = "(loop $more
          (global.set $list (struct.new $node (global.get $list) (array.new_default $bytes (i32.const 1000000))))
          (br $more))
        unreachable";
    let huge = "(drop (array.new_default $bytes (i32.const -1))) unreachable";
    let throwing = Guest::new().fields(TAG);
    let growing = Guest::new().fields(types);
    let cases = [
        (
            "uncaught",
            throwing.clone().on_event("(throw $e (i32.const 1))"),
            "exception",
        ),
        (
            "throws-for-ever",
            throwing.clone().on_event(for_ever),
            "computed for more than 50 ms",
        ),
        ("grows", growing.clone().on_event(grows), "more than 16 MiB"),
        ("huge", growing.on_event(huge), ""),
    ];
    for (name, guest, expect) in cases {
        let beside = Role::new("beside", &Guest::marks("beside", "yes"));
        let stage = Stage::with(&[Role::new(name, &guest), beside]).await;
        let status = stage.status(name);
        assert_eq!(status.state, State::Running, "{name}: {:?}", status.why);
        for _ in 0..5 {
            assert_eq!(only(&stage.message("hi").await)["beside"], "yes", "{name}");
        }
        let status = stage.status(name);
        assert_eq!(status.state, State::Quarantined, "{name}: {status:?}");
        let why = status.why.unwrap();
        assert!(why.contains(expect), "{name}: {why}");
    }
    let thrown = throwing.init("(throw $e (i32.const 1))");
    let stage = Stage::with(&[Role::new("init", &thrown)]).await;
    let why = stage.status("init").why.unwrap();
    assert!(
        why.contains("did not start") && why.contains("exception"),
        "{why}"
    );
}
