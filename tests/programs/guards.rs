//! A plugin that nothing may pass without, in a whole bridge: whatever becomes of config, lock and component, no event goes
//! by where it does not serve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use djangobot_tests::{Redis, eventually};
use local_slack::LocalSlack;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, Ended, TOKEN, djangobot, slack};
use crate::command_line::check_end;
use crate::guest::Guest;

/// A folder with a guard in its config, and what it needs around it.
struct Office {
    folder: tempfile::TempDir,
    slack: LocalSlack,
    redis: Redis,
}

impl Office {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            slack: slack().await,
            redis: Redis::start(),
        }
    }

    /// One whose guard marks what it saw, and drops what it fails on.
    async fn guarded() -> Self {
        let office = Self::new().await;
        office
            .pack("guard", "1.0.0", &Guest::marks("seen", "yes"))
            .await;
        office.does(&["add", "guard.wasm"]).await;
        office.write("djangobot.toml", &office.guarding(""));
        office
    }

    /// The config of [`Office::guarded`], with more lines about the guard.
    fn guarding(&self, more: &str) -> String {
        format!(
            "[[plugin]]\nname = \"guard\"\nsource = \"file:guard.wasm\"\non-error = \"drop\"\n{more}"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes `name.wasm` of a guest.
    async fn pack(&self, name: &str, version: &str, guest: &Guest) {
        let manifest = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        self.make(&format!("{name}.wasm"), &manifest, guest).await;
    }

    /// Makes `file` of a guest that wants messages and has this manifest otherwise.
    async fn make(&self, file: &str, manifest: &str, guest: &Guest) {
        std::fs::write(self.path("module.wasm"), guest.wasm()).unwrap();
        let manifest = format!("{manifest}[subscribe]\ninbound = [\"message\"]\n");
        self.write("plugin.toml", &manifest);
        self.does(&["build", "module.wasm", "-o", file]).await;
    }

    async fn plugin(&self, arguments: &[&str]) -> Ended {
        let all = [&["plugin"], arguments].concat();
        Djangobot::run(djangobot(self.folder.path(), &all)).await
    }

    async fn does(&self, arguments: &[&str]) -> String {
        let ended = self.plugin(arguments).await;
        check_end(&ended, 0, &[]);
        ended.stdout
    }

    async fn status(&self) -> Value {
        let said = self.does(&["list", "--json"]).await;
        let list: Value = serde_json::from_str(&said).unwrap();
        list[0].clone()
    }

    async fn bridge(&self) -> Bridge {
        let url = self.redis.url();
        Bridge::connected(self.folder.path(), &self.slack, &[&url]).await
    }

    /// A start that is to come to nothing.
    async fn start(&self) -> Ended {
        let mut command = djangobot(self.folder.path(), &[&self.redis.url()]);
        command
            .env("DJANGOBOT_TOKEN", TOKEN)
            .env("DJANGOBOT_SLACK_API_URL", self.slack.api_url());
        Djangobot::run(command).await
    }

    async fn app(&self) -> App {
        let mut app = App::start(&self.redis.url());
        app.receive(&["slack.message"]).await;
        app
    }

    fn say(&self, text: &str) {
        self.slack.control().say("alice", "general", text).unwrap();
    }

    /// Says something, and wants the guard to have seen it before the app does.
    async fn is_guarded(&self, app: &mut App, text: &str) {
        self.say(text);
        let message = app.next("slack.message").await;
        assert_eq!(
            (&message["text"], &message["seen"]),
            (&json!(text), &json!("yes"))
        );
    }

    fn components(&self) -> usize {
        let files = std::fs::read_dir(self.path(".djangobot/plugins")).unwrap();
        files
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|it| it == "wasm"))
            .count()
    }
}

/// Ways to spoil a lock, and a part of what is said of each.
const SPOILT: &[(&str, &str)] = &[
    ("conflict", "djangobot.lock line"),
    ("cut", "djangobot.lock line"),
    ("later", "djangobot.lock has the form 99"),
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
async fn no_start_without_a_guard_whatever_became_of_the_lock_or_the_component() {
    let office = Office::guarded().await;
    let lock = office.path("djangobot.lock");
    let good = office.text("djangobot.lock");
    for (how, expect) in SPOILT {
        spoil(&lock, how);
        let ended = office.start().await;
        check_end(&ended, 1, &["the plugin guard is not loaded", expect]);
        remove(&lock);
        office.write("djangobot.lock", &good);
    }
    std::fs::remove_dir_all(office.path(".djangobot/plugins")).unwrap();
    std::fs::rename(office.path("guard.wasm"), office.path("away.wasm")).unwrap();
    let ended = office.start().await;
    check_end(
        &ended,
        1,
        &["the plugin guard is not loaded", "guard.wasm can't be read"],
    );
    std::fs::rename(office.path("away.wasm"), office.path("guard.wasm")).unwrap();

    // A mistake in its own table, and in one whose name nobody can tell.
    for (config, expect) in [
        (office.guarding("onerror = 1\n"), "unknown field `onerror`"),
        (
            office.guarding("").replace("name", "nmae"),
            "unknown field `nmae`",
        ),
        (
            office.guarding("").replace("\"drop\"", "\"dorp\""),
            "line 4",
        ),
    ] {
        office.write("djangobot.toml", &config);
        check_end(&office.start().await, 1, &["is not loaded", expect]);
    }
    // The lock knows of plugins, and nothing says any more what may pass without them.
    for config in [Some(""), Some(" \n"), None] {
        match config {
            Some(text) => office.write("djangobot.toml", text),
            None => std::fs::remove_file(office.path("djangobot.toml")).unwrap(),
        }
        let ended = office.start().await;
        check_end(
            &ended,
            1,
            &["djangobot.lock has plugins", "missing or empty"],
        );
    }
    let said = office.slack.control().calls(Some("apps.connections.open"));
    assert!(said.is_empty(), "nothing was connected: {said:?}");
}

#[tokio::test]
async fn a_guard_serves_on_while_config_and_lock_are_spoilt_and_one_that_is_added_meanwhile_guards()
{
    let office = Office::guarded().await;
    let mut bridge = office.bridge().await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "first").await;
    let (config, lock) = (office.path("djangobot.toml"), office.path("djangobot.lock"));
    let good = office.text("djangobot.lock");

    // Gone for a moment, and empty for a moment, as a slow editor or a checkout leaves it.
    std::fs::rename(&config, office.path("away.toml")).unwrap();
    bridge.line("the plugins stay as they are").await;
    office.is_guarded(&mut app, "gone").await;
    std::fs::rename(office.path("away.toml"), &config).unwrap();
    office.write("djangobot.toml", "");
    bridge.line("it is empty").await;
    office.is_guarded(&mut app, "empty").await;
    office.write("djangobot.toml", "[slack]\n");
    tokio::time::sleep(Duration::from_millis(500)).await;
    office.write("djangobot.toml", &office.guarding(""));
    office.is_guarded(&mut app, "short").await;
    assert!(bridge.logs("the plugin is removed").is_empty());

    for (how, _) in SPOILT {
        spoil(&lock, how);
        bridge.line("serves on").await;
        office.is_guarded(&mut app, how).await;
        remove(&lock);
        office.write("djangobot.lock", &good);
    }

    // One that is added while the lock is spoilt is no guard that could be had: its events go nowhere.
    office.write("djangobot.toml", "[slack]\n");
    bridge.line("the plugin is removed").await;
    office.say("unguarded, as is wanted");
    assert_eq!(app.next("slack.message").await["seen"], Value::Null);
    spoil(&lock, "conflict");
    office.write("djangobot.toml", &office.guarding(""));
    bridge
        .line("the plugin is not loaded, and its events are dropped")
        .await;
    office.say("while nobody guards");
    bridge
        .metric_is(
            "djangobot_plugin_dropped_total{plugin=\"guard\",direction=\"inbound\"}",
            1.0,
        )
        .await;
    office.write("djangobot.lock", &good);
    bridge.line("the plugin is loaded").await;
    office
        .is_guarded(&mut app, "and this is the next that comes")
        .await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn an_update_that_the_running_host_refuses_changes_nothing_and_says_so_by_its_exit_code() {
    let office = Office::guarded().await;
    let mut bridge = office.bridge().await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "one").await;
    let (config, lock) = (office.text("djangobot.toml"), office.text("djangobot.lock"));
    let broken = [
        Guest::new().init("unreachable"),
        Guest::new().on_event("unreachable"),
        Guest::new().fields("(memory $second 1)"),
    ];
    for guest in &broken {
        office.pack("guard", "2.0.0", guest).await;
        let ended = office.plugin(&["update"]).await;
        check_end(&ended, 1, &["refuses guard 2.0.0", "nothing was changed"]);
        assert_eq!(office.text("djangobot.lock"), lock);
        assert_eq!(office.text("djangobot.toml"), config);
        assert_eq!(office.components(), 1);
        office.is_guarded(&mut app, "still one").await;
    }
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let mut bridge = office.bridge().await;
    office.is_guarded(&mut app, "one again").await;

    // One that is better than it looks is taken, and the one before kept for its trial.
    office
        .pack("guard", "3.0.0", &Guest::marks("seen", "yes"))
        .await;
    office.does(&["update"]).await;
    assert_eq!(office.components(), 2);
    assert!(office.text("djangobot.lock").contains("3.0.0"));
    office.is_guarded(&mut app, "three").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_roll_back_is_written_down_and_holds_over_a_restart() {
    let office = Office::guarded().await;
    let mut bridge = office.bridge().await;
    let lock = office.text("djangobot.lock");
    // Nothing has come yet that it could be shown, so it is found out on trial.
    office
        .pack("guard", "2.0.0", &Guest::new().on_event("unreachable"))
        .await;
    office.does(&["update"]).await;
    let bad = office.text("djangobot.lock");
    assert!(bad.contains("2.0.0"), "{bad}");
    for n in 0..3 {
        office.say(&n.to_string());
    }
    bridge
        .line("the plugin is rolled back to version 1.0.0")
        .await;
    eventually("the lock says what serves", async || {
        (office.text("djangobot.lock") == lock).then_some(())
    })
    .await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "one").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // Whoever brings the lock back, as a checkout does, brings back a version that failed here.
    office.write("djangobot.lock", &bad);
    let mut bridge = office.bridge().await;
    office.is_guarded(&mut app, "one again").await;
    let status = office.status().await;
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
    let office = Office::guarded().await;
    let mut bridge = office.bridge().await;
    let lock = office.text("djangobot.lock");
    // Nothing has come yet that it could be shown, so it is found out on trial.
    let bad = Guest::new().on_event("unreachable");
    office.pack("guard", "2.0.0", &bad).await;
    office.does(&["update"]).await;
    bridge.kill().await;
    let mut bridge = office.bridge().await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let mut bridge = office.bridge().await;
    let status = office.status().await;
    assert_eq!(
        (&status["state"], &status["version"]),
        (&json!("on-trial"), &json!("2.0.0"))
    );
    for n in 0..3 {
        office.say(&n.to_string());
    }
    bridge
        .line("the plugin is rolled back to version 1.0.0")
        .await;
    eventually("the lock says what serves", async || {
        (office.text("djangobot.lock") == lock).then_some(())
    })
    .await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "one").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // One that was updated while no host ran is on trial from the first start. The version before it is gone, which is said.
    office.pack("guard", "3.0.0", &bad).await;
    office.does(&["update"]).await;
    let before = office.text(".djangobot/plugins/versions.json");
    let before: Value = serde_json::from_str(&before).unwrap();
    let digest = before["guard"]["before"]["sha256"].as_str().unwrap();
    std::fs::remove_file(office.path(&format!(".djangobot/plugins/{digest}.wasm"))).unwrap();
    let mut bridge = office.bridge().await;
    assert_eq!(bridge.logs("version 1.0.0 can't come back").len(), 1);
    assert_eq!(office.status().await["version"], "3.0.0");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn compiled_code_that_is_not_as_it_was_written_is_compiled_again() {
    let office = Office::guarded().await;
    let start = async |expect: &str| {
        let mut bridge = office.bridge().await;
        let mut app = office.app().await;
        office.is_guarded(&mut app, expect).await;
        let said = bridge.logs("compiled again");
        assert_eq!(said.len(), usize::from(!expect.is_empty()), "{said:?}");
        assert!(
            said.iter()
                .all(|it| it["message"].as_str().unwrap().contains(expect))
        );
        assert_eq!(bridge.terminate().await.code(), Some(0));
    };
    start("").await;
    let cache = office.path(".djangobot/cache");
    let files = std::fs::read_dir(&cache)
        .unwrap()
        .map(|it| it.unwrap().path());
    let code = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "code"))
        .unwrap();
    // What a loss of power leaves of a file that was not brought to the disk.
    let good = std::fs::read(&code).unwrap();
    let mut zeroed = good.clone();
    zeroed[4096..8192].fill(0);
    std::fs::write(&code, zeroed).unwrap();
    start("not what this host wrote").await;
    std::fs::write(&code, &good[..good.len() / 2]).unwrap();
    start("not what this host wrote").await;
    std::fs::write(&code, "").unwrap();
    start("cut short").await;
    start("").await;
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
    guest.before_drop = is_there.clone();
    guest.init = format!("{is_there} (i32.const 16)");
    match on_event {
        Some(on_event) => guest.on_event(on_event),
        None => guest,
    }
}

#[tokio::test]
async fn the_store_of_a_plugin_that_is_updated_from_another_source_is_there_all_the_time() {
    let office = Office::new().await;
    let manifest = |version: &str| {
        format!("name = \"guard\"\nversion = \"{version}\"\ncapabilities = [\"store\"]\n")
    };
    office
        .make(
            "guard.wasm",
            &manifest("1.0.0"),
            &Guest::marks("seen", "yes"),
        )
        .await;
    office.does(&["add", "guard.wasm", "--yes"]).await;
    let config = office.text("djangobot.toml");
    office.write("djangobot.toml", &format!("{config}on-error = \"drop\"\n"));
    let path = office.path(".djangobot/plugins.db");
    let stores = djangobot_plugins::store::Store::open(&path).unwrap();
    let of = |file: &str| {
        let store = stores.of(&format!("guard file:{file}"), 1 << 20).unwrap();
        store.get("key1").unwrap()
    };
    let store = stores.of("guard file:guard.wasm", 1 << 20).unwrap();
    store.set("key1", b"v", None).unwrap();
    let mut bridge = office.bridge().await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "one").await;

    // One that is refused, for it fails on what came.
    office
        .make(
            "bad.wasm",
            &manifest("2.0.0"),
            &remembers(Some("unreachable")),
        )
        .await;
    let ended = office
        .plugin(&["update", "guard", "--source", "bad.wasm"])
        .await;
    check_end(&ended, 1, &["refuses guard 2.0.0"]);
    assert_eq!(
        (of("guard.wasm").as_deref(), of("bad.wasm")),
        (Some(&b"v"[..]), None)
    );
    office.is_guarded(&mut app, "still one").await;

    office
        .make("good.wasm", &manifest("3.0.0"), &remembers(None))
        .await;
    office
        .does(&["update", "guard", "--source", "good.wasm"])
        .await;
    office.is_guarded(&mut app, "three").await;
    assert_eq!(
        (of("guard.wasm"), of("good.wasm").as_deref()),
        (None, Some(&b"v"[..]))
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));

    // Without a host, and cut short after the config was written: the store is found at the next start.
    stores
        .announce_move("guard file:good.wasm", "guard file:moved.wasm")
        .unwrap();
    std::fs::rename(office.path("good.wasm"), office.path("moved.wasm")).unwrap();
    for file in ["djangobot.toml", "djangobot.lock"] {
        let text = office.text(file);
        office.write(file, &text.replace("good.wasm", "moved.wasm"));
    }
    let mut bridge = office.bridge().await;
    office.is_guarded(&mut app, "after a restart").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    office.does(&["remove", "guard"]).await;
    assert_eq!((of("good.wasm"), of("moved.wasm")), (None, None));
}

#[tokio::test]
async fn a_store_goes_with_its_plugin_unless_it_is_to_be_kept() {
    let office = Office::guarded().await;
    let path = office.path(".djangobot/plugins.db");
    let name = "guard file:guard.wasm";
    for (keep, expect) in [(true, Some(b"v".to_vec())), (false, None)] {
        let store = djangobot_plugins::store::Store::open(&path)
            .unwrap()
            .of(name, 1 << 20)
            .unwrap();
        store.set("k", b"v", None).unwrap();
        let arguments = ["remove", "guard", "--keep-store"];
        office.does(&arguments[..2 + usize::from(keep)]).await;
        assert_eq!(store.get("k").unwrap(), expect);
        office.does(&["add", "guard.wasm"]).await;
    }
}

#[tokio::test]
async fn a_mistake_in_one_plugin_holds_back_that_one_alone() {
    let office = Office::guarded().await;
    office
        .pack("other", "1.0.0", &Guest::marks("other", "yes"))
        .await;
    office.does(&["add", "other.wasm"]).await;
    let good = office.text("djangobot.toml");
    office.write("djangobot.toml", &format!("{good}limts = 3\n"));
    let mut bridge = office.bridge().await;
    let mut app = office.app().await;
    office.is_guarded(&mut app, "at the start").await;
    assert!(!bridge.logs("unknown field `limts`").is_empty());
    office.write("djangobot.toml", &good);
    bridge.line("the plugin is loaded").await;
    // A mistake in the first does not keep the second from following its config.
    let other = good.replace(
        "source = \"file:guard.wasm\"",
        "sauce = \"file:guard.wasm\"",
    );
    office.write("djangobot.toml", &format!("{other}instances = 2\n"));
    bridge.line("the plugin was replaced").await;
    office.is_guarded(&mut app, "with a mistake").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
