//! `djangobot dev`, `local-slack` and `layer`: the commands that need nothing else, driven as a person would.

use djangobot_tests::{eventually, redis_cli};
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, TOKEN, check_end, djangobot};

#[tokio::test]
async fn dev_shows_typed_messages_as_a_django_app_gets_them_and_sends_messages_for_it() {
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
    dev.line("is not a JSON object").await;
    dev.write_line("/help").await;
    dev.line("puts any other message there").await;
    // The state is in the folder that the message names.
    dev.write_line("/send   ").await;
    dev.line("/send needs a message").await;
    dev.write_line(r##"/send {"text": "x", "channel": "nowhere"}"##)
        .await;
    let line = dev.line("kept as dead letter 1 ").await;
    let state = line.split("--state-dir ").nth(1).unwrap();
    let state = state.split(" prints it").next().unwrap();
    let show = ["dead-letters", "show", "1", "--state-dir", state];
    let ended = Djangobot::run(djangobot(folder.path(), &show)).await;
    assert!(ended.stdout.contains("nowhere"), "{ended:?}");
    // The end of its input does not end the bridge.
    dev.close_stdin();
    assert_eq!(dev.interrupt().await.code(), Some(0));
}

#[tokio::test]
async fn the_prompt_of_dev_does_what_people_do_in_slack() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Djangobot::start(djangobot(
        folder.path(),
        &[
            "dev",
            "--layer-listen",
            "127.0.0.1:0",
            "--transport",
            "socket-mode",
        ],
    ));
    dev.line("Type a message and press Enter").await;
    // A command of the app may begin with one of ours.
    dev.write_line("/sendmail bob").await;
    dev.line("--> slack.slash_commands").await;
    dev.line("\"command\": \"/sendmail\"").await;
    assert!(!dev.stdout().contains("mail bob\n"), "{}", dev.stdout());

    let buttons = json!({"text": "Deploy?", "blocks": [{"type": "actions", "elements": [
        {"type": "button", "action_id": "approve", "text": {"type": "plain_text", "text": "Go on"}, "value": "7"},
        {"type": "button", "action_id": "refuse", "text": {"type": "plain_text", "text": "No"}}]}]});
    dev.write_line(&format!("/send {buttons}")).await;
    dev.line("[/click approve, refuse]").await;
    dev.write_line("/click").await;
    dev.line("name one of these after /click: approve, refuse")
        .await;
    dev.write_line("/click go on").await;
    dev.line("--> slack.block_actions").await;
    dev.line("\"value\": \"7\"").await;
    let line = dev.line("\"reply_channel\": \"slack.answers.").await;
    let reply = line.split('"').nth(3).unwrap().to_owned();
    let answer = json!({"to": reply, "text": "Deployed.", "replace_original": true});
    dev.write_line(&format!("/send {answer}")).await;
    dev.line("djangobot: (changed) Deployed.").await;

    dev.write_line("a frist try").await;
    dev.line("\"text\": \"a frist try\"").await;
    dev.write_line("/edit a first try").await;
    dev.line("\"text\": \"a first try\"").await;
    dev.write_line("/react eyes").await;
    dev.line("--> slack.reaction_added").await;
    dev.write_line("/react -eyes").await;
    dev.line("--> slack.reaction_removed").await;
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "twelve bytes").unwrap();
    dev.write_line(&format!("/file {} for you", file.display()))
        .await;
    dev.line("--> slack.message").await;
    dev.line("\"name\": \"notes.txt\"").await;
    dev.write_line("/menu tidy_up").await;
    dev.line("--> slack.message_action").await;
    dev.write_line("/shortcut new_order").await;
    dev.line("--> slack.shortcut").await;
    dev.write_line("/delete").await;
    dev.line("\"subtype\": \"message_deleted\"").await;
    dev.write_line("/submit x").await;
    dev.line("no dialog is open").await;

    // A trigger is good for three seconds, which a busy machine may miss.
    let view = json!({"type": "modal", "title": {"type": "plain_text", "text": "Order"}, "blocks": [
        {"type": "input", "block_id": "what", "label": {"type": "plain_text", "text": "What"},
            "element": {"type": "plain_text_input", "action_id": "what"}},
        {"type": "input", "block_id": "where", "label": {"type": "plain_text", "text": "Where"},
            "element": {"type": "conversations_select", "action_id": "where", "response_url_enabled": true}}]});
    eventually("the dialog opens", async || {
        dev.write_line("//edit order").await;
        dev.line("--> slack.slash_commands").await;
        let line = dev.line("\"trigger_id\": ").await;
        let trigger = line.split('"').nth(3).unwrap();
        let open = json!({"method": "views.open", "trigger_id": trigger, "view": view});
        dev.write_line(&format!("/send {open}")).await;
        let line = dev.line("The dialog \"Order\" is open");
        let opened = tokio::time::timeout(std::time::Duration::from_secs(5), line).await;
        opened.ok().map(drop)
    })
    .await;
    dev.write_line("/submit what=tea").await;
    dev.line("\"where\" is missing").await;
    dev.write_line("/submit what=tea; where=random").await;
    dev.line("--> slack.view_submission").await;
    let line = dev.line("\"reply_channel\": \"slack.answers.").await;
    let reply = line.split('"').nth(3).unwrap().to_owned();
    let answer = json!({"to": reply, "text": "Tea is on its way.", "response_type": "in_channel"});
    dev.write_line(&format!("/send {answer}")).await;
    dev.line("#random djangobot: Tea is on its way.").await;
    dev.line("The dialog is closed").await;

    dev.write_line("/help").await;
    for word in ["/edit", "/react", "/click", "/shortcut", "/submit", "/send"] {
        dev.line(word).await;
    }
    assert_eq!(dev.interrupt().await.code(), Some(0));
}

#[tokio::test]
async fn dev_reports_a_taken_port_with_its_flag_before_it_builds_plugins() {
    let (folder, taken) = (
        tempfile::tempdir().unwrap(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--layer-listen", "--slack-listen", "--listen"] {
        let mut arguments = vec!["dev", flag, &address, "--plugin", "."];
        if flag != "--layer-listen" {
            arguments.extend(["--layer-listen", "127.0.0.1:0"]);
        }
        let ended = Djangobot::run(djangobot(folder.path(), &arguments)).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(flag), "{ended:?}");
        assert!(!ended.stderr.contains("building the plugin"), "{ended:?}");
    }
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

#[tokio::test]
async fn the_layer_alone_serves_other_machines_where_it_has_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Djangobot::run(djangobot(
        folder.path(),
        &["layer", "--listen", "0.0.0.0:0"],
    ))
    .await;
    check_end(&ended, 1, &["--password-file"]);
    std::fs::write(folder.path().join("password"), "s3cret\n").unwrap();
    let arguments = [
        "layer",
        "--listen",
        "0.0.0.0:0",
        "--password-file",
        "password",
    ];
    let mut layer = Djangobot::start(djangobot(folder.path(), &arguments));
    let line = layer
        .line("The embedded channel layer is at redis://")
        .await;
    let (_, address) = line.split_once("redis://").unwrap();
    let (address, _) = address.split_once(';').unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    assert!(redis_cli(port, &["PING"]).contains("NOAUTH"));
    let mut app = App::start(&format!("redis://:s3cret@127.0.0.1:{port}"));
    app.receive(&["a.channel"]).await;
    app.send("a.channel", &json!({"type": "a.message"})).await;
    assert_eq!(app.take("a.channel", 1).await.len(), 1);
    assert!(!layer.output().contains("s3cret"));
}
