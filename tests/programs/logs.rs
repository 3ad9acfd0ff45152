//! The logs of a running bridge: for people on a terminal, JSON elsewhere, and never with a token in them.

use std::process::Command;

use djangobot_tests::python;
use serde_json::{Value, json};

use crate::bridge::{Djangobot, wrapped};
use crate::deployment::Deployment;

#[tokio::test]
async fn in_a_terminal_logs_are_for_people() {
    for (is_plain, connected) in [
        (false, "INFO\u{1b}[0m connected to Slack"),
        (true, "INFO connected to Slack"),
    ] {
        let deployment = Deployment::new().await;
        // Python's pty gives it a terminal, and shows what it writes there.
        let mut python = Command::new(python());
        python.args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])"]);
        let mut command = wrapped(python, &deployment.command(&["embedded://127.0.0.1:0"]));
        if is_plain {
            command.env("NO_COLOR", "1");
        }
        let mut terminal = Djangobot::start(command);
        let line = terminal.line("connected to Slack").await;
        assert!(line.contains(connected), "{line:?}");
        assert_eq!(line.contains('\u{1b}'), !is_plain, "{line:?}");
        terminal.line("the roster is loaded").await;
        // Ctrl-C, which the terminal makes a signal; to kill Python would leave the bridge running.
        terminal.write_line("\u{3}").await;
        terminal.exit().await;
    }
}

#[tokio::test]
async fn no_log_shows_the_token_however_much_is_logged() {
    let deployment = Deployment::new().await;
    let all = "trace,hyper=trace,reqwest=trace,redis=trace,rustls=trace";
    let mut bridge = deployment
        .bridge_with(&[&deployment.redis.url(), "--log", all])
        .await;
    deployment
        .sender()
        .send_and_finish("slack.send", &json!({"text": "hi"}))
        .await;
    bridge
        .metric_is("djangobot_sends_total{result=\"sent\"}", 1.0)
        .await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    assert!(bridge.stderr().contains("TRACE"));
    // All that a djangobot writes is searched for the token when the test lets it go.
}

#[tokio::test]
async fn logs_are_json_where_there_is_no_terminal_and_debug_follows_an_event_by_its_id() {
    let deployment = Deployment::new().await;
    let mut bridge = deployment
        .bridge_with(&[&deployment.redis.url(), "--log", "debug"])
        .await;
    let ts = deployment
        .control
        .say("alice", "general", "a secret of alice's")
        .unwrap();
    bridge.line("event received").await;
    bridge
        .metric_is("djangobot_delivered_total{channel=\"slack.message\"}", 1.0)
        .await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    for line in bridge.stderr().lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} is no JSON"));
        assert!(
            line["timestamp"].is_string()
                && line["level"].is_string()
                && line["message"].is_string(),
            "{line}"
        );
    }
    assert_eq!(bridge.stdout(), "");
    let id = format!(
        "T0LOCAL0001.message.{}.{ts}",
        deployment.control.channel_id("general").unwrap()
    );
    let messages: Vec<_> = bridge
        .logs("")
        .into_iter()
        .filter(|line| line["id"] == *id)
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(messages, ["event received", "event delivered"]);
    assert!(
        !bridge.stderr().contains("a secret of alice's"),
        "what people write is not logged"
    );

    let human = deployment.command(&["--log-format", "human", "embedded://127.0.0.1:0"]);
    let mut human = Djangobot::start(human);
    assert!(serde_json::from_str::<Value>(&human.line("connected to Slack").await).is_err());
}
