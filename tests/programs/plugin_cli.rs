//! `djangobot plugin` as a person meets it: its output, its errors, and the files that it writes.

mod download;
mod folder;
mod mounts;
mod moved;
mod running;
mod shared;
mod shipped;
mod update;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{python, seen};
use serde_json::Value;

use crate::bridge::{Djangobot, ExitReport, check_end, djangobot, wrapped};

const MANIFEST: &str = "name = \"sample\"\nversion = \"1.2.0\"\nsummary = \"A sample\"\n[subscribe]\ninbound = [\"message\"]\n";
const ASKING: &str =
    "name = \"sample\"\nversion = \"1.3.0\"\ncapabilities = [\"store\", \"slack\"]\n";

/// A core module of a plugin that keeps every event as it is; `salt` makes it another.
fn module(salt: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          (memory (export "memory") 1)
          (data (i32.const 4096) "{salt}")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "djangobot:plugin/handler@1.0.0#init") (param i32 i32) (result i32) i32.const 16)
          (func (export "djangobot:plugin/handler@1.0.0#on-event") (result i32)
            i32.const 16))"#
    ))
    .unwrap()
}

/// A component that exports an instance of `name` with a function `on-event`, and imports `imports`.
fn component(name: &str, imports: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
          {imports}
          (core module $m (func (export "f") (result i32) i32.const 1))
          (core instance $i (instantiate $m))
          (func $f (result u32) (canon lift (core func $i "f")))
          (component $c (import "f" (func $f (result u32))) (export "on-event" (func $f)))
          (instance $h (instantiate $c (with "f" (func $f))))
          (export "{name}" (instance $h)))"#
    ))
    .unwrap()
}

/// A folder with a config in it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Makes `name` of `module` and `manifest`.
    async fn pack(&self, name: &str, module: Vec<u8>, manifest: &str) {
        self.write("module.wasm", module);
        self.write("plugin.toml", manifest);
        let built = self.run(&["build", "module.wasm", "-o", name]).await;
        check_end(&built, 0, &[]);
    }

    /// Runs `djangobot plugin ARGUMENTS` here.
    async fn run(&self, arguments: &[&str]) -> ExitReport {
        Djangobot::run(self.command(arguments)).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut all = vec!["plugin"];
        all.extend(arguments);
        djangobot(self.path(), &all)
    }

    /// Runs it, and wants it to end well. Gives its stdout.
    async fn does(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        check_end(&ended, 0, &[]);
        ended.stdout
    }

    async fn list(&self) -> Vec<Value> {
        let list = serde_json::from_str(&self.does(&["list", "--json"]).await).unwrap();
        seen(&list);
        list
    }

    /// The components in the state.
    fn kept(&self) -> usize {
        let files = std::fs::read_dir(self.file(".djangobot/plugins"));
        let files = files
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|ending| ending == "wasm"))
            .count()
    }
}

fn check_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[tokio::test]
async fn a_file_is_added_shown_switched_and_removed_and_the_config_keeps_its_comments() {
    let desk = Desk::new();
    let config = "# The bot of the office.\n[layer]\ntarget = \"embedded://\" # small\n";
    desk.write("djangobot.toml", config);
    desk.pack("sample.wasm", module(""), MANIFEST).await;

    let said = desk.does(&["add", "sample.wasm"]).await;
    check_said(
        &said,
        &[
            "sample 1.2.0: A sample",
            "from Slack: message",
            "nothing beyond the events",
            "No djangobot is running here",
        ],
    );
    let added = format!("{config}\n[[plugin]]\nname = \"sample\"\nsource = \"file:sample.wasm\"\n");
    assert_eq!(desk.text("djangobot.toml"), added);
    check_said(
        &desk.text("djangobot.lock"),
        &[
            "version = 1\n",
            "name = \"sample\"",
            "version = \"1.2.0\"",
            "sha256 = \"",
        ],
    );
    assert_eq!(desk.kept(), 1);

    let again = desk.run(&["add", "sample.wasm"]).await;
    check_end(
        &again,
        2,
        &[
            "there is a plugin \"sample\" already",
            "djangobot plugin update sample",
        ],
    );
    desk.does(&["add", "sample.wasm", "--name", "other", "--disabled"])
        .await;
    let [sample, other] = &desk.list().await[..] else {
        panic!("not two")
    };
    assert_eq!(
        (&sample["version"], &sample["live"]),
        (&"1.2.0".into(), &false.into())
    );
    assert_eq!(
        (&other["name"], &other["state"]),
        (&"other".into(), &"disabled".into())
    );
    assert_eq!(sample["sha256"], other["sha256"]);
    check_said(
        &desk.does(&["list"]).await,
        &["not running", "the states are from config and lock"],
    );
    check_said(
        &desk.does(&["info", "sample"]).await,
        &[
            "sample 1.2.0: A sample",
            "file:sample.wasm",
            sample["sha256"].as_str().unwrap(),
        ],
    );
    let unknown = desk.run(&["info", "smaple"]).await;
    check_end(
        &unknown,
        2,
        &["there is no plugin \"smaple\"", "did you mean sample?"],
    );

    desk.does(&["enable", "other"]).await;
    desk.does(&["disable", "sample"]).await;
    check_said(
        &desk.does(&["disable", "sample"]).await,
        &["disabled already"],
    );
    let states: Vec<_> = desk
        .list()
        .await
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, ["disabled", "not running"]);

    desk.does(&["remove", "sample"]).await;
    assert_eq!(desk.kept(), 1, "other's is the same component");
    desk.does(&["remove", "other"]).await;
    assert_eq!(desk.text("djangobot.toml").trim_end(), config.trim_end());
    assert_eq!(desk.kept(), 0);
    check_said(
        &desk.does(&["list"]).await,
        &["There are no plugins", "plugin add"],
    );
}

#[tokio::test]
async fn a_file_that_is_not_a_plugin_is_not_added_and_nothing_is_written() {
    let desk = Desk::new();
    desk.pack("good.wasm", module(""), MANIFEST).await;
    let good = std::fs::read(desk.file("good.wasm")).unwrap();
    let check = async |bytes: &[u8], expect: &[&str]| {
        desk.write("bad.wasm", bytes);
        let ended = desk.run(&["add", "bad.wasm", "--yes"]).await;
        check_end(&ended, 1, &[&["bad.wasm is not a plugin"], expect].concat());
    };
    check(b"", &["it is empty"]).await;
    check(b"\0", &["cut off"]).await;
    check(b"hello\n", &["it is text"]).await;
    check(&[0xff; 100], &["does not begin with"]).await;
    check(
        &good[..good.len() / 2],
        &["cut off", "download or build it again"],
    )
    .await;
    let mut changed = good.clone();
    changed[10] ^= 0x55;
    check(&changed, &[]).await;
    check(
        &component("acme:thing/run@1.0.0", ""),
        &["another world", "run@1.0.0", "handler@1.0.0"],
    )
    .await;
    check(
        &component("djangobot:plugin/handler@1.3.0", ""),
        &["built for djangobot:plugin 1.3.0, and this host serves 1.0.0"],
    )
    .await;
    check(
        &component("djangobot:plugin/handler@1.0.7", ""),
        &["built for djangobot:plugin 1.0.7", "update djangobot"],
    )
    .await;
    let handler = "djangobot:plugin/handler@1.0.0";
    check(
        &component(handler, ""),
        &["no manifest", "djangobot plugin build"],
    )
    .await;
    check(
        &component(handler, r#"(import "acme:db/query@1.0.0" (instance))"#),
        &["query@1.0.0", "this host does not have"],
    )
    .await;
    check(
        &wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "f" (func)))"#).unwrap(),
        &[
            "it is a core module, but not a plugin",
            "it exports nothing",
        ],
    )
    .await;
    check(&module(""), &["no manifest"]).await;

    let check = async |arguments: &[&str], code, expect: &[&str]| {
        let ended = desk.run(&[&["add"], arguments].concat()).await;
        check_end(&ended, code, expect);
    };
    check(
        &["nowhere.wasm"],
        1,
        &["no file or folder \"nowhere.wasm\""],
    )
    .await;
    check(
        &["file:nowhere.wasm"],
        1,
        &["nowhere.wasm can't be read", "No such file"],
    )
    .await;
    check(&["http://localhost/a.wasm"], 1, &["plain http"]).await;
    check(
        &["good.wasm", "--name", "Not Good"],
        2,
        &["is not a plugin's name"],
    )
    .await;
    check(&["good.wasm", "--sha256", "12"], 2, &["not a sha256"]).await;
    let other = "0".repeat(64);
    check(
        &["good.wasm", "--sha256", &other],
        1,
        &["not the expected file", &other],
    )
    .await;
    check(&["good.wasm", "--grant", "files"], 2, &["not a capability"]).await;
    assert!(!desk.file("djangobot.toml").exists() && !desk.file("djangobot.lock").exists());
    assert_eq!(desk.kept(), 0);
}

#[tokio::test]
async fn a_config_that_can_not_be_read_is_left_as_it_is() {
    let desk = Desk::new();
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    for (text, expect) in [
        ("[slack\n", "djangobot.toml line 1"),
        ("plugin = 5\n", "line 1"),
    ] {
        desk.write("djangobot.toml", text);
        check_end(&desk.run(&["add", "sample.wasm"]).await, 2, &[expect]);
        assert_eq!(desk.text("djangobot.toml"), text);
    }
    desk.write("djangobot.toml", "");
    desk.write("djangobot.lock", "version = 1\n[[plugin]]\nname = 1\n");
    check_end(
        &desk.run(&["add", "sample.wasm"]).await,
        1,
        &["djangobot.lock line 3"],
    );
    assert_eq!(desk.text("djangobot.toml"), "");
}

#[tokio::test]
async fn a_plugin_is_added_only_if_somebody_grants_the_capabilities_that_it_asks_for() {
    let desk = Desk::new();
    desk.pack("my sample.wasm", module(""), ASKING).await;
    let ended = desk
        .run(&["add", "my sample.wasm", "--grant", "slack"])
        .await;
    check_end(
        &ended,
        2,
        &[
            "the plugin needs the grants store, and there is no terminal",
            "djangobot plugin add 'my sample.wasm' --grant slack --grant store",
        ],
    );
    check_said(
        &ended.stdout,
        &["store, to keep data of its own", "slack, to send messages"],
    );
    assert!(!desk.file("djangobot.toml").exists());
    let ended = desk
        .run(&["add", "my sample.wasm", "--grant", "http:a.example.com"])
        .await;
    check_end(
        &ended,
        2,
        &[
            "the plugin does not ask for http:a.example.com",
            "the plugin asks for store, slack",
        ],
    );

    desk.does(&[
        "add",
        "my sample.wasm",
        "--grant",
        "slack",
        "--grant",
        "store",
    ])
    .await;
    check_said(
        &desk.text("djangobot.toml"),
        &["grants = [\"slack\", \"store\"]\n"],
    );
    desk.does(&["remove", "sample"]).await;
    desk.does(&["add", "my sample.wasm", "--yes"]).await;
    check_said(
        &desk.text("djangobot.toml"),
        &["grants = [\"store\", \"slack\"]\n"],
    );
}

#[tokio::test]
async fn on_a_terminal_the_user_is_asked_for_the_grants() {
    let desk = Desk::new();
    desk.pack("sample.wasm", module(""), ASKING).await;
    for (answer, code, is_added) in [("n", 1, false), ("", 1, false), ("y", 0, true)] {
        let asked = desk.command(&["add", "sample.wasm"]);
        // Python's pty gives it a terminal, and its end to us.
        let mut python = Command::new(python());
        let spawn =
            "import pty, os, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        python.args(["-c", spawn]);
        let mut terminal = Djangobot::start(wrapped(python, &asked));
        terminal.line("sample asks for").await;
        terminal
            .line("slack, to send messages to Slack as your bot")
            .await;
        terminal.write_line(answer).await;
        assert_eq!(
            terminal.exit().await.code(),
            Some(code),
            "{}",
            terminal.output()
        );
        assert_eq!(desk.file("djangobot.toml").exists(), is_added);
    }
}

#[tokio::test]
async fn nothing_in_a_plugin_moves_the_terminals_cursor() {
    let desk = Desk::new();
    let manifest =
        "name = \"sample\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [\"a\\u001b[2J\"]\n";
    desk.pack("sample.wasm", module(""), manifest).await;
    let check = async |arguments: &[&str]| {
        let ended = desk.run(arguments).await;
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !shown.contains('\u{1b}') && !shown.contains("[2J"),
            "{shown:?}"
        );
    };
    check(&["add", "sample.wasm"]).await;
    check(&["info", "sample"]).await;
    desk.write(
        "bad.wasm",
        component("acme:x/y@1.0.0", "(import \"\\1b[2J\" (func))"),
    );
    desk.write(
        "plugin.toml",
        "name = \"a\"\nversion = \"1.0.0\"\n\"\\u001b[2J\" = 1\n",
    );
    check(&["build", "module.wasm"]).await;
}
