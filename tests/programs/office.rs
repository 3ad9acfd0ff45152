//! A folder with plugins in its config, and a whole bridge around it.

use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{Redis, binary, seen};
use local_slack::LocalSlack;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, Ended, TOKEN, djangobot, djangobot_at, slack};
use crate::command_line::check_end;
use crate::guest::Guest;

/// A folder with a guard in its config, and what it needs around it.
pub(crate) struct Office {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) slack: LocalSlack,
    pub(crate) redis: Redis,
}

impl Office {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            slack: slack().await,
            redis: Redis::start(),
        }
    }

    /// One whose guard marks what it saw, and drops what it fails on.
    pub(crate) async fn guarded() -> Self {
        let office = Self::new().await;
        office
            .pack("guard", "1.0.0", &Guest::marks("seen", "yes"))
            .await;
        office.does(&["add", "guard.wasm"]).await;
        office.write("djangobot.toml", &office.guarding(""));
        office
    }

    /// The config of [`Office::guarded`], with more lines about the guard.
    pub(crate) fn guarding(&self, more: &str) -> String {
        format!(
            "[[plugin]]\nname = \"guard\"\nsource = \"file:guard.wasm\"\non-error = \"drop\"\n{more}"
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes `name.wasm` of a guest.
    pub(crate) async fn pack(&self, name: &str, version: &str, guest: &Guest) {
        let manifest = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        self.make(&format!("{name}.wasm"), &manifest, guest).await;
    }

    /// Makes `file` of a guest that wants messages and has this manifest otherwise.
    pub(crate) async fn make(&self, file: &str, manifest: &str, guest: &Guest) {
        std::fs::write(self.path("module.wasm"), guest.wasm()).unwrap();
        let manifest = format!("{manifest}[subscribe]\ninbound = [\"message\"]\n");
        self.write("plugin.toml", &manifest);
        self.does(&["build", "module.wasm", "-o", file]).await;
    }

    pub(crate) async fn plugin(&self, arguments: &[&str]) -> Ended {
        let all = [&["plugin"], arguments].concat();
        Djangobot::run(djangobot(self.folder.path(), &all)).await
    }

    pub(crate) async fn does(&self, arguments: &[&str]) -> String {
        let ended = self.plugin(arguments).await;
        check_end(&ended, 0, &[]);
        ended.stdout
    }

    pub(crate) async fn status(&self) -> Value {
        let said = self.does(&["list", "--json"]).await;
        let list: Value = serde_json::from_str(&said).unwrap();
        seen(&list[0]);
        list[0].clone()
    }

    pub(crate) async fn bridge(&self) -> Bridge {
        let url = self.redis.url();
        Bridge::connected(self.folder.path(), &self.slack, &[&url]).await
    }

    /// A start that is to come to nothing.
    pub(crate) async fn start(&self) -> Ended {
        Djangobot::run(self.command(&binary("djangobot"))).await
    }

    /// The command that starts a bridge here, from the program in a file.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let arguments = [&*self.redis.url(), "--listen", "127.0.0.1:0"];
        let mut command = djangobot_at(program, self.folder.path(), &arguments);
        command
            .env("DJANGOBOT_TOKEN", TOKEN)
            .env("DJANGOBOT_SLACK_API_URL", self.slack.api_url());
        command
    }

    pub(crate) async fn app(&self) -> App {
        let mut app = App::start(&self.redis.url());
        app.receive(&["slack.message"]).await;
        app
    }

    pub(crate) fn say(&self, text: &str) {
        self.slack.control().say("alice", "general", text).unwrap();
    }

    /// Says something, and wants the guard to have seen it before the app does.
    pub(crate) async fn is_guarded(&self, app: &mut App, text: &str) {
        self.say(text);
        let message = app.next("slack.message").await;
        assert_eq!(
            (&message["text"], &message["seen"]),
            (&json!(text), &json!("yes"))
        );
    }

    pub(crate) fn components(&self) -> usize {
        let files = std::fs::read_dir(self.path(".djangobot/plugins")).unwrap();
        files
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|it| it == "wasm"))
            .count()
    }
}
