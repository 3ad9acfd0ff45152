//! Compiling in a whole bridge: from a program that was replaced meanwhile, slowly, and what is kept of it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use djangobot_tests::{binary, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::bridge::{Bridge, Djangobot};
use crate::guest::Guest;
use crate::plugin_deployment::PluginDeployment;

#[tokio::test]
async fn a_plugin_whose_compiled_code_was_changed_is_compiled_again() {
    let deployment = PluginDeployment::guarded().await;
    let start = async |expect: &str| {
        let mut bridge = deployment.bridge().await;
        let mut app = deployment.message_app().await;
        deployment.is_guarded(&mut app, expect).await;
        let said = bridge.logs("compiled again");
        assert_eq!(said.len(), usize::from(!expect.is_empty()), "{said:?}");
        assert!(
            said.iter()
                .all(|it| it["message"].as_str().unwrap().contains(expect))
        );
        assert_eq!(bridge.terminate().await.code(), Some(0));
    };
    start("").await;
    let cache = deployment.path(".djangobot/cache");
    let files = std::fs::read_dir(&cache)
        .unwrap()
        .map(|it| it.unwrap().path());
    let code = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "code"))
        .unwrap();
    // After a loss of power, a file that was not flushed to the disk may have zeros in it.
    let good = std::fs::read(&code).unwrap();
    let mut zeroed = good.clone();
    zeroed[4096..8192].fill(0);
    std::fs::write(&code, zeroed).unwrap();
    start("not as this host wrote it").await;
    std::fs::write(&code, &good[..good.len() / 2]).unwrap();
    start("not as this host wrote it").await;
    std::fs::write(&code, "").unwrap();
    start("cut short").await;
    start("").await;
}

/// A copy of the program under test, which can be replaced.
fn copied(deployment: &PluginDeployment) -> PathBuf {
    let (program, copy) = (binary("djangobot"), deployment.path("djangobot-copy"));
    if std::fs::hard_link(&program, &copy).is_err() {
        std::fs::copy(&program, &copy).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_host_whose_program_is_replaced_on_the_disk_still_compiles_plugins() {
    let deployment = PluginDeployment::guarded().await;
    let copy = copied(&deployment);
    let mut bridge = Bridge::of(deployment.bridge_by(&copy)).await;
    bridge.line("the roster is loaded").await;
    let mut app = deployment.message_app().await;
    deployment.is_guarded(&mut app, "as it was").await;

    // The file becomes a program that ends well and gives nothing, then one that fails; then there is no file.
    for (n, becomes) in [Some("#!/bin/sh\n"), Some("#!/bin/sh\nexit 1\n"), None]
        .into_iter()
        .enumerate()
    {
        std::fs::remove_file(&copy).unwrap();
        if let Some(script) = becomes {
            std::fs::write(&copy, script).unwrap();
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&copy, executable).unwrap();
        }
        let version = format!("{}.0.0", n + 2);
        let guest = Guest::marks("seen", "yes").fields(&format!("(global i32 (i32.const {n}))"));
        deployment.pack("guard", &version, &guest).await;
        deployment.does(&["update"]).await;
        assert_eq!(deployment.status().await["version"], version);
        deployment.is_guarded(&mut app, &version).await;
    }
    assert_eq!(bridge.terminate().await.code(), Some(0));
    // All that was kept is what the next start takes.
    let mut bridge = deployment.bridge().await;
    deployment.is_guarded(&mut app, "after a restart").await;
    assert!(bridge.logs("compiled again").is_empty());
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

/// The child of `parent` that compiles, once there is one.
async fn compiler_of(parent: u32) -> Pid {
    eventually("it compiles", async || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok())
            .find(|id| {
                let read = |file: &str| {
                    std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default()
                };
                read("cmdline").contains("compile-plugin")
                    && read("status").contains(&format!("PPid:\t{parent}\n"))
            })
            .and_then(Pid::from_raw)
    })
    .await
}

#[tokio::test]
async fn a_slow_compile_holds_up_the_plugins_own_events_alone_and_they_keep_their_order() {
    let deployment = PluginDeployment::new().await;
    // Long enough at the compiler that it can be held there.
    let work =
        "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.load (local.get 0))))";
    let function = format!(
        "(func (param i32) (result i32) {} (local.get 0))",
        work.repeat(200)
    );
    let guest = Guest::marks("seen", "yes").fields(&function.repeat(100));
    deployment.pack("guard", "1.0.0", &guest).await;
    deployment.does(&["add", "guard.wasm"]).await;
    deployment.write("djangobot.toml", &deployment.guarding(""));
    let program = Djangobot::start(deployment.bridge_by(&binary("djangobot")));
    let compiler = compiler_of(program.pid()).await;
    kill_process(compiler, Signal::STOP).unwrap();
    let mut bridge = Bridge::around(program).await;

    bridge.line("the roster is loaded").await;
    assert_eq!(deployment.status().await["state"], "loading");
    let mut app = deployment.message_app().await;
    app.receive(&["slack.numbered"]).await;
    for n in 0..10 {
        deployment.say(&format!("message {n}"));
    }
    // Another type goes by, which this plugin does not subscribe to.
    let numbered = json!({"type": "numbered", "n": 1});
    deployment.control.emit(None, &numbered);
    assert_eq!(app.next("slack.numbered").await["n"], 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metric = "djangobot_plugin_calls_total{plugin=\"guard\",outcome=\"modified\"}";
    assert_eq!(bridge.metric(metric).await, 0.0);
    kill_process(compiler, Signal::CONT).unwrap();
    for n in 0..10 {
        let message = app.next("slack.message").await;
        let expect = format!("message {n}");
        assert_eq!(
            (&message["text"], &message["seen"]),
            (&json!(expect), &json!("yes"))
        );
    }
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
