//! Commands next to a bridge that runs: their changes are in force when they end.

use local_slack::LocalSlack;

use super::*;
use crate::bridge::{Bridge, slack};

async fn bridge(desk: &Desk, slack: &LocalSlack) -> Bridge {
    Bridge::connected(desk.path(), slack, &["embedded://127.0.0.1:0"]).await
}

#[tokio::test]
async fn a_running_host_loads_and_unloads_plugins_as_the_commands_say() {
    let (desk, slack) = (Desk::new(), slack().await);
    let mut bridge = bridge(&desk, &slack).await;
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    check_said(
        &desk.does(&["add", "sample.wasm"]).await,
        &["sample 1.2.0 is running"],
    );
    slack.control().say("alice", "general", "hi").unwrap();
    bridge
        .metric_is(
            "djangobot_plugin_calls_total{plugin=\"sample\",outcome=\"kept\"}",
            1.0,
        )
        .await;
    let sample = &desk.list().await[0];
    assert_eq!(
        (&sample["state"], &sample["live"]),
        (&"running".into(), &true.into())
    );
    assert_eq!((&sample["calls"], &sample["traps"]), (&1.into(), &0.into()));
    check_said(
        &desk.does(&["list"]).await,
        &["calls", "p99", "memory", "running"],
    );
    check_said(
        &desk.does(&["info", "sample"]).await,
        &["calls     1", "p50"],
    );

    check_said(
        &desk.does(&["disable", "sample"]).await,
        &["sample is disabled"],
    );
    check_said(
        &desk.does(&["enable", "sample"]).await,
        &["sample 1.2.0 is running"],
    );
    desk.pack(
        "sample.wasm",
        module("other"),
        &MANIFEST.replace("1.2.0", "2.0.0"),
    )
    .await;
    check_said(&desk.does(&["update"]).await, &["sample 2.0.0 is running"]);
    check_said(
        &desk.does(&["remove", "sample"]).await,
        &["has no plugin sample"],
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
    assert!(!desk.file(".djangobot/control.sock").exists());
}

#[tokio::test]
async fn a_plugin_that_can_not_be_loaded_is_listed_as_refused() {
    let (desk, slack) = (Desk::new(), slack().await);
    let mut bridge = bridge(&desk, &slack).await;
    let manifest = format!(
        "{MANIFEST}[config-schema]\nrequired = [\"key\"]\n[config-schema.properties]\nkey = {{}}\n"
    );
    desk.pack("sample.wasm", module(""), &manifest).await;
    let ended = desk.run(&["add", "sample.wasm"]).await;
    check_end(&ended, 1, &["did not load it", "sample", "key"]);
    check_said(&ended.stdout, &["key (must be set)"]);
    assert_eq!(desk.list().await[0]["state"], "refused");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn the_socket_of_a_killed_host_is_not_taken_for_a_running_host() {
    let (desk, slack) = (Desk::new(), slack().await);
    bridge(&desk, &slack).await.kill().await;
    assert!(desk.file(".djangobot/control.sock").exists());
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    check_said(
        &desk.does(&["add", "sample.wasm"]).await,
        &["No djangobot is running"],
    );
    let mut bridge = bridge(&desk, &slack).await;
    assert_eq!(desk.list().await[0]["state"], "running");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
