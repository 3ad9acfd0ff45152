//! The plugins of a running bridge: loaded at the start, kept as config, lock and files say, told about.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use djangobot_plugins::components::Components;
use djangobot_plugins::http::Fetcher;
use djangobot_plugins::lock::Lock;
use djangobot_plugins::secrets::Secrets;
use djangobot_plugins::set::{self, Places};
use djangobot_plugins::source::Source;
use djangobot_plugins::store::Store;
use djangobot_plugins::watch::Watcher;
use djangobot_plugins::{
    Compiler, Engine, OnError, Parts, PluginConfig, PluginHost, State, Status, Unready, Wanted,
};
use miette::Diagnostic;
use serde_json::{Value, json};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::config::{self, CONFIG_FILE, Settings};
use crate::control::Control;
use crate::dev_plugins::DevPlugins;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::team::Team;

/// How often the metrics of plugins are brought up to date.
const GAUGES: Duration = Duration::from_secs(5);
/// Files are looked at for changes that nobody told of this often: some file systems tell nothing.
const LOOK: Duration = Duration::from_secs(30);

/// The plugins of one bridge.
pub(crate) struct Plugins {
    host: PluginHost,
    /// The config file, whether it is there or not.
    config: PathBuf,
    components: Components,
    metrics: Metrics,
    /// What `djangobot dev --plugin` named.
    dev: Option<DevPlugins>,
    /// Held from the reading of the files until what they say is in force: who reads later also has the last word.
    turn: tokio::sync::Mutex<()>,
}

/// Why the bridge can't start with these plugins.
#[derive(Debug, Error, Diagnostic)]
enum PluginsError {
    #[error("the plugin {name} is not loaded: {why}")]
    #[diagnostic(help(
        "its on-error is {on_error:?}, so that nothing may pass without it; mend it, or disable it: djangobot plugin disable {name}"
    ))]
    Refused {
        name: String,
        why: String,
        on_error: &'static str,
    },
}

impl Plugins {
    /// Loads what the config names.
    pub(crate) async fn open(
        settings: &Settings,
        team: &Team,
        metrics: &Metrics,
        dev: Option<DevPlugins>,
    ) -> Result<Self, Failure> {
        let (state, kept) = (&settings.state_dir, &settings.plugin_host.kept);
        let host = PluginHost::new(Parts {
            engine: Engine::new().map_err(Failure::plain)?,
            compiler: Compiler::new(
                std::env::current_exe().map_err(Failure::plain)?,
                kept.join("cache"),
            ),
            roster: Arc::new(team.clone()),
            store: Store::open(&state.join("plugins.db")).map_err(Failure::plain)?,
            http: Fetcher::new(settings.plugin_host.allow_private_http),
            secrets: Arc::new(Secrets::new(
                settings.plugin_host.secrets_dir.clone(),
                settings.slack.secrets(),
            )),
        });
        let plugins = Self {
            host,
            config: settings.file.clone().unwrap_or_else(|| CONFIG_FILE.into()),
            components: Components::of(kept),
            metrics: metrics.clone(),
            dev,
            turn: tokio::sync::Mutex::new(()),
        };
        plugins.apply(&settings.plugins).await;
        plugins.refuse_to_pass_unguarded(&settings.plugins)?;
        Ok(plugins)
    }

    pub(crate) fn host(&self) -> &PluginHost {
        &self.host
    }

    /// Makes the plugins those of config and lock as they are now. `Some` says why they can't be read; what was in force
    /// stays so.
    pub(crate) async fn reload(&self) -> Option<String> {
        let _turn = self.turn.lock().await;
        let configs = match config::plugins_of(&self.config) {
            Ok(configs) => configs,
            Err(_) if !self.config.exists() => Vec::new(),
            Err(error) => {
                let help = error
                    .help()
                    .map_or_else(String::new, |help| format!(" ({help})"));
                let sentence = format!("{error}{help}; the plugins stay as they are");
                tracing::error!("{sentence}");
                return Some(sentence);
            }
        };
        self.apply(&configs).await
    }

    async fn apply(&self, configs: &[PluginConfig]) -> Option<String> {
        let mut wanted = match resolve(&self.config, &self.components, configs).await {
            Ok(wanted) => wanted,
            Err(sentence) => {
                tracing::error!("{sentence}");
                return Some(sentence);
            }
        };
        if let Some(dev) = &self.dev {
            let built = dev.wanted(&self.components).await;
            wanted.retain(|wanted| {
                let config = wanted
                    .as_ref()
                    .map_or_else(|unready| &unready.config, |wanted| &wanted.config);
                !dev.has(&config.name)
            });
            wanted.extend(built);
        }
        self.host.apply(wanted).await;
        self.gauges();
        None
    }

    /// A start without a plugin that nothing may pass without would let all pass.
    fn refuse_to_pass_unguarded(&self, configs: &[PluginConfig]) -> Result<(), Failure> {
        let statuses = self.host.statuses();
        let refused = statuses.iter().find_map(|status| {
            let config = configs.iter().find(|config| config.name == status.name)?;
            let matters = status.state == State::Refused && config.on_error != OnError::Pass;
            matters.then(|| PluginsError::Refused {
                name: status.name.clone(),
                why: status.why.clone().unwrap_or_default(),
                on_error: config.on_error.name(),
            })
        });
        refused.map_or(Ok(()), |error| Err(Failure::failed(error)))
    }

    /// Follows the files, watches new versions on trial, keeps the metrics, until `cancel`.
    pub(crate) async fn run(&self, cancel: CancellationToken) {
        let follow = async {
            let mut watcher = Watcher::new();
            loop {
                watcher.watch(&self.files());
                // A change of files that are no longer those that are watched is found by looking.
                let _ = tokio::time::timeout(LOOK, watcher.changed()).await;
                if watcher.look() {
                    tracing::debug!("files of plugins have changed");
                    self.reload().await;
                }
            }
        };
        let figures = async {
            loop {
                tokio::time::sleep(GAUGES).await;
                self.gauges();
            }
        };
        let all = async {
            tokio::join!(follow, figures, self.host.run(cancel.clone()));
        };
        cancel.run_until_cancelled(all).await;
    }

    /// The files that say which plugins there are.
    fn files(&self) -> Vec<PathBuf> {
        let configs = config::plugins_of(&self.config).unwrap_or_default();
        let sources = configs
            .iter()
            .filter_map(|config| match config.source.parse() {
                Ok(Source::File(path)) => Some(home_of(&self.config).join(path)),
                _ => None,
            });
        let dev = self.dev.iter().flat_map(DevPlugins::files);
        [self.config.clone(), Lock::beside(&self.config)]
            .into_iter()
            .chain(sources)
            .chain(dev)
            .collect()
    }

    /// What a command that asks for the plugins is told.
    fn told(&self) -> Value {
        let statuses = self.host.statuses();
        serde_json::to_value(statuses).unwrap_or_default()
    }

    fn gauges(&self) {
        for status in self.host.statuses() {
            let Status { name, state, .. } = &status;
            let up = matches!(state, State::Running | State::OnTrial);
            self.metrics.plugin_up(name).set(f64::from(u8::from(up)));
            self.metrics
                .plugin_memory(name)
                .set(status.memory_bytes as f64);
            for (outcome, count) in [
                ("kept", status.kept),
                ("modified", status.modified),
                ("dropped", status.dropped),
                ("replaced", status.replaced),
                ("error", status.errors),
                ("trap", status.traps),
                ("timeout", status.timeouts),
                ("bad-answer", status.bad_answers),
                ("over-budget", status.over_budget),
                ("bypassed", status.bypassed),
            ] {
                self.metrics.plugin_calls(name, outcome).absolute(count);
            }
        }
    }
}

/// What the config file at `config` wants with its `[[plugin]]`, each with the component that the lock pins, or why it can't
/// be had. The error is about the lock as a whole.
pub(crate) async fn resolve(
    config: &Path,
    components: &Components,
    configs: &[PluginConfig],
) -> Result<Vec<Result<Wanted, Unready>>, String> {
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let lock = Lock::read(&Lock::beside(config))
        .map_err(|error| format!("{error}; the plugins stay as they are"))?;
    let places = Places {
        home: home_of(config),
        components,
    };
    let wanted = set::resolve(configs, &lock, &places).await;
    let placed = wanted.into_iter().map(|wanted| {
        let mut wanted = wanted?;
        wanted.config_file = Some(config.to_owned());
        Ok(wanted)
    });
    Ok(placed.collect())
}

fn home_of(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}

#[async_trait]
impl Control for Plugins {
    async fn plugins(&self) -> Value {
        self.told()
    }

    async fn reload(&self) -> Value {
        let error = Plugins::reload(self).await;
        json!({ "plugins": self.told(), "error": error })
    }
}
