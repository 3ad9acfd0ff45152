//! A plugin that nothing may pass without, in a whole bridge: whatever becomes of config, lock and component, no event
//! goes by where it does not serve.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bridge::check_end;
use crate::guest::Guest;
use crate::plugin_deployment::PluginDeployment;

/// Ways to spoil a lock, and a part of what is said of each.
const SPOILT: &[(&str, &str)] = &[
    ("conflict", "djangobot.lock line"),
    ("cut", "djangobot.lock line"),
    ("later", "djangobot.lock has the format 99"),
    ("bytes", "djangobot.lock can't be read"),
    ("folder", "djangobot.lock can't be read"),
    ("pipe", "djangobot.lock can't be read"),
    ("empty", "missing field `version`"),
    ("gone", "djangobot.lock does not pin it"),
    ("other", "djangobot.lock does not pin it"),
];

fn spoil(path: &Path, how: &str) {
    let good = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    let text = match how {
        "conflict" => format!("<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> branch\n").into_bytes(),
        "cut" => good[..good.len() - 30].into(),
        "later" => good.replace("version = 1\n", "version = 99\n").into(),
        "bytes" => b"version = 1\n\xff\xfe".into(),
        "empty" => Vec::new(),
        "other" => good.replace("\"guard\"", "\"other\"").into(),
        "folder" => return std::fs::create_dir(path).unwrap(),
        "pipe" => {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            return assert!(made.unwrap().success());
        }
        _ => return,
    };
    std::fs::write(path, text).unwrap();
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_dir(path);
}

#[tokio::test]
async fn a_bridge_does_not_start_without_its_guard_whatever_became_of_the_lock_or_the_component() {
    let deployment = PluginDeployment::guarded().await;
    let lock = deployment.path("djangobot.lock");
    let good = deployment.text("djangobot.lock");
    for (how, expect) in SPOILT {
        spoil(&lock, how);
        let ended = deployment.fails_to_start().await;
        check_end(&ended, 1, &["the plugin guard is not loaded", expect]);
        remove(&lock);
        deployment.write("djangobot.lock", &good);
    }
    std::fs::remove_dir_all(deployment.path(".djangobot/plugins")).unwrap();
    std::fs::rename(deployment.path("guard.wasm"), deployment.path("away.wasm")).unwrap();
    let ended = deployment.fails_to_start().await;
    check_end(
        &ended,
        1,
        &["the plugin guard is not loaded", "guard.wasm can't be read"],
    );
    std::fs::rename(deployment.path("away.wasm"), deployment.path("guard.wasm")).unwrap();

    // A mistake in its own table, and in one whose name nobody can tell.
    for (config, expect) in [
        (
            deployment.guarding("onerror = 1\n"),
            "unknown field `onerror`",
        ),
        (
            deployment.guarding("").replace("name", "nmae"),
            "unknown field `nmae`",
        ),
        (
            deployment.guarding("").replace("\"drop\"", "\"dorp\""),
            "line 4",
        ),
    ] {
        deployment.write("djangobot.toml", &config);
        check_end(
            &deployment.fails_to_start().await,
            1,
            &["is not loaded", expect],
        );
    }
    // The lock knows of plugins, and nothing says any more what may pass without them.
    for config in [Some(""), Some(" \n"), None] {
        match config {
            Some(text) => deployment.write("djangobot.toml", text),
            None => std::fs::remove_file(deployment.path("djangobot.toml")).unwrap(),
        }
        let ended = deployment.fails_to_start().await;
        check_end(
            &ended,
            1,
            &["djangobot.lock names plugins", "missing or empty"],
        );
    }
    let said = deployment.control.calls(Some("apps.connections.open"));
    assert!(said.is_empty(), "nothing was connected: {said:?}");
}

#[tokio::test]
async fn a_guard_serves_on_while_config_and_lock_are_spoilt_and_so_does_one_that_is_added_meanwhile()
 {
    let deployment = PluginDeployment::guarded().await;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "first").await;
    let (config, lock) = (
        deployment.path("djangobot.toml"),
        deployment.path("djangobot.lock"),
    );
    let good = deployment.text("djangobot.lock");

    // Gone for a moment, and empty for a moment, as a slow editor or a checkout leaves it.
    std::fs::rename(&config, deployment.path("away.toml")).unwrap();
    bridge.line("the plugins stay as they are").await;
    deployment.is_guarded(&mut app, "gone").await;
    std::fs::rename(deployment.path("away.toml"), &config).unwrap();
    deployment.write("djangobot.toml", "");
    bridge.line("it is empty").await;
    deployment.is_guarded(&mut app, "empty").await;
    let began = Instant::now();
    deployment.write("djangobot.toml", "[slack]\n");
    tokio::time::sleep(Duration::from_millis(500)).await;
    deployment.write("djangobot.toml", &deployment.guarding(""));
    // The host looks twice, two seconds apart, before it removes a plugin. If the machine stalled for so long between
    // the two writes, the plugin was removed as it should be.
    if began.elapsed() < Duration::from_secs(2) {
        deployment.is_guarded(&mut app, "short").await;
        assert!(bridge.logs("the plugin is removed").is_empty());
    }

    for (how, _) in SPOILT {
        spoil(&lock, how);
        bridge.line("goes on serving").await;
        deployment.is_guarded(&mut app, how).await;
        remove(&lock);
        deployment.write("djangobot.lock", &good);
    }

    // A guard that is added while the lock is spoilt can't be loaded, so its events are dropped.
    deployment.write("djangobot.toml", "[slack]\n");
    bridge.line("the plugin is removed").await;
    deployment.say("unguarded, as is wanted");
    assert_eq!(app.next("slack.message").await["seen"], Value::Null);
    spoil(&lock, "conflict");
    deployment.write("djangobot.toml", &deployment.guarding(""));
    bridge
        .line("the plugin is not loaded, and its events are dropped")
        .await;
    deployment.say("while nobody guards");
    bridge
        .metric_is(
            "djangobot_plugin_dropped_total{plugin=\"guard\",direction=\"inbound\"}",
            1.0,
        )
        .await;
    deployment.write("djangobot.lock", &good);
    bridge.line("the plugin is loaded").await;
    deployment
        .is_guarded(&mut app, "and this is the next that comes")
        .await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_mistake_in_the_config_of_one_plugin_affects_no_other_plugin() {
    let deployment = PluginDeployment::guarded().await;
    deployment
        .pack("other", "1.0.0", &Guest::marks("other", "yes"))
        .await;
    deployment.does(&["add", "other.wasm"]).await;
    let good = deployment.text("djangobot.toml");
    deployment.write("djangobot.toml", &format!("{good}limts = 3\n"));
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "at the start").await;
    assert!(!bridge.logs("unknown field `limts`").is_empty());
    deployment.write("djangobot.toml", &good);
    bridge.line("the plugin is loaded").await;
    // A mistake in the first does not keep the second from following its config.
    let other = good.replace(
        "source = \"file:guard.wasm\"",
        "sauce = \"file:guard.wasm\"",
    );
    deployment.write("djangobot.toml", &format!("{other}instances = 2\n"));
    bridge.line("the plugin was replaced").await;
    deployment.is_guarded(&mut app, "with a mistake").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
