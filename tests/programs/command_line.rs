//! The command line as a person meets it: exit codes, sentences, precedence, logs, the listener.

use djangobot_tests::{eventually, python};
use local_slack::LocalSlack;
use serde_json::{Value, json};

use crate::bridge::{Djangobot, ExitReport, TOKEN, check_end, djangobot, slack, with_slack};
use crate::deployment::Deployment;
use crate::worker::example;

/// Runs `djangobot ARGUMENTS` in an empty folder with [`TOKEN`] against `slack`.
async fn run(slack: &LocalSlack, arguments: &[&str]) -> ExitReport {
    let folder = tempfile::tempdir().unwrap();
    Djangobot::run(with_slack(djangobot(folder.path(), arguments), slack)).await
}

#[tokio::test]
async fn a_wrong_command_line_or_config_ends_with_2_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("djangobot.toml"), text).unwrap();
    let run = async |arguments: &[&str]| Djangobot::run(djangobot(folder.path(), arguments)).await;
    let redis = "redis://127.0.0.1:1";
    check_end(
        &run(&[redis]).await,
        2,
        &["there is no Slack token", "DJANGOBOT_TOKEN"],
    );
    check_end(
        &run(&["-t", TOKEN]).await,
        2,
        &["no channel layer is named", "embedded://"],
    );
    check_end(
        &run(&["-t", TOKEN, redis, "myapp.asgi"]).await,
        2,
        &["several are shards"],
    );
    check_end(
        &run(&["-t", TOKEN, "ftp://somewhere"]).await,
        2,
        &["ftp://", "redis://HOST:PORT/DB"],
    );
    check_end(
        &run(&["-t", "nonsense", redis]).await,
        2,
        &["does not look like a Slack token", "xoxb-"],
    );
    check_end(
        &run(&["chekc"]).await,
        2,
        &["neither a command nor a module", "djangobot check"],
    );
    check_end(
        &run(&["localhost:6379"]).await,
        1,
        &[
            "is not the name of a Python module",
            "write redis://localhost:6379",
        ],
    );
    check_end(
        &run(&["plugn", "add", "x", "--yes"]).await,
        2,
        &["neither a command nor a module", "djangobot plugin"],
    );
    check_end(
        &run(&["-t", TOKEN, redis, "--listen", "9100"]).await,
        2,
        &["--listen", "write 127.0.0.1:9100"],
    );
    check_end(
        &run(&["-t", "xapp-1-A1-2-3", redis]).await,
        2,
        &["app-level token (xapp-)", "belongs in DJANGOBOT_APP_TOKEN"],
    );
    check_end(
        &run(&["-t", TOKEN, "--app-token", "xoxb-2", redis]).await,
        2,
        &["the app-level token (DJANGOBOT_APP_TOKEN) is a bot token (xoxb-)"],
    );
    check_end(
        &run(&["-t", "xapp-1", "--app-token", TOKEN, redis]).await,
        2,
        &["are swapped"],
    );
    check_end(
        &run(&["-t", TOKEN, "--signing-secret", "xapp-1", redis]).await,
        2,
        &["the signing secret (DJANGOBOT_SIGNING_SECRET) is an app-level token"],
    );
    check_end(
        &run(&["--nonsense"]).await,
        2,
        &["unexpected argument '--nonsense'"],
    );
    check_end(
        &run(&["-c", "nowhere.toml"]).await,
        2,
        &["nowhere.toml", "No such file"],
    );
    let plain = [
        "-t",
        TOKEN,
        "--slack-api-url",
        "http://slack.example/api/",
        redis,
    ];
    check_end(
        &run(&plain).await,
        2,
        &["over plain http the network could read the token"],
    );

    write(&format!("[slack]\ntoken = \"{TOKEN}\"\ntokne = 1\n"));
    check_end(
        &run(&[redis]).await,
        2,
        &["djangobot.toml line 3", "`tokne`", "did you mean `token`"],
    );
    write("listen = \"127.0.0.1:0\"\n\n[layer]\nhold = \"many\"\n");
    check_end(
        &run(&[redis]).await,
        2,
        &["djangobot.toml line 4", "expected a whole number"],
    );
    write("[slack\n");
    check_end(&run(&[redis]).await, 2, &["djangobot.toml line 1"]);
}

#[tokio::test]
async fn a_failure_of_a_command_ends_with_1_and_a_sentence() {
    let slack = slack().await;
    let mut command = djangobot(
        &example(),
        &["-t", "xoxb-of-another-app", "embedded://127.0.0.1:0"],
    );
    let folder = tempfile::tempdir().unwrap();
    command
        .env("DJANGOBOT_SLACK_API_URL", slack.api_url())
        .arg("--state-dir")
        .arg(folder.path());
    check_end(&Djangobot::run(command).await, 1, &["invalid_auth"]);
    let python = python();
    let python = python.to_str().unwrap();
    check_end(
        &run(
            &slack,
            &["--python", python, "no_such_module.asgi:channel_layer"],
        )
        .await,
        1,
        &["no_such_module"],
    );
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    check_end(
        &run(&slack, &["embedded://127.0.0.1:0", "--listen", &address]).await,
        1,
        &["djangobot can't listen on", &address],
    );
    check_end(
        &run(&slack, &[&format!("embedded://{address}")]).await,
        1,
        &[&address],
    );
}

#[tokio::test]
async fn a_revoked_token_ends_a_running_bridge_with_1() {
    let deployment = Deployment::new().await;
    let mut bridge = deployment.bridge_with(&["embedded://127.0.0.1:0"]).await;
    deployment.control.revoke(TOKEN, "token_revoked");
    deployment.control.drop_connections(None);
    assert_eq!(bridge.exit().await.code(), Some(1));
    assert!(
        bridge.stderr().contains("token_revoked"),
        "{}",
        bridge.stderr()
    );
}

#[tokio::test]
async fn a_state_folder_serves_one_at_a_time() {
    let deployment = Deployment::new().await;
    let embedded = ["embedded://127.0.0.1:0"];
    let mut first = deployment.bridge_with(&embedded).await;
    check_end(
        &deployment.run(&embedded).await,
        1,
        &["another djangobot is using", "--state-dir"],
    );
    assert_eq!(first.terminate().await.code(), Some(0));
    let mut third = deployment.bridge_with(&embedded).await;
    assert_eq!(third.interrupt().await.code(), Some(0));
}

#[tokio::test]
async fn help_and_completions_go_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let ended = Djangobot::run(djangobot(folder.path(), arguments)).await;
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}");
        ended.stdout
    };
    let help = run(&["--help"]).await;
    for word in [
        "run",
        "dev",
        "check",
        "dead-letters",
        "local-slack",
        "layer",
        "completions",
        "DJANGOBOT_TOKEN",
        "--listen",
    ] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
    for command in [
        "run",
        "dev",
        "check",
        "dead-letters",
        "local-slack",
        "layer",
        "completions",
    ] {
        assert!(
            run(&[command, "--help"]).await.contains("Usage: djangobot"),
            "{command}"
        );
    }
    assert!(run(&["--version"]).await.starts_with("djangobot "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            run(&["completions", shell]).await.contains("local-slack"),
            "{shell}"
        );
    }
    let made = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(made, 0, "a folder was written to");
}

#[tokio::test]
async fn a_flag_beats_the_environment_which_beats_the_file() {
    let deployment = Deployment::new().await;
    let file = |token: &str, target: &str| {
        let text = format!(
            "[slack]\ntoken = \"{token}\"\napi-url = \"{}\"\ndefault-channel = \"random\"\n[layer]\ntarget = \"{target}\"\n",
            deployment.slack.api_url()
        );
        std::fs::write(deployment.folder.path().join("mine.toml"), text).unwrap();
    };
    let run = async |token: Option<&str>, arguments: &[&str]| {
        let mut command = djangobot(deployment.folder.path(), arguments);
        command.args(["--config", "mine.toml"]);
        if let Some(token) = token {
            command.env("DJANGOBOT_TOKEN", token);
        }
        // An empty variable counts as unset.
        command
            .env("DJANGOBOT_SLACK_API_URL", "")
            .env("DJANGOBOT_LISTEN", "");
        let mut bridge = Djangobot::start(command);
        let line = bridge.line("forwarding").await;
        bridge.line("the roster is loaded").await;
        assert!(bridge.terminate().await.success());
        serde_json::from_str::<Value>(&line).unwrap()["layer"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let url = deployment.redis.url();
    file(TOKEN, &url);
    assert!(run(None, &[]).await.contains(&url));
    // A wrong token would have ended it.
    file("xoxb-wrong", &url);
    assert!(run(Some(TOKEN), &[]).await.contains(&url));
    file(TOKEN, &url);
    assert!(run(Some(""), &[]).await.contains(&url));
    file("xoxb-wrong", &url);
    assert!(run(Some("xoxb-wrong"), &["-t", TOKEN]).await.contains(&url));
    assert!(
        run(Some("xoxb-wrong"), &["-t", TOKEN, "embedded://127.0.0.1:0"])
            .await
            .contains("embedded")
    );
}

#[tokio::test]
async fn the_default_channel_and_the_allowed_methods_come_from_the_config() {
    let deployment = Deployment::new().await;
    let text = "[slack]\ndefault-channel = \"#random\"\nmethods = [\"chat.postMessage\", \"conversations.*\"]\n[layer]\nsend-channel = \"my.send\"\n";
    deployment.configure(text);
    let _bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    let reply = app.new_channel().await;
    let mut ask = async |mut message: Value| {
        message["reply_channel"] = reply.as_str().into();
        app.send("my.send", &message).await;
        app.next(&reply).await
    };
    assert_eq!(
        ask(json!({"text": "hi"})).await["channel"],
        deployment.control.channel_id("random").unwrap()
    );
    assert_eq!(
        ask(json!({"method": "chat.update", "text": "x"})).await["error"],
        "method_not_allowed"
    );
    assert_eq!(
        ask(json!({"method": "conversations.info", "channel": "ops"})).await["type"],
        "slack.sent"
    );
}

#[tokio::test]
async fn the_listener_serves_health_readiness_and_metrics() {
    let deployment = Deployment::new().await;
    let mut bridge = deployment.bridge().await;
    assert_eq!(bridge.get("/healthz").await, (200, "ok\n".into()));
    eventually("it is ready", async || {
        (bridge.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(bridge.get("/readyz").await.1, "slack: up\nlayer: up\n");
    assert_eq!(bridge.get("/elsewhere").await.0, 404);
    deployment.say("hi");
    deployment
        .sender()
        .send_and_finish("slack.send", &json!({"text": "hi"}))
        .await;
    bridge
        .metric_is("djangobot_sends_total{result=\"sent\"}", 1.0)
        .await;
    // alice's and the bot's own.
    bridge
        .metric_is("djangobot_delivered_total{channel=\"slack.message\"}", 2.0)
        .await;
    for part in [
        "djangobot_events_total{type=\"message\"} 2",
        "djangobot_events_total{type=\"hello\"} 1",
        "djangobot_slack_connected 1",
        "djangobot_roster_size{kind=\"users\"} 47",
        "djangobot_delivery_seconds_count 3",
        "djangobot_send_seconds_count 1",
        "djangobot_build_info{version=",
        "\ndjangobot_last_event_seconds ",
        "\ndjangobot_spool_oldest_seconds 0\n",
        "\ndjangobot_outbox_oldest_seconds 0\n",
        "\ndjangobot_layer_oldest_seconds{channel=\"slack.send\"} 0\n",
        "# TYPE djangobot_discarded_total counter",
        "\nprocess_open_fds ",
        "\nprocess_resident_memory_bytes ",
        "# TYPE djangobot_events_total counter",
    ] {
        eventually(&format!("{part:?} is in the metrics"), async || {
            let page = bridge.get("/metrics").await.1;
            page.contains(part).then_some(())
        })
        .await;
    }
    deployment.slack.shutdown().await;
    eventually("it is not ready", async || {
        (bridge.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(bridge.get("/readyz").await.1, "slack: down\nlayer: up\n");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_warning_is_logged_for_a_token_on_the_command_line_and_not_for_one_in_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |arguments: &[&str], variable: Option<&str>, expect: bool| {
        let all = [
            &[
                "check",
                "embedded://",
                "--slack-api-url",
                "http://127.0.0.1:9/api/",
            ],
            arguments,
        ]
        .concat();
        let mut command = djangobot(folder.path(), &all);
        if let Some(token) = variable {
            command.env("DJANGOBOT_TOKEN", token);
        }
        let ended = Djangobot::run(command).await;
        assert_eq!(
            ended
                .stdout
                .contains("the secret of --token is on the command line"),
            expect,
            "{ended:?}"
        );
        assert!(!format!("{ended:?}").contains("xoxb-1-hush"), "{ended:?}");
    };
    check(&["--token", "xoxb-1-hush"], None, true).await;
    check(&["-t", "xoxb-1-hush"], Some("xoxb-1-hush"), true).await;
    check(&["--token=xoxb-1-hush"], None, true).await;
    check(&[], Some("xoxb-1-hush"), false).await;
}
