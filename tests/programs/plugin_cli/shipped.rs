//! The plugins that ship with djangobot, taken by name: built in a clone, next to an installed program, or absent.

use super::folder::{building, run};
use super::shared::pinned;
use super::*;
use crate::bridge::{Bridge, inherit, slack, with_slack};

const SHIPPED: &str =
    "name = \"resolve-names\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [\"message\"]\n";

/// A djangobot that is installed in a folder of its own, with the components in its `share` folder.
struct Installation(tempfile::TempDir);

impl Installation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let installed = Self(folder);
        let program = djangobot_tests::binary("djangobot");
        if std::fs::hard_link(&program, installed.program()).is_err() {
            std::fs::copy(&program, installed.program()).unwrap();
        }
        installed
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("bin/djangobot")
    }

    fn ships(&self, name: &str, component: PathBuf) {
        let folder = self.0.path().join("share/djangobot/plugins");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(component, folder.join(name)).unwrap();
    }

    /// `command`, by this djangobot.
    fn instead_of(&self, command: &Command) -> Command {
        let mut own = Command::new(self.program());
        own.args(command.get_args());
        inherit(&mut own, command);
        own
    }

    async fn run(&self, desk: &Desk, arguments: &[&str]) -> ExitReport {
        Djangobot::run(self.instead_of(&desk.command(arguments))).await
    }

    async fn bridge(&self, desk: &Desk, slack: &local_slack::LocalSlack) -> Bridge {
        let arguments = ["embedded://127.0.0.1:0", "--listen", "127.0.0.1:0"];
        let command = with_slack(djangobot(desk.path(), &arguments), slack);
        let mut bridge = Bridge::of(self.instead_of(&command)).await;
        bridge.line("the roster is loaded").await;
        bridge
    }
}

#[tokio::test]
async fn in_a_clone_a_shipped_plugin_is_built_when_it_is_named_and_no_path_is_written() {
    let desk = Desk::new();
    let ended = run(&desk, &["add", "resolve-names"]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["resolve-names 1.0.0: Adds names"]);
    let (config, lock) = (desk.text("djangobot.toml"), desk.text("djangobot.lock"));
    assert_eq!(
        config,
        "[[plugin]]\nname = \"resolve-names\"\nsource = \"shipped:resolve-names\"\n"
    );
    check_said(
        &lock,
        &[
            "source = \"shipped:resolve-names\"",
            "sha256 = \"",
            "sources = \"",
        ],
    );
    assert!(!lock.contains('/'), "{lock}");
    let ended = run(&desk, &["update"]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["resolve-names 1.0.0 is up to date"]);

    // Another machine, whose compiler gives other bytes: the start builds it.
    let sha256 = pinned(&desk, "sha256");
    desk.write("djangobot.lock", lock.replace(&sha256, &"0".repeat(64)));
    std::fs::remove_dir_all(desk.file(".djangobot")).unwrap();
    let slack = slack().await;
    let arguments = ["embedded://127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let command = building(djangobot(desk.path(), &arguments));
    let mut bridge = Bridge::of(with_slack(command, &slack)).await;
    bridge.line("the roster is loaded").await;
    djangobot_tests::eventually("resolve-names is running", async || {
        (desk.list().await[0]["state"] == "running").then_some(())
    })
    .await;
    assert_eq!(desk.list().await[0]["sha256"], sha256.as_str());
    assert_eq!(bridge.terminate().await.code(), Some(0));

    desk.does(&["remove", "resolve-names"]).await;
    assert!(!desk.text("djangobot.lock").contains("shipped"));
}

#[tokio::test]
async fn an_installed_program_takes_shipped_plugins_from_its_share_folder_as_the_lock_pins_them() {
    let (desk, installed, slack) = (Desk::new(), Installation::new(), slack().await);
    let ended = installed.run(&desk, &["add", "resolve-names"]).await;
    check_end(
        &ended,
        1,
        &[
            "resolve-names ships with djangobot, but is not on this machine",
            "share/djangobot/plugins/resolve-names.wasm",
            "cargo install --locked --path",
        ],
    );
    for (word, code, expect) in [
        ("resolve-name", 1, "did you mean resolve-"),
        ("shipped:nonsense", 1, "these plugins ship"),
    ] {
        check_end(&installed.run(&desk, &["add", word]).await, code, &[expect]);
    }
    assert!(!desk.file("djangobot.toml").exists());

    desk.pack("one.wasm", module("one"), SHIPPED).await;
    installed.ships("resolve-names.wasm", desk.file("one.wasm"));
    // A folder of that name is something else.
    std::fs::create_dir(desk.file("resolve-names")).unwrap();
    let ended = installed.run(&desk, &["add", "resolve-names"]).await;
    check_end(&ended, 0, &[]);
    check_said(
        &ended.stdout,
        &[
            "means the plugin that ships with djangobot",
            "./resolve-names",
        ],
    );
    check_said(
        &desk.text("djangobot.toml"),
        &["source = \"shipped:resolve-names\"\n"],
    );
    let first = desk.text("djangobot.lock");
    let state = async |desk: &Desk| desk.list().await[0]["state"].as_str().unwrap().to_owned();

    // Another machine with the same djangobot; and then a djangobot that ships another version.
    std::fs::remove_dir_all(desk.file(".djangobot")).unwrap();
    let mut bridge = installed.bridge(&desk, &slack).await;
    assert_eq!(state(&desk).await, "running");
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let newer = SHIPPED.replace("1.0.0", "1.1.0");
    desk.pack("two.wasm", module("two"), &newer).await;
    installed.ships("resolve-names.wasm", desk.file("two.wasm"));
    let mut bridge = installed.bridge(&desk, &slack).await;
    assert_eq!(state(&desk).await, "running", "what is pinned is kept");
    assert_eq!(bridge.terminate().await.code(), Some(0));
    std::fs::remove_dir_all(desk.file(".djangobot")).unwrap();
    let mut bridge = installed.bridge(&desk, &slack).await;
    let status = &desk.list().await[0];
    assert_eq!(status["state"], "refused");
    check_said(
        status["why"].as_str().unwrap(),
        &[
            "shipped:resolve-names no longer gives what djangobot.lock pins (it gives version 1.1.0",
            "the lock pins 1.0.0",
            "djangobot plugin update resolve-names",
        ],
    );
    let ended = installed.run(&desk, &["update", "--locked"]).await;
    check_end(&ended, 1, &["is not the version that djangobot.lock pins"]);
    assert_eq!(desk.text("djangobot.lock"), first);
    let ended = installed.run(&desk, &["update"]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["to 1.1.0 (", "is running"]);
    assert_eq!(bridge.terminate().await.code(), Some(0));
}
