//! A bridge that is stopped, twice or with force: its work is finished, or left for the next one.

use std::collections::BTreeMap;

use djangobot_tests::eventually;
use local_slack::{Answer, Control};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::bridge::{Bridge, Djangobot, calls, djangobot};
use crate::deployment::Deployment;
use crate::faults::{emit, lasting_redis, roomy, take_numbers};

/// The texts of posts that Slack carried out, by how often.
fn posted(control: &Control) -> BTreeMap<String, usize> {
    let mut posted = BTreeMap::new();
    for call in control.calls(Some("chat.postMessage")) {
        let text = call.arguments["text"].as_str().unwrap().to_owned();
        *posted.entry(text).or_default() += 1;
    }
    posted
}

#[tokio::test]
async fn a_killed_bridge_loses_no_message_for_slack() {
    const MESSAGES: usize = 60;
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    control.answer(
        "chat.postMessage",
        Answer {
            times: MESSAGES as u64,
            delay_ms: 20,
            ..Answer::default()
        },
    );
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    for n in 0..MESSAGES {
        let channel = ["general", "random", "ops"][n % 3];
        app.send(
            "slack.send",
            &json!({"text": n.to_string(), "channel": channel}),
        )
        .await;
    }
    calls(control, "chat.postMessage", 10).await;
    bridge.kill().await;
    let _bridge = deployment.bridge().await;
    eventually("all are posted", async || {
        (posted(control).len() == MESSAGES).then_some(())
    })
    .await;
    app.send("slack.send", &json!({"text": "last"})).await;
    eventually("the last is posted", async || {
        posted(control).contains_key("last").then_some(())
    })
    .await;
    // Each channel had at most one under way.
    let twice: Vec<_> = posted(control)
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert!(
        twice.len() <= 3 && twice.iter().all(|(_, times)| *times == 2),
        "{twice:?}"
    );
}

#[tokio::test]
async fn a_stopped_bridge_finishes_what_is_under_way_and_leaves_the_rest_for_the_next() {
    const MESSAGES: usize = 300;
    let deployment = Deployment::new().await;
    deployment.configure(&roomy(&deployment.redis));
    let control = &deployment.control;
    control.answer(
        "chat.postMessage",
        Answer {
            times: 20,
            delay_ms: 50,
            ..Answer::default()
        },
    );
    let mut bridge = deployment.bridge_with(&[]).await;
    let mut app =
        App::with_config(&json!({"hosts": [host(&deployment.redis.url())], "capacity": 5000}));
    for n in 0..MESSAGES {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    calls(control, "chat.postMessage", 5).await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let _bridge = deployment.bridge_with(&[]).await;
    calls(control, "chat.postMessage", MESSAGES).await;
    let texts: Vec<Value> = control
        .calls(Some("chat.postMessage"))
        .into_iter()
        .map(|mut call| call.arguments["text"].take())
        .collect();
    assert_eq!(
        texts,
        (0..MESSAGES)
            .map(|n| json!(n.to_string()))
            .collect::<Vec<_>>(),
        "each once, in order"
    );
}

#[tokio::test]
async fn a_stopped_bridge_brings_the_events_that_it_has_to_the_layer_first() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    deployment.redis.freeze();
    emit(control, "numbered", 0..50);
    bridge
        .metric_is("djangobot_events_total{type=\"numbered\"}", 50.0)
        .await;
    bridge.signal(Signal::TERM);
    bridge.line("stopping").await;
    deployment.redis.thaw();
    assert_eq!(bridge.exit().await.code(), Some(0));
    let mut app = deployment.app(&["slack.numbered"]).await;
    assert_eq!(
        take_numbers(&mut app, "slack.numbered", 50).await,
        (0..50).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn events_that_wait_for_an_absent_layer_at_a_stop_are_delivered_after_the_next_start() {
    let mut deployment = Deployment::with_redis(lasting_redis()).await;
    let mut bridge = deployment.bridge().await;
    deployment.redis.stop();
    emit(&deployment.control, "numbered", 0..7);
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 7.0)
        .await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let kept = bridge.logs("events stay in the spool");
    assert_eq!(
        (kept.len(), &kept[0]["events"]),
        (1, &json!(7)),
        "{}",
        bridge.stderr()
    );
    deployment.redis.restart();
    let _bridge = deployment.bridge().await;
    emit(&deployment.control, "numbered", 7..9);
    let mut app = deployment.app(&["slack.numbered"]).await;
    assert_eq!(
        take_numbers(&mut app, "slack.numbered", 9).await,
        (0..9).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_1() {
    let deployment = Deployment::new().await;
    let slow = Answer {
        times: 1,
        delay_ms: 3_600_000,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", slow);
    let mut bridge = deployment.bridge().await;
    deployment
        .sender()
        .send_and_finish("slack.send", &json!({"text": "hi"}))
        .await;
    bridge.metric_is("djangobot_sends_in_flight", 1.0).await;
    bridge.signal(Signal::TERM);
    bridge.line("a second signal stops at once").await;
    // One that comes with the first is not counted: it is repeated as by somebody who loses patience.
    eventually("it ends", async || {
        bridge.signal(Signal::INT);
        let said = bridge
            .logs("stopped by a signal before everything was finished")
            .len();
        (said == 1).then_some(())
    })
    .await;
    assert_eq!(bridge.exit().await.code(), Some(1));
}

#[tokio::test]
async fn a_bridge_that_gets_two_signals_at_once_finishes_and_serves_its_health_meanwhile() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    // The post is under way for longer than a busy machine needs to see that and to send both signals.
    let slow = Answer {
        delay_ms: 15_000,
        ..Answer::default()
    };
    control.answer("chat.postMessage", slow);
    let mut bridge = deployment.bridge().await;
    deployment
        .sender()
        .send_and_finish("slack.send", &json!({"text": "hi"}))
        .await;
    bridge.metric_is("djangobot_sends_in_flight", 1.0).await;
    bridge.signal(Signal::TERM);
    bridge.signal(Signal::INT);
    bridge.line("stopping").await;
    let is_under_way = || {
        let posts = control.calls(Some("chat.postMessage"));
        posts.iter().all(|post| post.status == 0)
    };
    let mut pages = 0;
    while pages < 20 {
        let page = bridge.try_get("/healthz").await;
        if page.is_none() && !is_under_way() {
            break;
        }
        assert_eq!(page, Some((200, "ok\n".into())));
        pages += 1;
    }
    assert!(pages > 0, "no page was answered before the end");
    assert_eq!(bridge.exit().await.code(), Some(0));
    assert_eq!(control.calls(Some("chat.postMessage")).len(), 1);
}

#[tokio::test]
async fn dev_without_input_brings_the_events_that_it_has_to_the_layer_first() {
    let deployment = Deployment::new().await;
    let arguments = ["dev", &deployment.redis.url(), "--listen", "127.0.0.1:0"];
    let mut dev = Bridge::of(djangobot(deployment.folder.path(), &arguments)).await;
    dev.line("the roster is loaded").await;
    deployment.redis.freeze();
    dev.write_line("good morning").await;
    dev.close_stdin();
    dev.metric_is("djangobot_events_total{type=\"message\"}", 1.0)
        .await;
    dev.signal(Signal::TERM);
    dev.line("stopping").await;
    deployment.redis.thaw();
    assert_eq!(dev.exit().await.code(), Some(0));
    let mut app = deployment.app(&["slack.message"]).await;
    assert_eq!(app.next("slack.message").await["text"], "good morning");
}

#[tokio::test]
async fn a_signal_ends_a_wait_for_a_projects_python() {
    use std::os::unix::fs::PermissionsExt;

    let deployment = Deployment::new().await;
    let (python, asked) = (deployment.path("python"), deployment.path("asked"));
    std::fs::write(&python, "#!/bin/sh\n: > asked\nexec sleep 3600\n").unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (command, code) in [("run", 0), ("check", 1)] {
        let arguments = [command, "--python", python.to_str().unwrap(), "settings"];
        let mut waiting = Djangobot::start(deployment.command(&arguments));
        eventually("Python is asked", async || asked.exists().then_some(())).await;
        assert_eq!(waiting.terminate().await.code(), Some(code), "{command}");
        assert!(
            !waiting.stderr().contains("seconds"),
            "{}",
            waiting.stderr()
        );
        std::fs::remove_file(&asked).unwrap();
    }
}
