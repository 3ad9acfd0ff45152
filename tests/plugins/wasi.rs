//! Components that were built against WASI: they run, and find nothing there but time.

use djangobot_plugins::State;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only};

/// What these guests import of WASI 0.2, as its WIT has it, cut to that.
const CLI: &str = "package wasi:cli@0.2.0; interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }";
const IO: &str = "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }";
const CLOCKS: &str = "package wasi:clocks@0.2.0; interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable; }";
const WORLD: &str = "package test:wasi; world guest { import wasi:cli/environment@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; include djangobot:plugin/plugin@1.0.0; }";

/// A component of a guest that imports WASI.
fn component(guest: &Guest) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let mut world = None;
    for text in [djangobot_plugins::component::WIT, CLI, IO, CLOCKS, WORLD] {
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
async fn there_is_no_environment_and_no_argument() {
    let imports = r#"
        (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
        (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#;
    let mut guest = Guest::new().imports(imports);
    let answer = guest.data.edits(&[("/alone", Put::Text("yes"))]);
    // Each gives a list: its place and its length.
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
    // A thousand seconds.
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
