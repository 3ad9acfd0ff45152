//! Plugins in the way of a whole bridge's events: added, edited, broken, quarantined and removed while messages flow.

use std::path::{Path, PathBuf};

use djangobot_tests::{environment, eventually};
use local_slack::Control;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{calls, djangobot};
use crate::deployment::Deployment;

/// The component of a plugin that ships; `cargo xtask test` builds it.
fn shipped(name: &str) -> String {
    let target = environment::directory();
    let component = target
        .parent()
        .unwrap()
        .join("guests")
        .join(format!("{name}.wasm"));
    assert!(
        component.exists(),
        "{} is not built: cargo xtask guests",
        component.display()
    );
    component.display().to_string()
}

/// Runs `djangobot plugin ARGUMENTS` next to a bridge with its files in `folder`, and gives its output. A build
/// may take minutes, so that nothing but the test run's own end ends it.
async fn plugin(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = djangobot(folder, &[&["plugin"], arguments].concat());
    command.stdin(std::process::Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let ended = ended.await.unwrap().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (
        ended.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// The status of a plugin in `plugin list --json`.
async fn status(folder: &Path, name: &str) -> Value {
    let (code, said) = plugin(folder, &["list", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    let list: Value = serde_json::from_str(&said).unwrap();
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|status| status["name"] == name);
    found
        .cloned()
        .unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn plugins_that_ship_work_both_ways_and_are_added_and_removed_while_messages_flow() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message", "slack.mention"]).await;
    let alice = control.user_id("alice").unwrap();

    control
        .say("alice", "general", &format!("hi <@{alice}>"))
        .unwrap();
    let message = app.next("slack.message").await;
    assert_eq!(message["text"], format!("hi <@{alice}>"));
    assert_eq!(message["user_name"], Value::Null);

    for name in [
        "ignore-self",
        "mentions",
        "resolve-names",
        "mrkdwn",
        "redact",
    ] {
        let (code, said) =
            plugin(deployment.folder.path(), &["add", &shipped(name), "--yes"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("is running"), "{said}");
    }
    control
        .say("alice", "general", &format!("hi <@{alice}>"))
        .unwrap();
    let message = app.next("slack.message").await;
    assert_eq!(
        (&message["text"], &message["user_name"]),
        (&json!("hi @alice"), &json!("alice"))
    );

    // Outbound; Slack's event of the post is about the bot's own message, and goes no further.
    app.send(
        "slack.send",
        &json!({"text": "**bold** for xoxb-123456789012-abcdefghijklmnop"}),
    )
    .await;
    let posted = calls(control, "chat.postMessage", 1).await;
    let text = posted[0].arguments["text"].as_str().unwrap();
    assert!(
        text.starts_with("*bold* for ") && !text.contains("xoxb-1234"),
        "{text}"
    );

    let me = control.user_id("djangobot").unwrap();
    control
        .say("alice", "general", &format!("<@{me}> what is new?"))
        .unwrap();
    assert_eq!(app.next("slack.mention").await["text"], "what is new?");
    let message = app.next("slack.message").await;
    assert_eq!(
        message["text"], "@djangobot what is new?",
        "the bot's own message would have come first"
    );

    bridge
        .metric_is("djangobot_plugin_up{plugin=\"redact\"}", 1.0)
        .await;
    let (code, said) = plugin(deployment.folder.path(), &["remove", "resolve-names"]).await;
    assert_eq!(code, Some(0), "{said}");
    control
        .say("alice", "general", &format!("bye <@{alice}>"))
        .unwrap();
    assert_eq!(
        app.next("slack.message").await["text"],
        format!("bye <@{alice}>")
    );
}

#[tokio::test]
async fn an_edited_plugin_takes_over_a_broken_one_does_not_and_one_that_loops_is_quarantined() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    let source = write_plugin(deployment.folder.path());
    let stamp = |mark: &str| edit(&source, mark);

    stamp(r#"Ok(Edits::new().set("/mark", "one").into())"#);
    let (code, said) = plugin(
        deployment.folder.path(),
        &["add", source.to_str().unwrap(), "--yes"],
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(mark_of_the_next(control, &mut app).await, json!("one"));

    // Under load, so that a change meets events.
    let flow = Flow::start(control, 400);
    stamp(r#"Ok(Edits::new().set("/mark", "two").into())"#);
    let (code, said) = plugin(deployment.folder.path(), &["update", "marker", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    flow.all_came_once_and_in_order(&mut app).await;
    assert_eq!(mark_of_the_next(control, &mut app).await, json!("two"));

    stamp("this is no Rust");
    let (code, said) = plugin(deployment.folder.path(), &["update", "marker", "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error") && said.contains("this is no Rust"),
        "{said}"
    );
    assert_eq!(mark_of_the_next(control, &mut app).await, json!("two"));

    // A new capability is granted by name, and the plugin's messages go the way of the app's.
    let capable = "capabilities = [\"slack\"]";
    stamp(
        r#"if _event.text("/text").as_deref() == Some("which?") {
            let message = std::collections::BTreeMap::from([("text", "from the plugin")]);
            djangobot_plugin::slack::send(&message)?;
        }
        Ok(Edits::new().set("/mark", "three").into())"#,
    );
    let manifest = std::fs::read_to_string(source.join("plugin.toml")).unwrap();
    std::fs::write(
        source.join("plugin.toml"),
        manifest.replace("\n\n", &format!("\n{capable}\n\n")),
    )
    .unwrap();
    let (code, said) = plugin(deployment.folder.path(), &["update", "marker"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--grant slack"), "{said}");
    let (code, said) = plugin(
        deployment.folder.path(),
        &["update", "marker", "--grant", "slack"],
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
    // The trial lasts a minute, which the next build may need as well.
    let (_, said) = plugin(deployment.folder.path(), &["list"]).await;
    assert!(said.contains("on-trial"), "{said}");
    assert_eq!(mark_of_the_next(control, &mut app).await, json!("three"));
    let posted = calls(control, "chat.postMessage", 1).await;
    let arguments = &posted[0].arguments;
    assert_eq!(
        (&arguments["text"], &arguments["djangobot"]),
        (&json!("from the plugin"), &Value::Null)
    );
    assert_eq!(app.next("slack.message").await["text"], "from the plugin");

    // A second plugin, new, so that nothing is there to compare it with: it loops, and events flow.
    stamp("loop { std::hint::spin_loop(); }");
    let manifest = std::fs::read_to_string(source.join("plugin.toml")).unwrap();
    std::fs::write(
        source.join("plugin.toml"),
        manifest.replace("marker", "looper"),
    )
    .unwrap();
    let (code, said) = plugin(
        deployment.folder.path(),
        &["add", source.to_str().unwrap(), "--yes"],
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
    let flow = Flow::start(control, 100);
    flow.all_came_once_and_in_order(&mut app).await;
    // The first quarantine lasts a second, and the next ones ever longer: each attempt here begins one, if none lasts.
    eventually("the looper is quarantined", async || {
        deployment.say("again");
        assert_eq!(app.next("slack.message").await["text"], "again");
        let status = status(deployment.folder.path(), "looper").await;
        assert!(status["timeouts"].as_u64().unwrap() >= 3, "{status}");
        let (_, said) = plugin(deployment.folder.path(), &["list"]).await;
        (status["state"] == "quarantined" && said.contains("quarantined")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_config_edited_into_nonsense_leaves_the_plugins_as_they_are_and_names_the_line() {
    let deployment = Deployment::new().await;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    let (code, said) = plugin(
        deployment.folder.path(),
        &["add", &shipped("resolve-names"), "--yes"],
    )
    .await;
    assert_eq!(code, Some(0), "{said}");

    let config = deployment.folder.path().join("djangobot.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\n[[plugin]\n")).unwrap();
    let line = good.lines().count() + 2;
    bridge.line(&format!("line {line}")).await;
    deployment.say("hi");
    assert_eq!(app.next("slack.message").await["user_name"], "alice");

    std::fs::write(
        &config,
        format!("{good}[plugin.config]\nstyle = \"nonsense\"\n"),
    )
    .unwrap();
    let line = good.lines().count() + 2;
    bridge.line(&format!("djangobot.toml line {line}: ")).await;
    deployment.say("hi");
    assert_eq!(app.next("slack.message").await["user_name"], "alice");

    std::fs::write(
        &config,
        format!("{good}[plugin.config]\nsuffix = \"_label\"\n"),
    )
    .unwrap();
    bridge.line("the plugin was replaced").await;
    deployment.say("hi");
    assert_eq!(app.next("slack.message").await["user_label"], "alice");
}

#[tokio::test]
async fn check_lists_plugins_that_can_be_loaded_and_what_the_others_lack() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = plugin(folder.path(), &["add", &shipped("mrkdwn"), "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    let config = folder.path().join("djangobot.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let more = "\n[[plugin]]\nname = \"unpinned\"\nsource = \"file:unpinned.wasm\"\n";
    std::fs::write(&config, good + more).unwrap();
    let checked = djangobot(folder.path(), &["check", "--json"])
        .output()
        .unwrap();
    let findings: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let of_plugins: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["check"] == "plugins")
        .map(|finding| {
            (
                finding["status"].as_str().unwrap(),
                finding["detail"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(of_plugins[0], ("ok", "mrkdwn 1.0.0 can be loaded"));
    let (status, detail) = of_plugins[1];
    assert!(
        status == "error" && detail.contains("djangobot plugin update unpinned"),
        "{detail}"
    );
}

/// A plugin's folder, as a newcomer would write it.
fn write_plugin(folder: &Path) -> PathBuf {
    let source = folder.join("marker");
    let ended = djangobot(folder, &["plugin", "new", "marker"])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    // The crates of the plugins that ship are compiled there already.
    let target = folder_of_workspace().join("plugins/target");
    std::fs::create_dir_all(source.join(".cargo")).unwrap();
    let cargo = format!("[build]\ntarget-dir = {:?}\n", target.display().to_string());
    std::fs::write(source.join(".cargo/config.toml"), cargo).unwrap();
    source
}

fn folder_of_workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Makes a plugin's answer `answer`.
fn edit(source: &Path, answer: &str) {
    let name = Path::new("plugin.toml");
    let manifest = std::fs::read_to_string(source.join(name)).unwrap();
    let summary = manifest
        .lines()
        .find(|line| line.starts_with("name"))
        .unwrap();
    let text = format!(
        "{summary}\nversion = \"1.0.0\"\nsummary = \"Marks messages\"\n\n[subscribe]\ninbound = [\"message\"]\n"
    );
    std::fs::write(source.join(name), text).unwrap();
    let code = format!(
        "//! Marks messages.\nuse djangobot_plugin::{{Edits, Error, Event, NoConfig, Plugin, Verdict}};\n\nstruct Marker;\n\n\
         impl Plugin for Marker {{\n    type Config = NoConfig;\n    fn new(_: NoConfig) -> Result<Self, Error> {{\n        Ok(Self)\n    }}\n\
         \n    fn on_event(&mut self, _event: &Event) -> Result<Verdict, Error> {{\n        #[allow(unused_imports)]\n        use Edits as _;\n        {answer}\n    }}\n}}\n\ndjangobot_plugin::export!(Marker);\n"
    );
    std::fs::write(source.join("src/lib.rs"), code).unwrap();
}

async fn mark_of_the_next(control: &Control, app: &mut App) -> Value {
    control.say("alice", "general", "which?").unwrap();
    app.next("slack.message").await["mark"].clone()
}

/// Messages that are said one after another while something else is done.
struct Flow {
    said: tokio::task::JoinHandle<usize>,
}

impl Flow {
    fn start(control: &Control, count: usize) -> Self {
        let control = control.clone();
        let said = tokio::spawn(async move {
            for n in 0..count {
                control.say("alice", "general", &n.to_string()).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            count
        });
        Flow { said }
    }

    async fn all_came_once_and_in_order(self, app: &mut App) {
        let count = self.said.await.unwrap();
        for n in 0..count {
            assert_eq!(app.next("slack.message").await["text"], n.to_string());
        }
    }
}
