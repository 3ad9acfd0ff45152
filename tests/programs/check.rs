//! `djangobot check` and `djangobot dead-letters`: the commands for when something is wrong.

use std::path::Path;
use std::process::Command;

use djangobot_tests::{Redis, free_port, python, python_redis7};
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Djangobot, calls, check_end, djangobot, with_slack};
use crate::deployment::Deployment;
use crate::worker::example;

/// The findings of `djangobot check --json ARGUMENTS`, by what was looked at, and the exit code.
async fn findings(command: Command) -> (Option<i32>, Vec<Value>) {
    let ended = Djangobot::run(command).await;
    let found =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, found)
}

fn check_finding(findings: &[Value], check: &str, status: &str, parts: &[&str]) {
    let of_check: Vec<_> = findings
        .iter()
        .filter(|finding| finding["check"] == check)
        .collect();
    let found = of_check.iter().any(|finding| {
        let text = format!("{} {}", finding["detail"], finding["cure"]);
        finding["status"] == status && parts.iter().all(|part| text.contains(part))
    });
    assert!(
        found,
        "{check} is not {status} with {parts:?}: {findings:#?}"
    );
    assert!(
        of_check
            .iter()
            .all(|finding| finding["status"] == "ok" || finding["cure"].is_string()),
        "{of_check:#?}"
    );
}

#[tokio::test]
async fn check_finds_nothing_wrong_with_a_good_set_up() {
    let deployment = Deployment::new().await;
    for json in [true, false] {
        let arguments = ["check", "myapp.settings", "--json"];
        let mut command = with_slack(
            djangobot(&example(), &arguments[..if json { 3 } else { 2 }]),
            &deployment.slack,
        );
        command
            .arg("--python")
            .arg(python())
            .arg("--state-dir")
            .arg(deployment.folder.path());
        command
            .env("DJANGOBOT_EXAMPLE_REDIS", deployment.redis.url())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if !json {
            let ended = Djangobot::run(command).await;
            assert_eq!(
                (ended.code, &*ended.stderr),
                (Some(0), ""),
                "{}",
                ended.stdout
            );
            assert!(
                ended.stdout.lines().all(|line| line.starts_with("ok ")),
                "{}",
                ended.stdout
            );
            continue;
        }
        let (code, findings) = findings(command).await;
        assert!(
            findings.iter().all(|finding| finding["status"] == "ok"),
            "{findings:#?}"
        );
        assert_eq!(code, Some(0));
        check_finding(
            &findings,
            "project",
            "ok",
            &["channels 4", "redis 8", "RedisChannelLayer"],
        );
        check_finding(&findings, "layer", "ok", &[&deployment.redis.url()]);
        check_finding(&findings, "token", "ok", &["Local Slack", "T0LOCAL0001"]);
        check_finding(&findings, "default channel", "ok", &["#general"]);
    }
}

#[tokio::test]
async fn check_prints_each_problem_with_its_cure() {
    let deployment = Deployment::new().await;
    let away = format!("redis://127.0.0.1:{}", free_port());
    let check = async |arguments: &[&str]| {
        findings(deployment.command(&[&["check", "--json"], arguments].concat())).await
    };
    let (code, found) = check(&[&away, "--default-channel", "nowhere"]).await;
    assert_eq!(code, Some(1));
    check_finding(
        &found,
        "layer",
        "error",
        &[&away, "refused", "djangobot layer"],
    );
    check_finding(&found, "default channel", "warning", &["nowhere"]);
    let (code, found) = check(&["embedded://127.0.0.1:0", "-t", "xoxb-another"]).await;
    assert_eq!(code, Some(1));
    check_finding(
        &found,
        "token",
        "error",
        &["invalid_auth", "OAuth & Permissions"],
    );
    let (code, found) = check(&["-t", "nonsense"]).await;
    assert_eq!(code, Some(1));
    check_finding(
        &found,
        "token",
        "error",
        &["does not look like a Slack token", "xoxb-"],
    );
    check_finding(&found, "layer", "error", &["no channel layer is named"]);

    let (code, found) = check(&["embedded://127.0.0.1:0", "-t", "xapp-1-A1-2-3"]).await;
    assert_eq!(code, Some(1));
    let of_slack = found.iter().filter(|it| it["check"] != "config");
    let wrong: Vec<_> = of_slack.filter(|it| it["status"] == "error").collect();
    assert_eq!(wrong.len(), 1, "one mistake, one cure: {found:#?}");
    check_finding(
        &found,
        "token",
        "error",
        &["xapp-", "DJANGOBOT_APP_TOKEN", "OAuth & Permissions"],
    );

    deployment
        .control
        .set_scopes(&["channels:read", "users:read", "rtm:stream"]);
    let (code, found) = check(&["embedded://127.0.0.1:0"]).await;
    assert_eq!(code, Some(1));
    check_finding(
        &found,
        "scopes",
        "error",
        &["chat:write", "install it to the workspace again"],
    );
    check_finding(&found, "scopes", "warning", &["im:write"]);
    let ended = deployment.run(&["check", "embedded://127.0.0.1:0"]).await;
    assert!(
        ended
            .stdout
            .contains("ERROR    scopes: the token lacks chat:write"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("         cure: add chat:write"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn each_kind_of_layer_error_has_its_own_cure() {
    let deployment = Deployment::new().await;
    let check = async |target: &str, parts: &[&str]| {
        let (code, found) = findings(deployment.command(&["check", "--json", target])).await;
        assert_eq!(code, Some(1), "{target}: {found:#?}");
        check_finding(&found, "layer", "error", parts);
        assert!(
            !format!("{found:?}").contains("djangobot check tells"),
            "{found:#?}"
        );
    };
    let locked = Redis::with_args(&["--requirepass", "s3cret"]);
    check(
        &locked.url(),
        &["NOAUTH", "redis://USER:PASSWORD@HOST:PORT"],
    )
    .await;
    let own = |name: &str| {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/../host/channels/tests/tls/{name}")
    };
    let port = free_port();
    let _secure = Redis::with_args(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &own("self.pem"),
        "--tls-key-file",
        &own("self.key"),
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &own("ca.pem"),
    ]);
    let url = format!("rediss://localhost:{port}");
    check(&url, &["CN=localhost", "ssl_ca_certs"]).await;
    check("unix:///nowhere/redis.sock", &["unixsocket"]).await;
    check(
        "redis://no-such-host.invalid:6379",
        &["name has no address"],
    )
    .await;
    check("redis://h:port", &["%3A"]).await;
}

#[tokio::test]
async fn a_project_is_found_by_djangos_own_variable_and_a_wrong_target_gets_a_suggestion() {
    let deployment = Deployment::new().await;
    let write = |name: &str, text: &str| {
        let path = deployment.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "manage.py",
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n",
    );
    write("shop/__init__.py", "");
    write(
        "shop/urls.py",
        "from django.conf import settings\nif settings.DEBUG: pass\n",
    );
    write(
        "shop/layers.py",
        "from channels_redis.core import RedisChannelLayer\nclass Ours(RedisChannelLayer):\n    async def send(self, channel, message):\n        await super().send(channel, message)\n",
    );
    let layers = format!(
        "INSTALLED_APPS = []\nCHANNEL_LAYERS = {{'default': {{'BACKEND': 'shop.layers.Ours', 'CONFIG': {{'hosts': [{{'address': {:?}, 'socket_timeout': None}}]}}}}}}\n",
        deployment.redis.url()
    );
    write("shop/settings.py", &layers);
    let check = async |arguments: &[&str], variable: Option<&str>| {
        let command = djangobot(
            deployment.folder.path(),
            &[&["check", "--json"], arguments].concat(),
        );
        let mut command = with_slack(command, &deployment.slack);
        command.arg("--python").arg(python());
        if let Some(variable) = variable {
            command.env("DJANGO_SETTINGS_MODULE", variable);
        }
        findings(command).await
    };
    let (code, found) = check(&[], Some("shop.settings")).await;
    assert_eq!(code, Some(0), "{found:#?}");
    check_finding(&found, "layer", "ok", &[&deployment.redis.url()]);
    check_finding(
        &found,
        "project",
        "warning",
        &["shop.layers.Ours", "Ours.send"],
    );
    for word in ["manage.py", "shop.urls", "shop", "shop/"] {
        let (code, found) = check(&[word], None).await;
        assert_eq!(code, Some(1), "{word}: {found:#?}");
        check_finding(&found, "layer", "error", &["shop.settings"]);
    }
    let (_, found) = check(&["shop.settings", "--import-timeout", "0.01"], None).await;
    check_finding(
        &found,
        "layer",
        "error",
        &["after 0.01 s", "--import-timeout"],
    );
}

/// A Django project of one settings file, with this layer.
pub(crate) fn project(folder: &Path, backend: &str, config: &Value) {
    let layers = json!({"default": {"BACKEND": backend, "CONFIG": config}}).to_string();
    let settings = format!("import json\n\nCHANNEL_LAYERS = json.loads({layers:?})\n");
    std::fs::write(folder.join("settings.py"), settings).unwrap();
}

#[tokio::test]
async fn check_finds_the_worker_trap_of_redis_py_8() {
    let deployment = Deployment::new().await;
    let url = deployment.redis.url();
    let cured = json!({"address": url, "socket_timeout": null});
    for (python, host, is_trap) in [
        (python(), json!(url), true),
        (python(), cured, false),
        (python_redis7(), json!(url), false),
    ] {
        project(
            deployment.folder.path(),
            "channels_redis.core.RedisChannelLayer",
            &json!({"hosts": [host]}),
        );
        let mut command = deployment.command(&["check", "--json", "settings"]);
        command.arg("--python").arg(python);
        let (code, findings) = findings(command).await;
        assert_eq!(code, Some(0), "{findings:#?}");
        match is_trap {
            true => check_finding(
                &findings,
                "redis-py",
                "warning",
                &["TimeoutError", "\\\"socket_timeout\\\": None"],
            ),
            false => assert!(
                findings.iter().all(|finding| finding["status"] == "ok"),
                "{findings:#?}"
            ),
        }
    }
}

#[tokio::test]
async fn dead_letters_are_listed_shown_sent_again_and_dropped_next_to_a_running_bridge() {
    let deployment = Deployment::new().await;
    let mut bridge = deployment.bridge().await;
    let run = async |arguments: &[&str]| {
        Djangobot::run(djangobot(
            deployment.folder.path(),
            &[&["dead-letters"], arguments].concat(),
        ))
        .await
    };
    assert_eq!(run(&["list"]).await.stdout, "There are no dead letters.\n");
    let mut app = deployment.sender();
    let message = json!({"text": "to be sent later", "channel": "later"});
    app.send("slack.send", &message).await;
    bridge.line("kept as dead letter 1 ").await;
    app.put("slack.send", b"\xc1").await;
    bridge.line("kept as dead letter 2 ").await;

    let listed = run(&["list"]).await;
    assert!(
        listed.stdout.contains("channel_not_found") && listed.stdout.contains("undecodable"),
        "{listed:?}"
    );
    let all: Value = serde_json::from_str(&run(&["list", "--json"]).await.stdout).unwrap();
    assert_eq!(
        (&all[0]["message"], &all[1]["message"]),
        (&message, &json!({"undecodable": "c1"}))
    );
    let shown: Value = serde_json::from_str(&run(&["show", "1"]).await.stdout).unwrap();
    assert_eq!(shown, all[0]);
    check_end(
        &run(&["show", "3"]).await,
        1,
        &["there is no dead letter 3"],
    );
    check_end(
        &run(&["retry", "2", &deployment.redis.url()]).await,
        1,
        &["can't be sent again"],
    );
    assert_eq!(run(&["drop", "2"]).await.code, Some(0));

    // Meanwhile somebody made the channel.
    let created = json!({"type": "channel_created", "channel": {"id": deployment.control.channel_id("ops").unwrap(), "name": "later", "created": 1, "creator": "U1"}});
    deployment.control.emit(None, &created);
    bridge
        .metric_is(
            "djangobot_delivered_total{channel=\"slack.channel_created\"}",
            1.0,
        )
        .await;
    assert_eq!(
        run(&["retry", "1", &deployment.redis.url()]).await.code,
        Some(0)
    );
    let calls = calls(&deployment.control, "chat.postMessage", 1).await;
    assert_eq!(calls[0].arguments["text"], "to be sent later");
    assert_eq!(run(&["list"]).await.stdout, "There are no dead letters.\n");
}

#[tokio::test]
async fn a_dead_letter_is_kept_until_somebody_has_taken_it() {
    let deployment = Deployment::new().await;
    let retry = async |target: &str| {
        Djangobot::run(djangobot(
            deployment.folder.path(),
            &["dead-letters", "retry", "1", target],
        ))
        .await
    };
    let port = free_port();
    let own = format!("embedded://127.0.0.1:{port}");
    let mut bridge = deployment.bridge_with(&[&own]).await;
    let mut app = App::start(&format!("redis://127.0.0.1:{port}"));
    app.send("slack.send", &json!({"text": "hi", "channel": "later"}))
        .await;
    bridge.line("kept as dead letter 1 ").await;

    let broadcast = deployment
        .redis
        .url()
        .replace("redis://", "redis+pubsub://");
    check_end(&retry(&broadcast).await, 1, &["nobody reads slack.send"]);
    let elsewhere = format!("embedded://127.0.0.1:{}", free_port());
    check_end(
        &retry(&elsewhere).await,
        1,
        &["dead letter 1 was not put back"],
    );
    check_end(&retry("embedded://").await, 2, &["does not say where"]);
    // The layer of the running bridge takes it; the channel is still not there, so it falls again.
    check_end(&retry(&own).await, 0, &[]);
    bridge.line("kept as dead letter 2 ").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
