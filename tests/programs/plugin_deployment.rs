//! A folder with plugins in its config, and a whole bridge around it.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use djangobot_tests::{binary, seen};
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Djangobot, ExitReport, check_end, djangobot, djangobot_at, with_slack};
use crate::deployment::Deployment;
use crate::guest::Guest;

/// A deployment with a plugin in its config.
pub(crate) struct PluginDeployment(Deployment);

impl Deref for PluginDeployment {
    type Target = Deployment;
    fn deref(&self) -> &Deployment {
        &self.0
    }
}

impl PluginDeployment {
    pub(crate) async fn new() -> Self {
        Self(Deployment::new().await)
    }

    /// One whose guard marks what it saw, and drops what it fails on.
    pub(crate) async fn guarded() -> Self {
        let deployment = Self::new().await;
        deployment
            .pack("guard", "1.0.0", &Guest::marks("seen", "yes"))
            .await;
        deployment.does(&["add", "guard.wasm"]).await;
        deployment.write("djangobot.toml", &deployment.guarding(""));
        deployment
    }

    /// The config of [`PluginDeployment::guarded`], with more lines about the guard.
    pub(crate) fn guarding(&self, more: &str) -> String {
        format!(
            "[[plugin]]\nname = \"guard\"\nsource = \"file:guard.wasm\"\non-error = \"drop\"\n{more}"
        )
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

    pub(crate) async fn plugin(&self, arguments: &[&str]) -> ExitReport {
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

    /// Runs a bridge that ends by itself.
    pub(crate) async fn fails_to_start(&self) -> ExitReport {
        Djangobot::run(self.bridge_by(&binary("djangobot"))).await
    }

    /// The command that starts a bridge here, from the program in a file.
    pub(crate) fn bridge_by(&self, program: &Path) -> Command {
        let arguments = [&*self.redis.url(), "--listen", "127.0.0.1:0"];
        with_slack(
            djangobot_at(program, self.folder.path(), &arguments),
            &self.slack,
        )
    }

    /// An app that reads messages.
    pub(crate) async fn message_app(&self) -> App {
        self.app(&["slack.message"]).await
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
