//! Replacing plugins while events flow: no event is lost or doubled, state is handed on, and a worse version is kept
//! out.

use djangobot_plugins::State;
use serde_json::json;

use crate::guest::Guest;
use crate::stage::{Role, Stage, only};

/// A guest whose state is the number of events that it has seen, in a global that it hands on.
fn counts(version: &str, restore: &str) -> Guest {
    let lifecycle = format!(
        r#"(global $seen (mut i32) (i32.const 0))
        (func (export "djangobot:plugin/lifecycle@1.0.0#health") (result i32) (i32.const 16))
        (func (export "djangobot:plugin/lifecycle@1.0.0#snapshot") (result i32)
          (i32.store (i32.const 200) (global.get $seen))
          (i32.store (i32.const 208) (i32.const 200))
          (i32.store (i32.const 212) (i32.const 4))
          (i32.const 208))
        (func (export "djangobot:plugin/lifecycle@1.0.0#restore") (param $at i32) (param $length i32) (result i32) {restore})"#
    );
    let mut guest = Guest::new().fields(&lifecycle);
    // The text of the mark is a digit, which the guest writes to the place that its answer points to.
    let at = guest.data.edits(&[
        ("/seen", crate::guest::Put::Text("0")),
        ("/by", crate::guest::Put::Text(version)),
    ]);
    let digit = guest.data.find(b"0");
    guest.on_event(&format!(
        "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
         (i32.store8 (i32.const {digit}) (i32.add (i32.const 48) (i32.rem_u (global.get $seen) (i32.const 10))))
         (i32.const {at})"
    ))
}

const RESTORE: &str = "(global.set $seen (i32.load (local.get $at))) (i32.const 16)";

#[tokio::test(flavor = "multi_thread")]
async fn state_passes_to_the_next_version_and_a_version_that_refuses_it_stays_out() {
    let stage = Stage::with(&[Role::new("counts", &counts("one", RESTORE))]).await;
    for n in 1..=3 {
        assert_eq!(only(&stage.message("hi").await)["seen"], n.to_string());
    }
    stage
        .plays(&[Role::new("counts", &counts("two", RESTORE)).version("2.0.0")])
        .await;
    let out = only(&stage.message("hi").await);
    assert_eq!((&out["by"], &out["seen"]), (&json!("two"), &json!("4")));
    stage
        .plays(&[Role::new("counts", &counts("three", "unreachable")).version("3.0.0")])
        .await;
    let out = only(&stage.message("hi").await);
    assert_eq!((&out["by"], &out["seen"]), (&json!("two"), &json!("5")));
    let status = stage.status("counts");
    assert_eq!(status.version.as_deref(), Some("2.0.0"));
    assert!(status.why.unwrap().contains("did not take the state"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_recent_events_or_does_not_start_stays_out() {
    let good = Role::new("v", &Guest::marks("by", "one"));
    let stage = Stage::with(std::slice::from_ref(&good)).await;
    stage.message("hi").await;
    let bad: Vec<(Guest, &str)> = vec![
        (Guest::new().on_event("unreachable"), "recent event"),
        (
            Guest::new().on_event("(loop $l (br $l)) unreachable"),
            "recent event",
        ),
        (Guest::new().init("unreachable"), "did not start"),
        (
            Guest::new().answers(|data| data.drops(b"\xff")),
            "recent event",
        ),
    ];
    for (guest, expect) in bad {
        stage
            .plays(&[Role::new("v", &guest).version("2.0.0")])
            .await;
        let status = stage.status("v");
        assert_eq!(
            (status.version.as_deref(), status.traps),
            (Some("1.0.0"), 0),
            "{status:?}"
        );
        assert!(status.why.clone().unwrap().contains(expect), "{status:?}");
        assert_eq!(only(&stage.message("hi").await)["by"], "one");
    }
    stage.plays(&[good]).await;
    assert_eq!(stage.status("v").why, None, "all is as it is wanted again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_turns_out_worse_is_rolled_back() {
    let stage = Stage::with(&[Role::new("v", &Guest::marks("by", "one"))]).await;
    let cancel = tokio_util::sync::CancellationToken::new();
    let host = stage.host.clone();
    let watching = tokio::spawn({
        let cancel = cancel.clone();
        async move { host.run(cancel, |_| ()).await }
    });
    stage.message("hi").await;
    // It works on the earlier events, and fails on those with a thread.
    let import = r#"(import "djangobot:plugin/event@1.0.0" "get" (func $get (param i32 i32 i32)))"#;
    let mut guest = Guest::new().imports(import);
    let pointer = guest.data.put(b"/thread_ts");
    let keep = guest.data.edits(&[("/by", crate::guest::Put::Text("two"))]);
    let mut guest = guest.on_event(&format!("(i32.const {keep})"));
    guest.before_answer = format!(
        "(call $get (i32.const {pointer}) (i32.const 10) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then unreachable))"
    );
    stage
        .plays(&[Role::new("v", &guest).version("2.0.0")])
        .await;
    assert_eq!(only(&stage.message("hi").await)["by"], "two");
    assert_eq!(stage.status("v").state, State::OnTrial);
    let threaded = json!({"type": "message", "text": "hi", "channel": "C1", "thread_ts": "1.2"});
    djangobot_tests::eventually("the version before is back", async || {
        only(&stage.event(threaded.clone()).await);
        (stage.status("v").version.as_deref() == Some("1.0.0")).then_some(())
    })
    .await;
    assert_eq!(only(&stage.event(threaded).await)["by"], "one");
    assert!(
        stage
            .status("v")
            .why
            .unwrap()
            .contains("version 2.0.0 was rolled back")
    );
    cancel.cancel();
    watching.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_reloads_loses_and_doubles_no_event() {
    let roles = ["one", "two", "three"]
        .map(|by| Role::new("v", &Guest::marks("by", by)).version(&format!("1.0.{}", by.len())));
    let beside = Role::new("beside", &Guest::marks("beside", "yes"));
    let stage = Stage::with(&[roles[0].clone(), beside.clone()]).await;
    let events = async {
        for n in 0..2_000 {
            let passed = stage.event(json!({"type": "message", "n": n})).await;
            let out = only(&passed);
            assert_eq!((&out["n"], &out["beside"]), (&json!(n), &json!("yes")));
            assert!(out["by"].is_string(), "{out}");
            if n % 20 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    };
    let reloads = async {
        for n in 0..100 {
            let mut set = vec![roles[n % 3].clone(), beside.clone()];
            if n % 2 == 0 {
                set.reverse();
            }
            stage.plays(&set).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(events, reloads);
    assert_eq!(stage.status("v").traps + stage.status("beside").traps, 0);
}
