//! Redis, Slack or a connection goes away and comes back: nothing is lost, or doubled beyond what is promised.

use std::time::Duration;

use djangobot_tests::{Redis, eventually};
use local_slack::{Answer, Connection, Control, Options};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::app::App;
use crate::bridge::{Bridge, calls, slack_with};
use crate::deployment::Deployment;

/// Longer than the 25 s of silence after which a connection counts as dead, and the way back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis that keeps its data over a restart.
pub(crate) fn lasting_redis() -> Redis {
    Redis::with_args(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Sends events of these numbers, all of one type.
pub(crate) fn emit(control: &Control, kind: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert_eq!(control.emit(None, &json!({"type": kind, "n": n})), 1);
    }
}

/// The numbers of so many events.
pub(crate) async fn take_numbers(app: &mut App, channel: &str, count: u64) -> Vec<u64> {
    let messages = app.take(channel, usize::try_from(count).unwrap()).await;
    messages
        .iter()
        .map(|message| message["n"].as_u64().unwrap())
        .collect()
}

/// A config file whose channels hold more than a hundred messages.
pub(crate) fn roomy(redis: &Redis) -> String {
    format!(
        "[layer]\nbackend = \"channels_redis.core.RedisChannelLayer\"\nconfig = {{ hosts = [\"{}\"], capacity = 5000 }}\n",
        redis.url()
    )
}

/// Waits for a connection that is none of those before.
async fn anew(control: &Control, before: &[Connection]) {
    let is_new =
        |now: &[Connection]| now.len() == 1 && before.iter().all(|old| old.id != now[0].id);
    timeout(PATIENCE, control.wait_until(is_new))
        .await
        .expect("the bridge connects anew");
}

#[tokio::test]
async fn events_outlast_a_restart_of_redis_in_order_and_once() {
    let mut deployment = Deployment::with_redis(lasting_redis()).await;
    deployment.configure(&roomy(&deployment.redis));
    let control = &deployment.control;
    let mut bridge = deployment.bridge_with(&[]).await;
    emit(control, "numbered", 0..300);
    eventually("events flow", async || {
        (bridge
            .metric("djangobot_delivered_total{channel=\"slack.numbered\"}")
            .await
            > 0.0)
            .then_some(())
    })
    .await;
    deployment.redis.stop();
    emit(control, "numbered", 300..700);
    bridge
        .metric_is("djangobot_events_total{type=\"numbered\"}", 700.0)
        .await;
    bridge.line("events wait on the disk").await;
    assert_eq!(bridge.get("/healthz").await.0, 200);
    deployment.redis.restart();
    emit(control, "numbered", 700..1000);
    bridge
        .metric_is(
            "djangobot_delivered_total{channel=\"slack.numbered\"}",
            1000.0,
        )
        .await;

    assert_eq!(
        deployment.redis.cli(&["ZCARD", "asgislack.numbered"]),
        "1000"
    );
    let mut app = deployment.app(&["slack.numbered"]).await;
    assert_eq!(
        take_numbers(&mut app, "slack.numbered", 1000).await,
        (0..1000).collect::<Vec<_>>()
    );
    // The way out has come back, too.
    app.send("slack.send", &json!({"text": "back"})).await;
    calls(control, "chat.postMessage", 1).await;
    assert_eq!(bridge.logs("events wait on the disk").len(), 1);
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_waited_for() {
    let mut deployment = Deployment::new().await;
    deployment.redis.stop();
    let bridge = deployment.bridge().await;
    emit(&deployment.control, "early", 0..50);
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.early\"}", 50.0)
        .await;
    let (status, page) = bridge.get("/readyz").await;
    assert_eq!((status, &*page), (503, "slack: up\nlayer: down\n"));
    deployment.redis.restart();
    let mut app = deployment.app(&["slack.early"]).await;
    assert_eq!(
        take_numbers(&mut app, "slack.early", 50).await,
        (0..50).collect::<Vec<_>>()
    );
    app.send("slack.send", &json!({"text": "hello"})).await;
    calls(&deployment.control, "chat.postMessage", 1).await;
    eventually("it is ready", async || {
        (bridge.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_slack_that_ends_is_made_again() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.numbered"]).await;
    for round in 0..4 {
        let before = control.connections();
        match round {
            0 => assert_eq!(control.drop_connections(None), 1),
            1 => assert_eq!(
                control
                    .goodbye(None, Some(Duration::from_millis(100)))
                    .await,
                1
            ),
            // It says goodbye and stays; we are to leave.
            2 => assert_eq!(control.goodbye(None, None).await, 1),
            // A server that has been away answers calls with errors first.
            _ => {
                control.answer(
                    "rtm.connect",
                    Answer {
                        times: 2,
                        status: 503,
                        ..Answer::default()
                    },
                );
                control.drop_connections(None);
            }
        }
        anew(control, &before).await;
        emit(control, "numbered", round..round + 1);
        assert_eq!(take_numbers(&mut app, "slack.numbered", 1).await, [round]);
    }
    assert!(bridge.metric("djangobot_reconnects_total").await >= 4.0);
    bridge.metric_is("djangobot_slack_connected", 1.0).await;
    assert_eq!(control.connections().len(), 1);
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_noticed_and_replaced() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let before = control.connections();
    control.freeze(None);
    timeout(
        PATIENCE,
        control.wait_until(|now| now.iter().any(|one| one.id != before[0].id)),
    )
    .await
    .expect("a new connection");
    let mut app = deployment.app(&["slack.numbered"]).await;
    let new = control.connections().last().unwrap().id;
    control.emit(Some(new), &json!({"type": "numbered", "n": 7}));
    assert_eq!(take_numbers(&mut app, "slack.numbered", 1).await, [7]);
    assert_eq!(bridge.logs("disconnected from Slack").len(), 1);
}

#[tokio::test]
async fn a_full_channel_holds_no_other_up_and_drains_in_order() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.other"]).await;
    emit(control, "numbered", 0..250);
    let line = bridge.line("the channel is full").await;
    assert!(line.contains("runworker slack.numbered"), "{line}");
    assert_eq!(
        deployment.redis.cli(&["ZCARD", "asgislack.numbered"]),
        "100"
    );
    for n in 0..3 {
        emit(control, "other", n..n + 1);
        assert_eq!(take_numbers(&mut app, "slack.other", 1).await, [n]);
    }
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 150.0)
        .await;
    assert_eq!(
        deployment.redis.cli(&["ZCARD", "asgislack.numbered"]),
        "100"
    );

    app.receive(&["slack.numbered"]).await;
    assert_eq!(
        take_numbers(&mut app, "slack.numbered", 250).await,
        (0..250).collect::<Vec<_>>()
    );
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 0.0)
        .await;
    assert_eq!(bridge.logs("the channel is full").len(), 1);
}

#[tokio::test]
async fn events_beyond_the_hold_are_dropped_oldest_first_and_counted() {
    let deployment = Deployment::new().await;
    let toml = format!(
        "[layer]\ntarget = \"{}\"\nhold = 20\nunread = {{ \"slack.numbered\" = \"drop-oldest\" }}\n",
        deployment.redis.url()
    );
    deployment.configure(&toml);
    let control = &deployment.control;
    let bridge = deployment.bridge_with(&[]).await;
    for n in 0..10 {
        emit(control, "numbered", n * 10..n * 10 + 10);
        let delivered = "djangobot_delivered_total{channel=\"slack.numbered\"}";
        bridge.metric_is(delivered, (n * 10 + 10) as f64).await;
    }
    // The channel is full now, and what comes waits.
    emit(control, "numbered", 100..200);
    let discarded = "djangobot_discarded_total{channel=\"slack.numbered\"}";
    // One more than may be held stays where all of them are on their way just then.
    let discarded = eventually("the oldest are given up", async || {
        let discarded = bridge.metric(discarded).await;
        let seen = bridge
            .metric("djangobot_events_total{type=\"numbered\"}")
            .await;
        (seen == 200.0 && discarded >= 79.0).then_some(discarded as u64)
    })
    .await;
    assert!(discarded <= 80, "{discarded}");
    let mut app = deployment.app(&["slack.numbered"]).await;
    let mut numbers = take_numbers(&mut app, "slack.numbered", 119).await;
    while numbers.last() != Some(&199) {
        numbers.extend(take_numbers(&mut app, "slack.numbered", 1).await);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[..100], (0..100).collect::<Vec<_>>());
    bridge
        .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 0.0)
        .await;
}

#[tokio::test]
async fn events_do_not_wait_for_a_roster_that_does_not_come() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let never = Answer {
        times: 100,
        delay_ms: 3_600_000,
        ..Answer::default()
    };
    control.answer("users.list", never.clone());
    control.answer("conversations.list", never);
    let mut app = deployment.app(&["slack.message"]).await;
    let bridge = deployment.start(&[&deployment.redis.url()]).await;
    anew(control, &[]).await;
    deployment.say("flat");
    assert_eq!(app.next("slack.message").await["text"], "flat");
    drop(bridge);

    // The body of 2016 needs names, and waits for them no longer than it may.
    let named = tempfile::tempdir().unwrap();
    let config = "[slack]\nroster-wait = 0.1\n";
    std::fs::write(named.path().join("djangobot.toml"), config).unwrap();
    let before = control.connections();
    let arguments = [&*deployment.redis.url(), "--format", "djangobot-0.1"];
    let mut bridge = Bridge::start(named.path(), &deployment.slack, &arguments).await;
    anew(control, &before).await;
    let (user, general) = (
        control.user_id("alice").unwrap(),
        control.channel_id("general").unwrap(),
    );
    deployment.say("named");
    let message = app.next("slack.message").await;
    let event: Value = serde_json::from_str(message["text"]["bytes"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&event["user"], &event["channel"]),
        (&json!(user), &json!(general))
    );
    bridge.line("names stay unknown until it is").await;
}

#[tokio::test]
async fn a_burst_beyond_the_hold_loses_nothing_while_the_layer_takes_events() {
    let deployment = Deployment::new().await;
    let toml = format!("{}hold = 20\n", roomy(&deployment.redis));
    deployment.configure(&toml);
    let bridge = deployment.bridge_with(&[]).await;
    emit(&deployment.control, "numbered", 0..3000);
    let delivered = "djangobot_delivered_total{channel=\"slack.numbered\"}";
    bridge.metric_is(delivered, 3000.0).await;
    assert_eq!(
        deployment.redis.cli(&["ZCARD", "asgislack.numbered"]),
        "3000"
    );
    let mut app = deployment.app(&["slack.numbered"]).await;
    let numbers = take_numbers(&mut app, "slack.numbered", 3000).await;
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn messages_for_slack_outlast_a_restart_of_redis_and_are_sent_once() {
    const MESSAGES: usize = 60;
    let mut deployment = Deployment::with_redis(lasting_redis()).await;
    let control = &deployment.control;
    control.answer(
        "chat.postMessage",
        Answer {
            times: MESSAGES as u64,
            delay_ms: 30,
            ..Answer::default()
        },
    );
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    for n in 0..MESSAGES - 1 {
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": n.to_string(), "channel": channel});
        app.send("slack.send", &message).await;
    }
    let last = json!({"text": (MESSAGES - 1).to_string()});
    app.send_and_finish("slack.send", &last).await;
    calls(control, "chat.postMessage", 10).await;
    deployment.redis.stop();
    bridge.line("messages of the app wait in the layer").await;
    deployment.redis.restart();
    let posts = calls(control, "chat.postMessage", MESSAGES).await;
    let mut texts: Vec<usize> = posts
        .iter()
        .map(|call| call.arguments["text"].as_str().unwrap().parse().unwrap())
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, (0..MESSAGES).collect::<Vec<_>>());
    // Finished messages must not come again with the next start; the lease of the reader is all that stays.
    eventually("Redis has forgotten them", async || {
        (deployment.redis.cli(&["KEYS", "asgislack.send*"])
            == "asgislack.send{asgislack.send}$djangobot")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slack_that_is_not_there_at_the_start_is_waited_for() {
    let deployment = Deployment::new().await;
    let address = deployment.slack.addr();
    let arguments = [
        &*deployment.redis.url(),
        "--listen",
        "127.0.0.1:0",
        "--log",
        "debug",
    ];
    let command = deployment.command(&arguments);
    deployment.slack.shutdown().await;
    let mut bridge = Bridge::of(command).await;
    App::start(&deployment.redis.url())
        .send_and_finish("slack.send", &json!({"text": "early"}))
        .await;
    bridge.line("Slack can't be asked who we are").await;
    assert_eq!(bridge.get("/healthz").await.0, 200);
    eventually("the layer is up", async || {
        (bridge.get("/readyz").await == (503, "slack: down\nlayer: up\n".to_owned())).then_some(())
    })
    .await;
    let slack = slack_with(Options {
        listen: address,
        ..Options::default()
    })
    .await;
    let posts = calls(&slack.control(), "chat.postMessage", 1).await;
    assert_eq!(posts[0].answer["message"]["text"], "early");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
