//! `djangobot dev`, `local-slack` and `layer`: what needs nothing else, driven as a person would.

use djangobot_tests::eventually;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, TOKEN, djangobot};

#[tokio::test]
async fn dev_shows_what_is_typed_as_a_django_app_gets_it_and_sends_what_an_app_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Djangobot::start(djangobot(
        folder.path(),
        &["dev", "--layer-listen", "127.0.0.1:0"],
    ));
    dev.line("Type a message and press Enter").await;
    dev.write_line("good morning").await;
    dev.line("--> slack.message").await;
    dev.line("\"type\": \"slack.message\"").await;
    dev.line("\"text\": \"good morning\"").await;
    dev.line("\"reply_channel\": \"slack.send\"").await;

    dev.write_line("/send hi").await;
    dev.line("<-- slack.send").await;
    dev.line("\"text\": \"hi\"").await;
    eventually("the answer is in Slack", async || {
        dev.stdout()
            .contains("#general djangobot: hi\n")
            .then_some(())
    })
    .await;
    dev.write_line(r##"/send {"text": "there", "channel": "#random"}"##)
        .await;
    eventually("the answer is in Slack", async || {
        dev.stdout()
            .contains("#random djangobot: there\n")
            .then_some(())
    })
    .await;

    dev.write_line("#random to random").await;
    dev.line("\"text\": \"to random\"").await;
    dev.write_line("@bob in a DM").await;
    dev.line("\"text\": \"in a DM\"").await;
    dev.write_line("/send {no json").await;
    dev.line("That is no JSON object").await;
    dev.write_line("/help").await;
    dev.line("what a Django app would put on slack.send").await;
    // The end of a pipe is no end of the bridge.
    dev.close_stdin();
    assert_eq!(dev.interrupt().await.code(), Some(0));
}

#[tokio::test]
async fn the_layer_alone_serves_stock_python_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let mut layer = Djangobot::start(djangobot(
        folder.path(),
        &["layer", "--listen", "127.0.0.1:0"],
    ));
    let line = layer
        .line("The embedded channel layer is at redis://")
        .await;
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("redis://"))
        .unwrap();
    let url = url.trim_end_matches(';');
    let (mut sender, mut reader) = (App::start(url), App::start(url));
    reader.receive(&["a.channel"]).await;
    let reply = reader.new_channel().await;
    for n in 0..50 {
        let channel = if n % 2 == 0 { "a.channel" } else { &reply };
        sender
            .send(channel, &json!({"type": "a.message", "n": n}))
            .await;
    }
    for (channel, first) in [("a.channel", 0), (&reply, 1)] {
        let numbers: Vec<Value> = reader
            .take(channel, 25)
            .await
            .into_iter()
            .map(|mut message| message["n"].take())
            .collect();
        assert_eq!(
            json!(numbers),
            json!((0..25).map(|n| 2 * n + first).collect::<Vec<_>>())
        );
    }
    assert_eq!(layer.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_local_slack_alone_serves_a_bridge_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut slack = Djangobot::start(djangobot(
        folder.path(),
        &["local-slack", "--listen", "127.0.0.1:0", "--users", "3"],
    ));
    let line = slack.line("A Slack workspace is at http://").await;
    let url = line
        .split_whitespace()
        .find_map(|word| {
            word.strip_suffix(';')
                .filter(|url| url.starts_with("http://"))
        })
        .unwrap();
    let mut command = djangobot(
        folder.path(),
        &["run", "embedded://127.0.0.1:0", "--listen", "127.0.0.1:0"],
    );
    command
        .env("DJANGOBOT_TOKEN", TOKEN)
        .env("DJANGOBOT_SLACK_API_URL", url);
    let mut bridge = Bridge::of(command).await;
    bridge.line("the roster is loaded").await;
    slack.write_line("good morning").await;
    bridge
        .metric_is("djangobot_delivered_total{channel=\"slack.message\"}", 1.0)
        .await;
    assert_eq!(slack.terminate().await.code(), Some(0));
    bridge.line("disconnected from Slack").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
