//! The policy `on-error`: an event on which a plugin fails passes, is dropped or is held, as the operator set.

use std::time::Duration;

use djangobot_plugins::{OnError, State};

use crate::guest::Guest;
use crate::stage::{Role, Stage, only};

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_failing_plugin_pass_or_are_dropped_as_the_operator_set() {
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
    // It fails three times in all. No state of the component outlives an instance, so it counts in the store.
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
    // The event is held through the quarantine of a second, and goes on after the first call that ends well.
    only(&stage.message("hi").await);
    let status = stage.status("recovers");
    assert_eq!(status.state, State::Running, "{status:?}");
    assert_eq!((status.traps, status.kept), (3, 1), "{status:?}");
}
