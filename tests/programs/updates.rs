//! New versions of plugins in a whole bridge: refused, on trial, rolled back; and what becomes of their stores.

use djangobot_tests::eventually;
use serde_json::{Value, json};

use crate::bridge::check_end;
use crate::guest::Guest;
use crate::plugin_deployment::PluginDeployment;

#[tokio::test]
async fn an_update_that_the_running_host_refuses_changes_nothing_and_says_so_by_its_exit_code() {
    let deployment = PluginDeployment::guarded().await;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "one").await;
    let (config, lock) = (
        deployment.text("djangobot.toml"),
        deployment.text("djangobot.lock"),
    );
    let broken = [
        Guest::new().init("unreachable"),
        Guest::new().on_event("unreachable"),
        Guest::new().init("(loop $more (br $more)) (i32.const 16)"),
    ];
    for guest in &broken {
        deployment.pack("guard", "2.0.0", guest).await;
        let ended = deployment.plugin(&["update"]).await;
        check_end(&ended, 1, &["refuses guard 2.0.0", "nothing was changed"]);
        assert_eq!(deployment.text("djangobot.lock"), lock);
        assert_eq!(deployment.text("djangobot.toml"), config);
        assert_eq!(deployment.components(), 1);
        deployment.is_guarded(&mut app, "still one").await;
    }
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let mut bridge = deployment.bridge().await;
    deployment.is_guarded(&mut app, "one again").await;

    // One that is better than it looks is taken, and the one before kept for its trial.
    deployment
        .pack("guard", "3.0.0", &Guest::marks("seen", "yes"))
        .await;
    deployment.does(&["update"]).await;
    assert_eq!(deployment.components(), 2);
    assert!(deployment.text("djangobot.lock").contains("3.0.0"));
    deployment.is_guarded(&mut app, "three").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_rollback_is_written_to_the_lock_and_outlasts_a_restart() {
    let deployment = PluginDeployment::guarded().await;
    let mut bridge = deployment.bridge().await;
    let lock = deployment.text("djangobot.lock");
    // Nothing has come yet that it could be shown, so it is found out on trial.
    deployment
        .pack("guard", "2.0.0", &Guest::new().on_event("unreachable"))
        .await;
    deployment.does(&["update"]).await;
    let bad = deployment.text("djangobot.lock");
    assert!(bad.contains("2.0.0"), "{bad}");
    for n in 0..3 {
        deployment.say(&n.to_string());
    }
    bridge
        .line("the plugin is rolled back to version 1.0.0")
        .await;
    eventually("the lock says what serves", async || {
        (deployment.text("djangobot.lock") == lock).then_some(())
    })
    .await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "one").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // A lock that is brought back, as by a checkout, names a version that failed here.
    deployment.write("djangobot.lock", &bad);
    let mut bridge = deployment.bridge().await;
    deployment.is_guarded(&mut app, "one again").await;
    let status = deployment.status().await;
    assert_eq!(
        (&status["state"], &status["version"]),
        (&json!("running"), &json!("1.0.0"))
    );
    let why = status["why"].as_str().unwrap();
    assert!(
        why.contains("version 2.0.0 was rolled back") && why.contains("plugin update guard"),
        "{why}"
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_restart_on_trial_does_not_end_the_trial() {
    let deployment = PluginDeployment::guarded().await;
    let mut bridge = deployment.bridge().await;
    let lock = deployment.text("djangobot.lock");
    // Nothing has come yet that it could be shown, so it is found out on trial.
    let bad = Guest::new().on_event("unreachable");
    deployment.pack("guard", "2.0.0", &bad).await;
    deployment.does(&["update"]).await;
    bridge.kill().await;
    let mut bridge = deployment.bridge().await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let mut bridge = deployment.bridge().await;
    let status = deployment.status().await;
    assert_eq!(
        (&status["state"], &status["version"]),
        (&json!("on-trial"), &json!("2.0.0"))
    );
    for n in 0..3 {
        deployment.say(&n.to_string());
    }
    bridge
        .line("the plugin is rolled back to version 1.0.0")
        .await;
    eventually("the lock says what serves", async || {
        (deployment.text("djangobot.lock") == lock).then_some(())
    })
    .await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "one").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // A plugin that was updated while no host ran is on trial from the first start. The file of the version before is gone,
    // and the log says so.
    deployment.pack("guard", "3.0.0", &bad).await;
    deployment.does(&["update"]).await;
    let before = deployment.text(".djangobot/plugins/versions.json");
    let before: Value = serde_json::from_str(&before).unwrap();
    let digest = before["guard"]["before"]["sha256"].as_str().unwrap();
    std::fs::remove_file(deployment.path(&format!(".djangobot/plugins/{digest}.wasm"))).unwrap();
    let mut bridge = deployment.bridge().await;
    assert_eq!(bridge.logs("version 1.0.0 can't be read").len(), 1);
    assert_eq!(deployment.status().await["version"], "3.0.0");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

/// A guest that starts only where its store has `key1`, and that marks what it sees.
fn remembers(on_event: Option<&str>) -> Guest {
    let import =
        r#"(import "djangobot:plugin/store@1.0.0" "get" (func $stored (param i32 i32 i32)))"#;
    let mut guest = Guest::marks("seen", "yes").imports(import);
    let key = guest.data.put(b"key1");
    let is_there = format!(
        "(call $stored (i32.const {key}) (i32.const 4) (i32.const 64))
         (if (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68)))) (then unreachable))"
    );
    guest.before_answer = is_there.clone();
    guest.init = format!("{is_there} (i32.const 16)");
    match on_event {
        Some(on_event) => guest.on_event(on_event),
        None => guest,
    }
}

#[tokio::test]
async fn a_plugin_keeps_its_store_while_it_is_updated_from_another_source() {
    let deployment = PluginDeployment::new().await;
    let manifest = |version: &str| {
        format!("name = \"guard\"\nversion = \"{version}\"\ncapabilities = [\"store\"]\n")
    };
    deployment
        .make(
            "guard.wasm",
            &manifest("1.0.0"),
            &Guest::marks("seen", "yes"),
        )
        .await;
    deployment.does(&["add", "guard.wasm", "--yes"]).await;
    let config = deployment.text("djangobot.toml");
    deployment.write("djangobot.toml", &format!("{config}on-error = \"drop\"\n"));
    let path = deployment.path(".djangobot/plugins.db");
    let stores = djangobot_plugins::services::store::Store::open(&path).unwrap();
    let of = |file: &str| {
        let store = stores.of(&format!("guard file:{file}"), 1 << 20).unwrap();
        store.get("key1").unwrap()
    };
    let store = stores.of("guard file:guard.wasm", 1 << 20).unwrap();
    store.set("key1", b"v", None).unwrap();
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "one").await;

    // One that is refused, for it fails on what came.
    deployment
        .make(
            "bad.wasm",
            &manifest("2.0.0"),
            &remembers(Some("unreachable")),
        )
        .await;
    let ended = deployment
        .plugin(&["update", "guard", "--source", "bad.wasm"])
        .await;
    check_end(&ended, 1, &["refuses guard 2.0.0"]);
    assert_eq!(
        (of("guard.wasm").as_deref(), of("bad.wasm")),
        (Some(&b"v"[..]), None)
    );
    deployment.is_guarded(&mut app, "still one").await;

    deployment
        .make("good.wasm", &manifest("3.0.0"), &remembers(None))
        .await;
    deployment
        .does(&["update", "guard", "--source", "good.wasm"])
        .await;
    deployment.is_guarded(&mut app, "three").await;
    assert_eq!(
        (of("guard.wasm"), of("good.wasm").as_deref()),
        (None, Some(&b"v"[..]))
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // Without a host, and cut short after the config was written: the store is found at the next start.
    stores
        .announce_move("guard file:good.wasm", "guard file:moved.wasm")
        .unwrap();
    std::fs::rename(deployment.path("good.wasm"), deployment.path("moved.wasm")).unwrap();
    for file in ["djangobot.toml", "djangobot.lock"] {
        let text = deployment.text(file);
        deployment.write(file, &text.replace("good.wasm", "moved.wasm"));
    }
    let mut bridge = deployment.bridge().await;
    deployment.is_guarded(&mut app, "after a restart").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    deployment.does(&["remove", "guard"]).await;
    assert_eq!((of("good.wasm"), of("moved.wasm")), (None, None));
}

#[tokio::test]
async fn a_store_is_removed_with_its_plugin_unless_it_is_to_be_kept() {
    let deployment = PluginDeployment::guarded().await;
    let path = deployment.path(".djangobot/plugins.db");
    let name = "guard file:guard.wasm";
    for (keep, expect) in [(true, Some(b"v".to_vec())), (false, None)] {
        let store = djangobot_plugins::services::store::Store::open(&path)
            .unwrap()
            .of(name, 1 << 20)
            .unwrap();
        store.set("k", b"v", None).unwrap();
        let arguments = ["remove", "guard", "--keep-store"];
        deployment.does(&arguments[..2 + usize::from(keep)]).await;
        assert_eq!(store.get("k").unwrap(), expect);
        deployment.does(&["add", "guard.wasm"]).await;
    }
}
