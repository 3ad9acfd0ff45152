//! What becomes of an event that a plugin fails on: passed, dropped or held, as the operator says.

use std::time::Duration;

use djangobot_plugins::{OnError, State};

use crate::guest::Guest;
use crate::stage::{Role, Stage, only};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_plugin_passes_or_drops_as_its_operator_says() {
    let guest = Guest::new().on_event("unreachable");
    let stage = Stage::with(&[Role::new("fails", &guest).on_error(OnError::Drop)]).await;
    // Quarantined or not: nothing passes unseen.
    for _ in 0..5 {
        let passed = stage.message("hi").await;
        assert!(passed.events.is_empty());
        assert!(passed.dropped.unwrap().failed);
    }
    assert_eq!(stage.status("fails").state, State::Quarantined);
    stage.plays(&[Role::new("fails", &guest)]).await;
    only(&stage.message("hi").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_event_goes_on_when_the_plugin_is_replaced_or_removed() {
    let fails = Role::new("guard", &Guest::new().on_event("unreachable")).on_error(OnError::Hold);
    let works = Role::new("guard", &Guest::marks("seen", "yes"))
        .on_error(OnError::Hold)
        .version("2.0.0");
    for (roles, seen) in [
        (vec![works], serde_json::json!("yes")),
        (vec![], serde_json::Value::Null),
    ] {
        let stage = Stage::with(std::slice::from_ref(&fails)).await;
        let held = stage.message("hi");
        tokio::pin!(held);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut held).await;
        assert!(early.is_err(), "it is held: {early:?}");
        let (passed, ()) = tokio::join!(held, stage.plays(&roles));
        assert_eq!(only(&passed)["seen"], seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_ends_when_the_plugin_works_again() {
    // It fails three times in all: state of the component that outlives an instance does not exist, so it counts in the
    // store.
    let import = r#"(import "djangobot:plugin/store@1.0.0" "increment" (func $increment (param i32 i32 i64 i32)))"#;
    let body = "(call $increment (i32.const 1024) (i32.const 1) (i64.const 1) (i32.const 64))
        (if (i64.le_s (i64.load (i32.const 72)) (i64.const 3)) (then unreachable))
        (i32.const 16)";
    let mut guest = Guest::new().imports(import).on_event(body);
    guest.data.put(b"n");
    let mut role = Role::new("recovers", &guest)
        .manifest("capabilities = [\"store\"]\n")
        .on_error(OnError::Hold);
    role.grants = vec!["store"];
    let stage = Stage::with(&[role]).await;
    // Held through the quarantine of a second, and let go by the first call that ends well.
    only(&stage.message("hi").await);
    let status = stage.status("recovers");
    assert_eq!(status.state, State::Running, "{status:?}");
    assert_eq!((status.traps, status.kept), (3, 1), "{status:?}");
}
