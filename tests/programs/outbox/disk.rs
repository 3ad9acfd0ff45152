//! A disk that is full: what it can't take stays in the layer, and what it has is neither lost nor doubled.

use std::process::Command;

use local_slack::Answer;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use super::numbers;
use crate::app::App;
use crate::bridge::{Bridge, calls, wrapped};
use crate::deployment::Deployment;

/// A bridge whose files may have half a megabyte each, as if the disk were full beyond it: what exceeds it fails.
async fn cramped(deployment: &Deployment) -> Bridge {
    let mut cramped = Command::new("sh");
    cramped.args(["-c", "trap '' XFSZ; ulimit -S -f 1024; exec \"$0\" \"$@\""]);
    let bridge = deployment.command(&["--listen", "127.0.0.1:0"]);
    let mut bridge = Bridge::of(wrapped(cramped, &bridge)).await;
    bridge.line("the roster is loaded").await;
    bridge
}

/// Sends more than fits on that disk, to two channels in turn, slowly.
async fn flood(deployment: &Deployment, app: &mut App, messages: usize) {
    let slowly = Answer {
        times: u64::MAX,
        delay_ms: 50,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", slowly);
    for n in 0..messages {
        let text = format!("{} {}", n / 2, "x".repeat(8_000));
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": text, "channel": channel});
        app.send("slack.send", &message).await;
    }
}

/// Somebody makes room on that disk.
fn make_room(bridge: &Bridge) {
    let room = Rlimit {
        current: None,
        maximum: None,
    };
    let process = Pid::from_raw(i32::try_from(bridge.pid()).unwrap());
    prlimit(process, Resource::Fsize, room).unwrap();
}

async fn numbers_of(deployment: &Deployment, channel: &str, count: usize) -> Vec<String> {
    let texts = deployment.has(channel, count).await;
    let number = |text: &String| text.split_once(' ').unwrap().0.to_owned();
    texts.iter().map(number).collect()
}

#[tokio::test]
async fn messages_that_a_full_disk_refuses_are_sent_from_the_layer_in_order() {
    const MESSAGES: usize = 100;
    let deployment = super::deployment().await;
    let mut bridge = cramped(&deployment).await;
    let mut app = deployment.roomy_app();
    flood(&deployment, &mut app, MESSAGES).await;
    bridge.line("they stay in the channel layer").await;
    calls(&deployment.control, "chat.postMessage", MESSAGES).await;
    for channel in ["general", "random"] {
        let posted = numbers_of(&deployment, channel, MESSAGES / 2).await;
        assert_eq!(posted, numbers(0..MESSAGES / 2), "{channel}");
    }
    assert!(bridge.metric("djangobot_outbox_errors_total").await > 1.0);
    make_room(&bridge);
    let more = json!({"text": "more", "channel": "ops"});
    app.send("slack.send", &more).await;
    deployment.has("ops", 1).await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    deployment.layer_is_empty().await;
    let (told, over) = (
        bridge.logs("they stay in the channel layer"),
        bridge.logs("are written to the disk again"),
    );
    assert!(
        !over.is_empty() && over.len() == told.len(),
        "{told:?} {over:?}"
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_message_that_stays_in_the_layer_for_long_holds_up_no_other() {
    let deployment = super::deployment().await;
    let mut bridge = cramped(&deployment).await;
    let mut app = deployment.roomy_app();
    let limit = Answer {
        retry_after: Some(3600),
        times: u64::MAX,
        contains: deployment.control.channel_id("general").unwrap(),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", limit);
    for n in 0..80 {
        let text = format!("{n} {}", "x".repeat(8_000));
        let message = json!({"text": text, "channel": "general"});
        app.send("slack.send", &message).await;
    }
    bridge.line("they stay in the channel layer").await;
    make_room(&bridge);
    for n in 0..50 {
        let message = json!({"text": n.to_string(), "channel": "ops"});
        app.send("slack.send", &message).await;
    }
    assert_eq!(deployment.has("ops", 50).await, numbers(0..50));
}

#[tokio::test]
async fn a_kill_at_a_full_disk_neither_loses_nor_doubles_nor_reorders_messages() {
    const MESSAGES: usize = 100;
    let deployment = super::deployment().await;
    let mut bridge = cramped(&deployment).await;
    let mut app = deployment.roomy_app();
    flood(&deployment, &mut app, MESSAGES).await;
    bridge.line("they stay in the channel layer").await;
    deployment.called("chat.postMessage", 20).await;
    bridge.kill().await;
    let left = deployment
        .redis
        .cli(&["KEYS", "asgislack.send{asgislack.send}$djangobot.*"]);
    assert!(
        !left.is_empty(),
        "some are in the outbox and some in the layer"
    );
    let bridge = deployment.configured_bridge().await;
    deployment.layer_is_empty().await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    for channel in ["general", "random"] {
        let posted = numbers_of(&deployment, channel, MESSAGES / 2).await;
        assert_eq!(posted, numbers(0..MESSAGES / 2), "{channel}");
    }
}
