//! Two hosts on one app: one serves it, and the other stands by.

use std::path::Path;
use std::time::Duration;

use djangobot_tests::eventually;
use local_slack::{Answer, LocalSlack};
use serde_json::json;

use crate::bridge::{Bridge, Djangobot, calls, check_end, djangobot, with_slack};
use crate::deployment::Deployment;

/// The log line of the host that stands by.
const STANDS_BY: &str = "serves this app already; this one stands by until it is gone";
/// Its log line when the other one is gone.
const TAKES_OVER: &str = "is gone; this one serves the app now";

/// A host that finds the app served.
async fn second(folder: &Path, slack: &LocalSlack, url: &str) -> Bridge {
    let mut second = Bridge::start(folder, slack, &[url]).await;
    second.line(STANDS_BY).await;
    second
}

#[tokio::test]
async fn the_second_host_stands_by_and_takes_over_when_the_first_stops() {
    let deployment = Deployment::new().await;
    let two = tempfile::tempdir().unwrap();
    for kind in ["redis", "redis+pubsub", "asgi-redis"] {
        let url = format!("{kind}://127.0.0.1:{}", deployment.redis.port());
        let mut first = deployment.bridge_with(&[&url]).await;
        let mut standby = second(two.path(), &deployment.slack, &url).await;
        let (status, page) = standby.get("/readyz").await;
        assert_eq!(status, 503);
        let named = format!("(process {}) serves this app", first.pid());
        assert!(page.contains(&named), "{page}");
        standby.metric_is("djangobot_lease_held", 0.0).await;
        first.metric_is("djangobot_lease_held", 1.0).await;
        assert_eq!(first.terminate().await.code(), Some(0));
        standby.line(TAKES_OVER).await;
        standby.line("the roster is loaded").await;
        standby.metric_is("djangobot_lease_held", 1.0).await;
        assert_eq!(standby.terminate().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_host_without_standby_ends_and_names_the_first() {
    let deployment = Deployment::new().await;
    let two = tempfile::tempdir().unwrap();
    let first = deployment.bridge().await;
    let command = djangobot(two.path(), &[&deployment.redis.url(), "--no-standby"]);
    let ended = Djangobot::run(with_slack(command, &deployment.slack)).await;
    let named = format!("(process {}) serves this app already", first.pid());
    check_end(&ended, 1, &[&named]);
    let command = djangobot(two.path(), &["check", &deployment.redis.url()]);
    let checked = Djangobot::run(with_slack(command, &deployment.slack)).await;
    assert!(
        checked
            .stdout
            .contains(&format!("(process {}) serves this app", first.pid())),
        "{checked:?}"
    );
}

#[tokio::test]
async fn a_host_that_stood_still_for_longer_than_its_lease_stands_by() {
    let deployment = Deployment::new().await;
    let two = tempfile::tempdir().unwrap();
    let mut first = deployment.bridge().await;
    let mut standby = second(two.path(), &deployment.slack, &deployment.redis.url()).await;
    first.freeze();
    standby.line(TAKES_OVER).await;
    standby.line("the roster is loaded").await;
    first.thaw();
    first
        .line("this one had not renewed its lease in time")
        .await;
    first.line(STANDS_BY).await;
    // A message that is sent now goes out once.
    let mut app = deployment.sender();
    app.send("slack.send", &json!({"text": "once"})).await;
    calls(&deployment.control, "chat.postMessage", 1).await;
    assert_eq!(standby.terminate().await.code(), Some(0));
    first.line(TAKES_OVER).await;
    assert_eq!(deployment.control.calls(Some("chat.postMessage")).len(), 1);
}

#[tokio::test]
async fn a_lease_that_was_flushed_away_is_taken_again() {
    let deployment = Deployment::new().await;
    let bridge = deployment.bridge().await;
    assert_eq!(deployment.redis.cli(&["FLUSHALL"]), "OK");
    eventually("the lease is there again", async || {
        let keys = deployment.redis.cli(&["KEYS", "asgidjangobot:lease:*"]);
        (!keys.is_empty()).then_some(())
    })
    .await;
    bridge.metric_is("djangobot_lease_held", 1.0).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_takeover_does_not_read_from_history_what_the_other_host_forwarded() {
    let deployment = Deployment::new().await;
    let two = tempfile::tempdir().unwrap();
    // The second host has served before: its state knows how long ago.
    let mut earlier =
        Bridge::connected(two.path(), &deployment.slack, &[&deployment.redis.url()]).await;
    assert_eq!(earlier.terminate().await.code(), Some(0));
    let mut first = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    deployment.say("forwarded");
    assert_eq!(app.next("slack.message").await["text"], "forwarded");
    let mut standby = second(two.path(), &deployment.slack, &deployment.redis.url()).await;
    // Longer than a lease lasts.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(first.terminate().await.code(), Some(0));
    standby.line(TAKES_OVER).await;
    standby.line("the roster is loaded").await;
    deployment.say("after");
    assert_eq!(app.next("slack.message").await["text"], "after");
}

#[tokio::test]
async fn a_host_that_starts_while_the_layer_is_away_waits_for_its_lease() {
    let mut deployment = Deployment::new().await;
    let control = deployment.control.clone();
    // An earlier run left a message in the outbox: Slack said to come again later.
    let limited = Answer {
        retry_after: Some(3_600),
        ..Answer::default()
    };
    control.answer("chat.postMessage", limited);
    let mut earlier = deployment.bridge().await;
    let app = deployment.sender();
    app.send_and_finish("slack.send", &json!({"text": "left"}))
        .await;
    calls(&control, "chat.postMessage", 1).await;
    earlier.metric_is("djangobot_outbox_messages", 1.0).await;
    assert_eq!(earlier.terminate().await.code(), Some(0));
    control.clear_answers();
    control.clear_calls();
    deployment.redis.stop();

    let mut bridge = deployment.start(&[&deployment.redis.url()]).await;
    bridge.line("connected to Slack").await;
    deployment.say("meanwhile");
    eventually("the page says that the layer is away", async || {
        let (status, page) = bridge.get("/readyz").await;
        (status == 503 && page.contains("layer: down")).then_some(())
    })
    .await;
    eventually("the event is on the disk", async || {
        (bridge.metric("djangobot_spool_bytes").await > 0.0).then_some(())
    })
    .await;
    bridge.metric_is("djangobot_outbox_messages", 1.0).await;
    let checked = deployment.run(&["check", &deployment.redis.url()]).await;
    assert!(
        checked.stdout.contains("does not answer") && checked.code == Some(1),
        "{checked:?}"
    );
    // Longer than several attempts at the lease take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        control.calls(Some("chat.postMessage")).is_empty(),
        "it has no lease"
    );
    bridge.metric_is("djangobot_lease_held", 0.0).await;

    deployment.redis.restart();
    bridge.line("this host serves the app").await;
    let mut app = deployment.app(&["slack.message"]).await;
    assert_eq!(app.next("slack.message").await["text"], "meanwhile");
    let posts = calls(&control, "chat.postMessage", 1).await;
    assert_eq!(posts[0].arguments["text"], "left");
    bridge.metric_is("djangobot_lease_held", 1.0).await;
    eventually("it is ready", async || {
        (bridge.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    let checked = deployment.run(&["check", &deployment.redis.url()]).await;
    assert!(
        checked
            .stdout
            .contains(&format!("(process {})", bridge.pid())),
        "{checked:?}"
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
    assert_eq!(control.calls(Some("chat.postMessage")).len(), 1);
}
