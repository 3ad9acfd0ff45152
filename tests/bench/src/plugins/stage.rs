//! A plugin host with copies of the benchmark's guest, and the guest itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use djangobot_plugins::install::recipe;
use djangobot_plugins::services::http::Fetcher;
use djangobot_plugins::services::secrets::Secrets;
use djangobot_plugins::services::store::Store;
use djangobot_plugins::{
    Artifact, Compiler, Components, Engine, Parts, PluginConfig, PluginHost, set,
};
use serde_json::json;
use tempfile::TempDir;

use crate::peers;

#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Edit,
    Json,
    Trap,
}

pub(crate) struct Stage {
    pub(crate) host: PluginHost,
    components: Components,
    _folder: TempDir,
}

/// The guest, built as a user builds a plugin.
pub(crate) fn guest() -> Artifact {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guest");
    let build = async {
        recipe::build(&folder, recipe::Installs::Refused, &|line| {
            eprintln!("{line}")
        })
        .await
    };
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(build))
        .expect("the guest is built")
}

/// The components of the plugins that ship; `cargo xtask bench` has built them.
pub(crate) fn shipped() -> Vec<PathBuf> {
    let target = djangobot_tests::environment::directory();
    let folder = target.parent().expect("it lies in target").join("guests");
    let names = [
        "ignore-self",
        "mentions",
        "mrkdwn",
        "redact",
        "resolve-names",
    ];
    names
        .iter()
        .map(|name| folder.join(format!("{name}.wasm")))
        .collect()
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let host = PluginHost::new(Parts {
            engine: Engine::new().expect("the engine starts"),
            compiler: Compiler::new(peers::program("djangobot"), folder.path().join("cache")),
            roster: Arc::new(()),
            store: Store::in_memory().expect("there is memory"),
            http: Fetcher::new(false),
            slack: Arc::new(()),
            secrets: Arc::new(Secrets::new(None, Vec::new())),
        });
        Self {
            host,
            components: Components::of(folder.path()),
            _folder: folder,
        }
    }

    pub(crate) async fn with(guest: &Artifact, modes: &[Mode]) -> Self {
        let stage = Self::new();
        stage.replace(guest, modes, 0).await;
        stage
    }

    /// Makes the plugins copies of the guest. Another `round` is another config, so that each is replaced.
    pub(crate) async fn replace(&self, guest: &Artifact, modes: &[Mode], round: u32) {
        let digest = self
            .components
            .put(&guest.component)
            .expect("the component is kept");
        let wanted = modes.iter().enumerate().map(|(n, mode)| {
            let mut config = config(&format!("bench-{n}"), *mode);
            config.limits.sends = Some(60 + round);
            Ok(
                set::wanted(&config, &guest.component, self.components.path(&digest))
                    .expect("it is a plugin"),
            )
        });
        self.host.apply(wanted.collect()).await;
        for status in self.host.statuses() {
            assert_eq!(status.why, None, "{status:?}");
        }
    }
}

fn config(name: &str, mode: Mode) -> PluginConfig {
    let mode = match mode {
        Mode::Edit => "edit",
        Mode::Json => "json",
        Mode::Trap => "trap",
    };
    PluginConfig {
        config: json!({ "mode": mode }),
        ..PluginConfig::new(name, "file:bench.wasm")
    }
}

/// Bytes of memory that a process holds.
pub(crate) fn resident(pid: u32) -> u64 {
    let output = Command::new("ps")
        .args(["-o", "rss=", "-p", &pid.to_string()])
        .output()
        .expect("ps runs");
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse::<u64>()
        .unwrap_or_default()
        * 1024
}
