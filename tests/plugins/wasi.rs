//! Components that were built against WASI run, and can reach nothing through it but the time.

use djangobot_plugins::State;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only};

/// The part of WASI 0.2 that these guests import.
const IO: &str = "package wasi:io@0.2.0;
    interface poll { resource pollable { block: func(); } poll: func(in: list<borrow<pollable>>) -> list<u32>; }
    interface error { resource error; }
    interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
    }";
const CLI: &str = "package wasi:cli@0.2.0;
    interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }";
const CLOCKS: &str = "package wasi:clocks@0.2.0; interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable; }";
const RANDOM: &str =
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }";
const WORLD: &str = "package test:wasi; world guest { import wasi:cli/environment@0.2.0; import wasi:cli/stdout@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; import wasi:io/streams@0.2.0; import wasi:random/random@0.2.0; include djangobot:plugin/plugin@1.0.0; }";

/// A guest that imports WASI, as a component.
fn component(guest: &Guest) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let mut world = None;
    for text in [
        djangobot_plugins::install::component::WIT,
        IO,
        CLI,
        CLOCKS,
        RANDOM,
        WORLD,
    ] {
        let package = resolve.push_str("guest.wit", text).unwrap();
        world = resolve.packages[package].worlds.get("guest").copied();
    }
    let mut module = guest.wasm();
    embed_component_metadata(&mut module, &resolve, world.unwrap(), StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap();
    encoder.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_gets_no_environment_and_no_arguments() {
    let imports = r#"
        (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
        (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#;
    let mut guest = Guest::new().imports(imports);
    let answer = guest.data.edits(&[("/alone", Put::Text("yes"))]);
    // Each returns a list, as its address and its length.
    let guest = guest.on_event(&format!(
        "(call $environment (i32.const 200)) (call $arguments (i32.const 208))
         (if (i32.or (i32.load (i32.const 204)) (i32.load (i32.const 212))) (then unreachable))
         (i32.const {answer})"
    ));
    let stage = Stage::with(&[Role::of("wasi", component(&guest))]).await;
    assert_eq!(
        stage.status("wasi").state,
        State::Running,
        "{:?}",
        stage.status("wasi").why
    );
    assert_eq!(only(&stage.message("hi").await)["alone"], "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_sleeps_is_woken_by_its_limit() {
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $in (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
    // It sleeps for a thousand seconds.
    let guest = Guest::new()
        .imports(imports)
        .on_event("(call $block (call $in (i64.const 1000000000000))) (i32.const 16)");
    let mut role = Role::of("sleeps", component(&guest));
    role.limits.wait_ms = Some(100);
    let stage = Stage::with(&[role, Role::new("beside", &Guest::marks("beside", "yes"))]).await;
    for _ in 0..3 {
        assert_eq!(only(&stage.message("hi").await)["beside"], "yes");
    }
    let status = stage.status("sleeps");
    assert_eq!(
        (status.state, status.timeouts),
        (State::Quarantined, 3),
        "{status:?}"
    );
    assert!(
        status
            .why
            .unwrap()
            .contains("more than 100 ms with all that it waited for")
    );
}

/// Code that does `call` so many times. and keeps the event.
fn times(count: u32, call: &str) -> String {
    format!(
        "(local.set $n (i32.const {count}))
         (loop $again {call}
           (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
         (i32.const 16)"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_wasi_are_charged_like_all_calls_of_the_host() {
    // All values from the host lie at one address.
    let base = |imports: &str, on_event: &str| {
        let mut guest = Guest::new()
            .imports(imports)
            .fields("(func $start (drop (memory.grow (i32.const 16)))) (start $start)")
            .on_event(on_event);
        guest.realloc = "(i32.const 400000)".into();
        guest
    };
    let cases = [
        (
            "random",
            base(
                r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
                "(call $random (i64.const 50000000) (i32.const 64)) (i32.const 16)",
            ),
            "(limits.time-ms)",
        ),
        (
            "some-random",
            base(
                r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
                &times(900, "(call $random (i64.const 100000) (i32.const 64))"),
            ),
            "(limits.time-ms)",
        ),
        (
            "clock",
            base(
                r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))"#,
                &times(1_500, "(drop (call $now))"),
            ),
            "more than 1000 times",
        ),
        (
            "stdout",
            base(
                r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
                   (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
                   (global $out (mut i32) (i32.const 0))"#,
                &format!(
                    "(global.set $out (call $stdout)) {}",
                    times(
                        1_500,
                        "(call $write (global.get $out) (i32.const 65536) (i32.const 4096) (i32.const 64))"
                    )
                ),
            ),
            "more than 1000 times",
        ),
        (
            "poll",
            base(
                r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $in (param i64) (result i32)))
                   (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
                   (global $ready (mut i32) (i32.const 0))"#,
                &format!(
                    "(global.set $ready (call $in (i64.const 0)))
                     (local.set $n (i32.const 4000))
                     (loop $fill
                       (local.set $n (i32.sub (local.get $n) (i32.const 4)))
                       (i32.store (i32.add (i32.const 65536) (local.get $n)) (global.get $ready))
                       (br_if $fill (local.get $n)))
                     {}",
                    times(
                        900,
                        "(call $poll (i32.const 65536) (i32.const 1000) (i32.const 64))"
                    )
                ),
            ),
            "(limits.time-ms)",
        ),
    ];
    for (name, guest, expect) in cases {
        let mut role = Role::of(name, component(&guest));
        role.limits.wait_ms = Some(60_000);
        let stage = Stage::with(&[role, Role::new("beside", &Guest::marks("beside", "yes"))]).await;
        assert_eq!(
            stage.status(name).state,
            State::Running,
            "{name}: {:?}",
            stage.status(name).why
        );
        for _ in 0..3 {
            assert_eq!(only(&stage.message("hi").await)["beside"], "yes", "{name}");
        }
        let status = stage.status(name);
        assert_eq!(
            (status.state, status.over_budget + status.timeouts),
            (State::Quarantined, 3),
            "{name}: {status:?}"
        );
        // On a slow machine the guest's own time may be up first.
        let why = status.why.unwrap();
        assert!(
            why.contains(expect) || why.contains("computed for more than"),
            "{name}: {why}"
        );
    }
}
