//! The stage of a test: a plugin host with the test's guests.

use std::path::Path;
use std::sync::Arc;

use djangobot_event::Event;
pub(crate) use djangobot_plugins::PluginOutput;
use djangobot_plugins::services::http::Fetcher;
use djangobot_plugins::services::secrets::Secrets;
use djangobot_plugins::services::store::Store;
use djangobot_plugins::{
    Artifact, Compiler, Components, Direction, Engine, LimitsConfig, OnError, Parts, PluginConfig,
    PluginEvent, PluginHost, PluginSpec, ResolveError, Status, set,
};
use djangobot_tests::{binary, seen};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest::Guest;

/// A plugin on a stage: its component, manifest and settings.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) version: String,
    /// More lines of the manifest, before its tables.
    pub(crate) manifest: String,
    pub(crate) component: Vec<u8>,
    pub(crate) on_error: OnError,
    pub(crate) grants: Vec<&'static str>,
    /// The filters of inbound events, as TOML.
    pub(crate) inbound: String,
    pub(crate) instances: Option<usize>,
    pub(crate) limits: LimitsConfig,
}

impl Role {
    pub(crate) fn new(name: &str, guest: &Guest) -> Self {
        Self::of(name, guest.wasm())
    }

    pub(crate) fn of(name: &str, component: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            version: "1.0.0".into(),
            manifest: String::new(),
            component,
            on_error: OnError::Pass,
            grants: Vec::new(),
            inbound: "[\"message\"]".into(),
            instances: None,
            // Short, so that a guest soon reaches them, and long enough for a busy machine.
            limits: LimitsConfig {
                time_ms: Some(50),
                host_calls: Some(1_000),
                memory_mib: Some(16),
                ..LimitsConfig::default()
            },
        }
    }

    pub(crate) fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    pub(crate) fn inbound(mut self, filters: &str) -> Self {
        self.inbound = filters.into();
        self
    }

    pub(crate) fn manifest(mut self, lines: &str) -> Self {
        self.manifest.push_str(lines);
        self
    }

    pub(crate) fn config(&self) -> PluginConfig {
        let grants = self.grants.iter().map(|grant| grant.parse().unwrap());
        PluginConfig {
            on_error: self.on_error,
            grants: grants.collect(),
            limits: self.limits,
            instances: self.instances,
            ..PluginConfig::new(&self.name, &format!("file:{}.wasm", self.name))
        }
    }
}

pub(crate) struct Stage {
    pub(crate) host: PluginHost,
    components: Components,
    folder: TempDir,
    pub(crate) store: Store,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::reaching(false)
    }

    /// A stage whose plugins may be granted addresses of this machine.
    pub(crate) fn private() -> Self {
        Self::reaching(true)
    }

    fn reaching(allow_private: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_memory().unwrap();
        // All stages share one cache of compiled code.
        let cache = djangobot_tests::environment::directory().join("compiled-guests");
        let host = PluginHost::new(Parts {
            engine: Engine::new().unwrap(),
            compiler: Compiler::new(binary("djangobot"), cache),
            roster: Arc::new(()),
            store: store.clone(),
            http: Fetcher::new(allow_private),
            slack: Arc::new(()),
            secrets: Arc::new(Secrets::new(None, Vec::new())),
        });
        Self {
            host,
            components: Components::of(folder.path()),
            folder,
            store,
        }
    }

    pub(crate) async fn with(roles: &[Role]) -> Self {
        let stage = Self::new();
        stage.plays(roles).await;
        stage
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the plugins by those of `roles`.
    pub(crate) async fn plays(&self, roles: &[Role]) {
        self.host
            .apply(roles.iter().map(|role| self.wanted(role)).collect())
            .await;
    }

    pub(crate) fn wanted(&self, role: &Role) -> Result<PluginSpec, ResolveError> {
        let manifest = format!(
            "name = \"{}\"\nversion = \"{}\"\n{}\n[subscribe]\ninbound = {}\noutbound = [\"*\"]\n",
            role.name, role.version, role.manifest, role.inbound
        );
        let config = role.config();
        let made = Artifact::with_manifest(&role.component, &manifest)
            .map_err(|error| error.to_string())
            .and_then(|artifact| {
                let digest = self.components.put(&artifact.component).unwrap();
                set::wanted(&config, &artifact.component, self.components.path(&digest))
            });
        made.map_err(|why| ResolveError { config, why })
    }

    /// Sends a message from Slack through the plugins.
    pub(crate) async fn message(&self, text: &str) -> PluginOutput {
        self.event(json!({"type": "message", "text": text, "channel": "C1", "n": 1}))
            .await
    }

    pub(crate) async fn event(&self, event: Value) -> PluginOutput {
        let kind = event["type"].as_str().unwrap().to_owned();
        let passing = PluginEvent::new("Ev1", &kind, Event::from_value(&event).unwrap());
        self.host.pass(Direction::Inbound, passing, 7).await
    }

    /// Sends a message of another conversation.
    pub(crate) async fn in_lane(&self, lane: u64) -> PluginOutput {
        let event = Event::parse(r#"{"type":"message"}"#).unwrap();
        let passing = PluginEvent::new("Ev1", "message", event);
        self.host.pass(Direction::Inbound, passing, lane).await
    }

    /// Sends a message to Slack through the plugins. So many others led to it.
    pub(crate) async fn outbound(&self, message: Value, hops: u8) -> PluginOutput {
        let event = Event::from_value(&message).unwrap();
        let passing = PluginEvent {
            hops,
            ..PluginEvent::new("send.1", "chat.postMessage", event)
        };
        self.host.pass(Direction::Outbound, passing, 7).await
    }

    /// The bytes that a plugin's store uses.
    pub(crate) fn usage(&self, name: &str) -> u64 {
        let config = PluginConfig::new(name, &format!("file:{name}.wasm"));
        self.store.usage(&config.store_name()).unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        let statuses = self.host.statuses();
        seen(&statuses);
        statuses
            .into_iter()
            .find(|status| status.name == name)
            .unwrap()
    }
}

/// The only event that came out.
pub(crate) fn only(passed: &PluginOutput) -> Value {
    assert_eq!(passed.events.len(), 1, "{passed:?}");
    value(&passed.events[0].body)
}

pub(crate) fn value(event: &Event) -> Value {
    let mut json = Vec::new();
    event.write_json(&mut json);
    serde_json::from_slice(&json).unwrap()
}
