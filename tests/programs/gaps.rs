//! Messages of a time without an RTM connection are read from Slack's history.

use djangobot_tests::eventually;
use local_slack::Answer;
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::deployment::Deployment;

fn said(event: &Value) -> (String, u64) {
    let text = event["text"].as_str().unwrap().to_owned();
    (text, event["djangobot"]["attempt"].as_u64().unwrap())
}

#[tokio::test]
async fn messages_said_while_the_bridge_was_away_come_first_once_and_marked() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    deployment.say("before");
    let before = app.next("slack.message").await;
    assert_eq!(said(&before), ("before".into(), 1));
    let database =
        rusqlite::Connection::open(deployment.folder.path().join(".djangobot/state.db")).unwrap();
    eventually("it is on the disk that the host listens", async || {
        let query = "SELECT 1 FROM facts WHERE key = 'events_listened_until'";
        database.query_row(query, [], |_| Ok(())).ok()
    })
    .await;
    // It is killed before it can note which events are safe.
    bridge.kill().await;
    let thread = deployment.say("one");
    control.say("bob", "random", "elsewhere").unwrap();
    control
        .say_in_thread("bob", "general", "two", Some(&thread))
        .unwrap();
    let _bridge = deployment.bridge().await;
    deployment.say("three");
    let mut general = Vec::new();
    let id = control.channel_id("general").unwrap();
    while general.last() != Some(&("three".to_owned(), 1)) {
        let event = app.next("slack.message").await;
        if event["channel"] == *id {
            assert_eq!(
                event["djangobot"]["id"],
                json!(format!(
                    "{}.message.{id}.{}",
                    event["djangobot"]["team_id"].as_str().unwrap(),
                    event["ts"].as_str().unwrap()
                ))
            );
            general.push(said(&event));
        } else {
            assert_eq!(said(&event), ("elsewhere".into(), 2));
            assert_eq!(event["djangobot"]["retry_reason"], "history");
        }
    }
    let own = |text: &str, attempt| (text.to_owned(), attempt);
    // An event that was safe, but not yet noted as safe, may come again; an app knows it by its id.
    general.retain(|it| *it != own("before", 2));
    assert_eq!(general, [own("one", 2), own("two", 2), own("three", 1)]);
}

/// Whether live messages wait no longer: the bridge promises their order only for some seconds of waiting, and a machine
/// that stood still for so long shows nothing.
fn waits_no_longer(bridge: &Bridge) -> bool {
    !bridge.logs("wait no longer for Slack's history").is_empty()
}

#[tokio::test]
async fn live_messages_wait_for_their_conversations_history_and_for_no_other() {
    eventually("the machine is quick enough", live_messages_wait).await;
}

async fn live_messages_wait() -> Option<()> {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message", "slack.numbered"]).await;
    deployment.say("zero");
    assert_eq!(said(&app.next("slack.message").await), ("zero".into(), 1));
    bridge.terminate().await;
    deployment.say("one");
    // The history is slow to come.
    let slow = Answer {
        times: 1,
        delay_ms: 1_500,
        ..Answer::default()
    };
    control.answer("users.conversations", slow.clone());
    control.answer("conversations.history", slow);
    let bridge = deployment.bridge().await;
    deployment.say("two");
    control.emit(None, &json!({"type": "numbered", "n": 7}));
    assert_eq!(app.next("slack.numbered").await["n"], 7);
    let messages = app.take("slack.message", 2).await;
    if waits_no_longer(&bridge) {
        return None;
    }
    assert_eq!(said(&messages[0]), ("one".into(), 2));
    assert_eq!(said(&messages[1]), ("two".into(), 1));
    Some(())
}

#[tokio::test]
async fn a_stop_while_history_is_read_changes_no_order() {
    eventually("the machine is quick enough", stop_while_history_is_read).await;
}

async fn stop_while_history_is_read() -> Option<()> {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    let channels = ["slack.message", "slack.numbered", "slack.last"];
    app.receive(&channels).await;
    deployment.say("zero");
    assert_eq!(said(&app.next("slack.message").await), ("zero".into(), 1));
    bridge.terminate().await;
    deployment.say("one");
    let never = Answer {
        times: 100,
        delay_ms: 3_600_000,
        ..Answer::default()
    };
    control.answer("conversations.history", never);
    let mut bridge = deployment.bridge().await;
    deployment.say("two");
    // An event that no history has must not wait for the next start.
    let general = control.channel_id("general").unwrap();
    control.emit(
        None,
        &json!({"type": "numbered", "channel": general, "n": 7}),
    );
    eventually("a history is asked for", async || {
        (!control.calls(Some("conversations.history")).is_empty()).then_some(())
    })
    .await;
    control.emit(None, &json!({"type": "last"}));
    app.next("slack.last").await;
    bridge.terminate().await;
    if waits_no_longer(&bridge) {
        return None;
    }
    assert_eq!(app.next("slack.numbered").await["n"], 7);
    control.clear_answers();
    let _bridge = deployment.bridge().await;
    deployment.say("three");
    for expect in [("one", 2), ("two", 2), ("three", 1)] {
        let next = said(&app.next("slack.message").await);
        assert_eq!((&*next.0, next.1), expect);
    }
    Some(())
}

#[tokio::test]
async fn a_history_that_may_not_be_read_is_logged_and_holds_nothing_up() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    deployment.say("zero");
    app.next("slack.message").await;
    bridge.terminate().await;
    control.set_scopes(&["rtm:stream", "chat:write", "users:read"]);
    deployment.say("missed");
    let mut bridge = deployment.start(&[&deployment.redis.url()]).await;
    bridge
        .line("conversations that the bot is in can't be listed")
        .await;
    eventually("it is connected", async || {
        (bridge.metric("djangobot_slack_connected").await == 1.0).then_some(())
    })
    .await;
    deployment.say("live");
    assert_eq!(said(&app.next("slack.message").await), ("live".into(), 1));
}
