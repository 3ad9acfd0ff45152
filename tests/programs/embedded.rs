//! The embedded layer with a password and the settings of a Django project, on both sides of a bridge, and the warnings
//! about clients with other settings.

use djangobot_tests::{eventually, redis_cli};
use serde_json::{Value, json};

use crate::app::{App, host};
use crate::bridge::{Bridge, Djangobot, calls, check_end, djangobot};
use crate::deployment::Deployment;

const PASSWORD: &str = "s3cret/not:to@be#shown";
const URL_PASSWORD: &str = "s3cret%2Fnot%3Ato%40be%23shown";
const KEY: &str = "a-key-not-to-be-shown";

/// The port of the embedded layer of a bridge.
fn port(bridge: &Bridge) -> u16 {
    let output = bridge.output();
    let (_, address) = output.split_once("the embedded layer at ").unwrap();
    let address = address.split(['"', ' ']).next().unwrap();
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// A bridge on its embedded layer, with `settings` below `[layer]`, and the password in a file.
async fn bridge(deployment: &Deployment, settings: &str, arguments: &[&str]) -> Bridge {
    std::fs::write(deployment.path("password"), format!("{PASSWORD}\n")).unwrap();
    deployment.configure(&format!("[layer]\n{settings}\n"));
    deployment.bridge_with(arguments).await
}

/// The settings that a log names as different, each once.
fn differences(program: &Djangobot) -> Vec<String> {
    let lines = program.logs("a client of the embedded channel layer has another");
    let names = lines.iter().map(|line| {
        let message = line["message"].as_str().unwrap();
        assert!(!message.contains(KEY) && !message.contains(PASSWORD));
        assert!(message.contains("CHANNEL_LAYERS") && message.contains("djangobot.toml"));
        let (_, rest) = message.split_once("another ").unwrap();
        rest.split(" than ").next().unwrap().to_owned()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

async fn says(program: &Djangobot, expected: &[&str]) {
    eventually(&format!("{expected:?} are said to differ"), async || {
        (differences(program) == expected).then_some(())
    })
    .await;
}

/// A message passes both ways between Slack and an app with this CONFIG.
async fn check_passage(deployment: &Deployment, config: &Value) {
    let mut app = App::with_config(config);
    app.receive(&["slack.message"]).await;
    deployment.say("good morning");
    assert_eq!(app.next("slack.message").await["text"], "good morning");
    app.send(
        "slack.send",
        &json!({"channel": "general", "text": "hello"}),
    )
    .await;
    let call = calls(&deployment.control, "chat.postMessage", 1)
        .await
        .remove(0);
    assert_eq!(call.arguments["text"], "hello");
}

#[tokio::test]
async fn the_projects_settings_are_those_of_the_embedded_layer() {
    let deployment = Deployment::new().await;
    let settings = format!(
        "target = \"embedded://0.0.0.0:0\"\npassword-file = \"password\"\n\
         config = {{ hosts = [\"redis://elsewhere\"], prefix = \"shop\", expiry = 30, group_expiry = 600, capacity = 7, \
         serializer_format = \"json\", symmetric_encryption_keys = [\"{KEY}\"] }}"
    );
    let bridge = bridge(&deployment, &settings, &[]).await;
    let port = port(&bridge);
    assert!(redis_cli(port, &["PING"]).contains("NOAUTH"));
    let config = json!({
        "hosts": [host(&format!("redis://:{URL_PASSWORD}@127.0.0.1:{port}"))], "prefix": "shop", "expiry": 30,
        "group_expiry": 600, "capacity": 7, "serializer_format": "json", "symmetric_encryption_keys": [KEY],
    });
    check_passage(&deployment, &config).await;
    assert_eq!(differences(&bridge), [""; 0]);
    let shown = bridge.output();
    assert!(!shown.contains(PASSWORD) && !shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn a_flag_and_the_url_give_the_embedded_layer_a_password_too() {
    for (target, flags) in [
        (
            "embedded://127.0.0.1:0".to_owned(),
            &["--password-file", "password"][..],
        ),
        (format!("embedded://:{URL_PASSWORD}@127.0.0.1:0"), &[]),
    ] {
        let deployment = Deployment::new().await;
        let arguments = [&["run", &target], flags].concat();
        let bridge = bridge(&deployment, "", &arguments).await;
        let port = port(&bridge);
        assert!(redis_cli(port, &["PING"]).contains("NOAUTH"));
        let url = format!("redis://:{URL_PASSWORD}@127.0.0.1:{port}");
        check_passage(&deployment, &json!({ "hosts": [host(&url)] })).await;
        assert!(!bridge.output().contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_difference_of_a_clients_settings_is_logged_once() {
    let deployment = Deployment::new().await;
    let bridge = bridge(&deployment, "target = \"embedded://127.0.0.1:0\"", &[]).await;
    let hosts = json!([host(&format!("redis://127.0.0.1:{}", port(&bridge)))]);
    let check = async |option: &str, value: Value, expected: &[&str]| {
        let mut config = json!({ "hosts": hosts });
        config[option] = value;
        for _ in 0..2 {
            let mut app = App::with_config(&config);
            let message = json!({"channel": "general", "text": option});
            app.send("slack.send", &message).await;
            app.group_send("people", "a.channel", &message).await;
            says(&bridge, expected).await;
        }
    };
    let keys = "list of symmetric_encryption_keys";
    let mut seen = Vec::new();
    for (option, value, said) in [
        ("expiry", json!(30), "expiry"),
        ("serializer_format", json!("json"), "serializer_format"),
        ("symmetric_encryption_keys", json!([KEY]), keys),
        ("capacity", json!(7), "capacity"),
        ("group_expiry", json!(600), "group_expiry"),
        ("prefix", json!("shop"), "prefix"),
    ] {
        seen.push(said);
        seen.sort_unstable();
        check(option, value, &seen).await;
    }
    let said = bridge.logs("another prefix");
    let said = said[0]["message"].as_str().unwrap();
    assert!(
        said.contains("the client has \"shop\", the layer has \"asgi\""),
        "{said}"
    );
}

#[tokio::test]
async fn the_layer_alone_compares_its_clients_with_the_projects_settings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    // The section `[slack]` is for other commands: `layer` does not read this file, which does not exist.
    let text = "[slack]\ntoken-file = \"nowhere\"\n[layer]\npassword-file = \"password\"\n\
                config = { prefix = \"shop\", group_expiry = 600 }\n";
    std::fs::write(folder.path().join("djangobot.toml"), text).unwrap();
    let mut layer = Djangobot::start(djangobot(
        folder.path(),
        &["layer", "--listen", "0.0.0.0:0"],
    ));
    let line = layer.line("CHANNEL_LAYERS =").await;
    for part in [
        "redis://:PASSWORD@",
        "\"prefix\": \"shop\"",
        "\"group_expiry\": 600",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let (_, rest) = line.split_once("PASSWORD@0.0.0.0:").unwrap();
    let port = rest.split('"').next().unwrap();
    let url = format!("redis://:{URL_PASSWORD}@127.0.0.1:{port}");
    let hosts = json!([host(&url)]);
    for (prefix, expected) in [("shop", &[][..]), ("asgi", &["prefix"])] {
        let mut app =
            App::with_config(&json!({ "hosts": hosts, "prefix": prefix, "group_expiry": 600 }));
        app.receive(&["a.channel"]).await;
        app.send("a.channel", &json!({"type": "a.message"})).await;
        assert_eq!(app.take("a.channel", 1).await.len(), 1);
        says(&layer, expected).await;
    }
    assert!(!layer.output().contains(PASSWORD));
}

#[tokio::test]
async fn a_password_file_for_another_layer_is_ignored_with_a_warning() {
    let deployment = Deployment::new().await;
    let arguments = [
        "run",
        &deployment.redis.url(),
        "--password-file",
        "password",
    ];
    let config = "config = { prefix = \"shop\" }";
    let bridge = bridge(&deployment, config, &arguments).await;
    assert_eq!(bridge.logs("password-file is ignored").len(), 1);
    let config = json!({ "hosts": [host(&deployment.redis.url())], "prefix": "shop" });
    check_passage(&deployment, &config).await;
}

#[tokio::test]
async fn a_wrong_url_of_the_embedded_layer_shows_no_password() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        "embedded://:s3cret@nowhere",
        "embedded://:s3cret:127.0.0.1:6399",
        "embedded://me:s3cret@127.0.0.1:6399",
    ] {
        let mut command = djangobot(folder.path(), &["run", url]);
        command.env("DJANGOBOT_TOKEN", crate::bridge::TOKEN);
        let ended = Djangobot::run(command).await;
        check_end(&ended, 2, &["embedded://"]);
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}
