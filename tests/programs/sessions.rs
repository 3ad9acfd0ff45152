//! Sessions with Slack: each begins with a hello, whatever the transport; and the order of what comes over several
//! connections.

use std::path::Path;

use djangobot_tests::{Redis, eventually};
use local_slack::{LocalSlack, Options, Reason};
use serde_json::json;

use crate::app::App;
use crate::bridge::{Bridge, TOKEN, calls, djangobot, slack_with};
use crate::faults::{roomy, take_numbers};

const APP_TOKEN: &str = "xapp-1-not-to-be-shown";

async fn slack() -> LocalSlack {
    slack_with(Options {
        app_token: Some(APP_TOKEN.into()),
        socket_mode: true,
        ..Options::default()
    })
    .await
}

async fn start(way: &str, folder: &Path, slack: &LocalSlack, arguments: &[&str]) -> Bridge {
    let mut command = djangobot(folder, arguments);
    command
        .args(["--listen", "127.0.0.1:0", "--transport", way])
        .env("DJANGOBOT_TOKEN", TOKEN)
        .env("DJANGOBOT_APP_TOKEN", APP_TOKEN)
        .env("DJANGOBOT_SIGNING_SECRET", slack.signing_secret())
        .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
    let mut bridge = Bridge::of(command).await;
    bridge.line("the roster is loaded").await;
    bridge
}

#[tokio::test]
async fn each_session_begins_with_a_hello_over_every_transport() {
    for way in ["rtm", "socket-mode", "http"] {
        let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
        let control = slack.control();
        let mut app = App::start(&redis.url());
        app.receive(&["slack.hello"]).await;
        let bridge = start(way, folder.path(), &slack, &[&redis.url()]).await;
        let hello = app.next("slack.hello").await;
        assert_eq!(hello["type"], "slack.hello");
        assert_eq!(hello["djangobot"]["transport"], way);
        assert!(
            hello["djangobot"]["team_id"]
                .as_str()
                .unwrap()
                .starts_with('T'),
            "{hello:#}"
        );
        assert_eq!(
            hello.get("num_connections").is_some(),
            way == "socket-mode",
            "{hello:#}"
        );

        // A connection that takes another's place is the same session, and one after nobody was there is a new one.
        if way == "socket-mode" {
            let before = control.connections();
            control.disconnect(None, Reason::RefreshRequested);
            eventually("another connection is there", async || {
                let now = control.connections();
                (now.len() == 1 && now[0].id != before[0].id).then_some(())
            })
            .await;
            assert!(app.left("slack.hello").is_empty());
        }
        if way != "http" {
            control.drop_connections(None);
            let again = app.next("slack.hello").await;
            assert_ne!(again["djangobot"]["id"], hello["djangobot"]["id"]);
        }
        drop(bridge);
    }
}

/// A list is read again for a new session 20 s after it was read last, at the earliest.
#[tokio::test]
async fn a_connection_in_the_place_of_another_brings_new_lists() {
    let of = async |way: &str| {
        let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
        let control = slack.control();
        let _bridge = start(way, folder.path(), &slack, &[&redis.url()]).await;
        match way {
            "rtm" => control.drop_connections(None),
            _ => control.disconnect(None, Reason::RefreshRequested),
        };
        for list in ["conversations.list", "users.list", "usergroups.list"] {
            calls(&control, list, 2).await;
        }
    };
    tokio::join!(of("rtm"), of("socket-mode"));
}

#[tokio::test]
async fn what_comes_over_two_connections_is_in_order() {
    let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
    let config = format!("{}\n[slack]\nconnections = 2\n", roomy(&redis));
    std::fs::write(folder.path().join("djangobot.toml"), config).unwrap();
    let control = slack.control();
    let bridge = start("socket-mode", folder.path(), &slack, &[]).await;
    bridge.metric_is("djangobot_slack_connections", 2.0).await;
    let count = 4000;
    for n in 0..count {
        control.event(&json!({"type": "numbered", "n": n, "channel": "C1", "event_ts": format!("{}.000001", 1000 + n)}));
    }
    let mut app = App::start(&redis.url());
    app.receive(&["slack.numbered"]).await;
    let numbers = take_numbers(&mut app, "slack.numbered", count).await;
    let out_of_order = numbers.windows(2).filter(|it| it[0] > it[1]).count();
    assert_eq!(out_of_order, 0);
}
