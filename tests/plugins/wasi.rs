//! Components that were built against WASI run, and can reach nothing through it but the time.

use djangobot_plugins::State;
use wasm_compose::composer::ComponentComposer;
use wasm_compose::config::Config;
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
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }";
const CLOCKS: &str = "package wasi:clocks@0.2.0; interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable; }";
const RANDOM: &str =
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }";
const WORLD: &str = "package test:wasi; world guest { import wasi:cli/environment@0.2.0; import wasi:cli/stdout@0.2.0; import wasi:cli/stderr@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; import wasi:io/streams@0.2.0; import wasi:random/random@0.2.0; include djangobot:plugin/plugin@1.0.0; }";

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

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_shows_the_end_of_what_the_guest_wrote_to_stderr_in_that_call() {
    let imports = r#"
        (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#;
    let mut guest = Guest::new().imports(imports);
    // As Python does it: each word is a write of its own, with a flush after it.
    let words: Vec<String> = ["KeyError", ": ", "'missing", " key'", " (app.py:44)"]
        .iter()
        .map(|word| {
            let at = guest.data.put(word.as_bytes());
            format!(
                "(call $write (local.get $n) (i32.const {at}) (i32.const {}) (i32.const 64))",
                word.len()
            )
        })
        .collect();
    let guest = guest.on_event(&format!(
        "(local.set $n (call $stderr)) {} unreachable",
        words.concat()
    ));
    let stage = Stage::with(&[Role::of("fails", component(&guest))]).await;
    for _ in 0..3 {
        only(&stage.message("hi").await);
    }
    let why = stage.status("fails").why.unwrap();
    // Once, and not three times: what another call wrote is not of this failure.
    let said = "it wrote to stderr: KeyError: 'missing key' (app.py:44)";
    assert!(why.contains(said), "{why}");
    assert_eq!(why.matches("KeyError").count(), 1, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_names_the_guests_function() {
    let deep = "(func $handle_message (call $look_up)) (func $look_up unreachable)";
    let guest = Guest::new()
        .fields(deep)
        .on_event("(call $handle_message) (i32.const 16)");
    let stage = Stage::with(&[Role::new("traps", &guest)]).await;
    for _ in 0..3 {
        only(&stage.message("hi").await);
    }
    let why = stage.status("traps").why.unwrap();
    assert!(
        why.contains("unreachable") && why.contains("in look_up"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_for_the_first_version_of_wasi_runs() {
    let imports = r#"
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))"#;
    let mut guest = Guest::new().imports(imports);
    let line = guest.data.put(b"hello\n");
    let list = guest.data.words(&[line, 6]);
    let guest = guest.on_event(&format!(
        "(if (call $write (i32.const 1) (i32.const {list}) (i32.const 1) (i32.const 64)) (then unreachable))
         (if (call $clock (i32.const 0) (i64.const 1) (i32.const 72)) (then unreachable))
         (if (i64.eqz (i64.load (i32.const 72))) (then unreachable))
         (i32.const 16)"
    ));
    let stage = Stage::with(&[Role::new("preview1", &guest)]).await;
    let status = stage.status("preview1");
    assert_eq!(status.state, State::Running, "{:?}", status.why);
    only(&stage.message("hi").await);
    let status = stage.status("preview1");
    assert_eq!(
        (status.kept, status.failures()),
        (1, 0),
        "{status:?} {:?}",
        status.why
    );
}

/// The interface between the two components that are composed.
const HELPER: &str =
    "package test:helper@1.0.0; interface shout { shout: func(text: string) -> string; }";

/// `module` as a component of a world that is defined here, next to our own interface and the helper's.
fn component_of(module: &[u8], world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let mut found = None;
    for text in [djangobot_plugins::install::component::WIT, HELPER, world] {
        let package = resolve.push_str("guest.wit", text).unwrap();
        found = resolve.packages[package].worlds.get("guest").copied();
    }
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, found.unwrap(), StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_composed_of_two_components_runs() {
    // It writes an exclamation mark over the last byte of the text, in a memory of its own.
    let helper = wat::parse_str(
        r#"(module
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
          (func (export "test:helper/shout@1.0.0#shout") (param $at i32) (param $length i32) (result i32)
            (i32.store8 (i32.sub (i32.add (local.get $at) (local.get $length)) (i32.const 1)) (i32.const 33))
            (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $length))
            (i32.const 16)))"#,
    );
    let mut guest = Guest::new()
        .imports(r#"(import "test:helper/shout@1.0.0" "shout" (func $shout (param i32 i32 i32)))"#);
    let (text, pointer) = (guest.data.put(b"hello?"), guest.data.put(b"/said"));
    let at = guest.data.words(&[0, 1, 400, 1]);
    let guest = guest.on_event(&format!(
        "(call $shout (i32.const {text}) (i32.const 6) (i32.const 64))
         (i32.store (i32.const 400) (i32.const 0))
         (i32.store (i32.const 408) (i32.const {pointer})) (i32.store (i32.const 412) (i32.const 5))
         (i32.store (i32.const 416) (i32.const 5))
         (i32.store (i32.const 424) (i32.load (i32.const 64))) (i32.store (i32.const 428) (i32.load (i32.const 68)))
         (i32.const {at})"
    ));
    let helper = component_of(
        &helper.unwrap(),
        "package test:a; world guest { export test:helper/shout@1.0.0; }",
    );
    let plugin = component_of(
        &guest.wasm(),
        "package test:b; world guest { import test:helper/shout@1.0.0; include djangobot:plugin/plugin@1.0.0; }",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("helper.wasm"), helper).unwrap();
    std::fs::write(path("plugin.wasm"), plugin).unwrap();
    let config = Config {
        dir: folder.path().to_owned(),
        definitions: vec![path("helper.wasm")],
        ..Config::default()
    };
    let composed = ComponentComposer::new(&path("plugin.wasm"), &config).compose();
    let stage = Stage::with(&[Role::of("composed", composed.unwrap())]).await;
    let status = stage.status("composed");
    assert_eq!(status.state, State::Running, "{:?}", status.why);
    assert_eq!(only(&stage.message("hi").await)["said"], "hello!");
}
