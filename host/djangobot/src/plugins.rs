//! The plugins of a running bridge: loads them at the start, follows config, lock and files, and reports on them.

mod trials;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use djangobot_plugins::install::components::Components;
use djangobot_plugins::install::lock::{Lock, LockEntry, LockError};
use djangobot_plugins::install::source::Source;
use djangobot_plugins::services::http::Fetcher;
use djangobot_plugins::services::secrets::Secrets;
use djangobot_plugins::services::store::Store;
use djangobot_plugins::set::{self, PluginFolders};
use djangobot_plugins::watch::Watcher;
use djangobot_plugins::{
    Builds, Compiler, Engine, Parts, PluginConfig, PluginHost, PluginSpec, ResolveError, State,
    Status, Versions, file, manifest, own_program,
};
use miette::Diagnostic;
use serde_json::{Value, json};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::bridge::PluginSlack;
use crate::config::{self, CONFIG_FILE, Settings};
use crate::control::Control;
use crate::dev_plugins::DevPlugins;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::team::Team;

/// How often the metrics of plugins are updated.
const GAUGES: Duration = Duration::from_secs(5);
/// How often files are compared for changes that the system did not report: some file systems report none.
const LOOK: Duration = Duration::from_secs(30);
/// How long a changed config that lacks a serving plugin is left alone before it counts: a file that is written slowly,
/// or one of a checkout under way, lacks some plugins for a moment.
const SETTLE: Duration = Duration::from_secs(2);
/// How many such waits there are while the file goes on changing.
const SETTLE_ROUNDS: usize = 5;
/// The longest config file that is read.
const LONGEST: usize = 4 << 20;

/// The plugins of one bridge.
pub(crate) struct Plugins {
    host: PluginHost,
    /// The config file, which may be missing.
    config: PathBuf,
    components: Components,
    metrics: Metrics,
    /// The plugins of `djangobot dev --plugin`.
    dev: Option<DevPlugins>,
    /// Held from reading the files until their plugins serve, so that a reader of newer files is never overtaken by a
    /// reader of older ones.
    turn: tokio::sync::Mutex<()>,
    /// Whether a version serves that a command proposed. The command then lets the lock pin it; if the command dies
    /// first, a reload brings the pinned version back.
    is_proposed: AtomicBool,
}

/// The bridge can't start with these plugins.
#[derive(Debug, Error, Diagnostic)]
enum PluginsError {
    #[error("the plugin {name} is not loaded: {why}")]
    #[diagnostic(help(
        "nothing may pass without it, because its on-error is {on_error:?}; correct the plugin, or disable it: djangobot plugin disable {name}"
    ))]
    Refused {
        name: String,
        why: String,
        on_error: &'static str,
    },
    #[error("{} names plugins, but the config {}, which has their policies, is missing or empty", lock.display(), config.display())]
    #[diagnostic(help("restore the config; to run without plugins, delete {}", lock.display()))]
    Lost { config: PathBuf, lock: PathBuf },
}

impl Plugins {
    /// Makes the plugin host, which knows the plugins of the config but has loaded none; [`Plugins::load`] loads them.
    pub(crate) async fn open(
        settings: &Settings,
        team: &Team,
        slack: &PluginSlack,
        metrics: &Metrics,
        dev: Option<DevPlugins>,
    ) -> Result<Self, Failure> {
        let state = &settings.state_dir;
        let config: PathBuf = settings.file.clone().unwrap_or_else(|| CONFIG_FILE.into());
        if settings.plugins.is_empty() {
            refuse_a_lost_config(&config)?;
        }
        let components = Components::of(&settings.plugin_host.components_dir);
        let host = PluginHost::new(Parts {
            engine: Engine::new().map_err(Failure::plain)?,
            compiler: Compiler::new(own_program().map_err(Failure::plain)?, components.cache()),
            roster: Arc::new(team.clone()),
            store: Store::open(&state.join("plugins.db")).map_err(Failure::plain)?,
            http: Fetcher::new(settings.plugin_host.allow_private_http),
            slack: Arc::new(slack.clone()),
            secrets: Arc::new(Secrets::new(
                settings.plugin_host.secrets_dir.clone(),
                settings.slack.secrets(),
            )),
        });
        host.expect(&settings.plugins).await;
        Ok(Self {
            host,
            config,
            components,
            metrics: metrics.clone(),
            dev,
            turn: tokio::sync::Mutex::new(()),
            is_proposed: AtomicBool::new(false),
        })
    }

    /// Loads the plugins that the config names. Events wait until this is done.
    ///
    /// # Errors
    /// A plugin without which nothing may pass does not serve.
    pub(crate) async fn load(&self, configs: &[PluginConfig]) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        self.apply(configs).await;
        self.refuse_to_pass_unguarded(configs)
    }

    pub(crate) fn host(&self) -> &PluginHost {
        &self.host
    }

    /// Whether plugins under construction are built at the start.
    pub(crate) fn builds(&self) -> bool {
        self.dev.is_some()
    }

    /// Loads the plugins of config and lock as they are now.
    ///
    /// Returns `Some` sentence if the config can't be read; the plugins then stay as they are.
    pub(crate) async fn reload(&self) -> Option<String> {
        let _turn = self.turn.lock().await;
        match self.configs() {
            Ok(configs) => {
                self.apply(&configs).await;
                None
            }
            Err(sentence) => {
                tracing::error!("{sentence}");
                Some(sentence)
            }
        }
    }

    /// Reads the plugins that the config names.
    ///
    /// # Errors
    /// The config can't be read. A missing or empty one is an error too if it named plugins before: it was probably
    /// lost, and guards must not be unloaded because of that.
    fn configs(&self) -> Result<Vec<PluginConfig>, String> {
        let error = match config::plugins_of(&self.config) {
            Ok(configs) => return Ok(configs),
            Err(error) => error,
        };
        let statuses = self.host.statuses();
        if statuses.iter().all(|status| self.is_of_dev(&status.name))
            && is_missing_or_empty(&self.config)
        {
            return Ok(Vec::new());
        }
        let help = error
            .help()
            .map_or_else(String::new, |help| format!(" ({help})"));
        Err(format!("{error}{help}; the plugins stay as they are"))
    }

    async fn apply(&self, configs: &[PluginConfig]) {
        let lock = Lock::read(&Lock::beside(&self.config));
        let versions = Versions::read(&self.components);
        self.put_in_force(configs, &lock, &versions).await;
    }

    async fn put_in_force(
        &self,
        configs: &[PluginConfig],
        lock: &Result<Lock, LockError>,
        versions: &Versions,
    ) {
        if let Err(error) = lock
            && !configs.is_empty()
        {
            tracing::error!("{error}; the plugins that serve stay as they are");
        }
        let own = configs.iter().filter(|it| !self.is_of_dev(&it.name));
        let own: Vec<_> = own.cloned().collect();
        self.host.expect(&own).await;
        let places = PluginFolders {
            home: home_of(&self.config),
            components: &self.components,
        };
        let mut wanted = resolve(&self.config, &places, &own, lock, versions).await;
        if let Some(dev) = &self.dev {
            let built = dev.wanted(&self.components).await;
            // Filtered after the build, because only the manifest that was built has the plugin's name.
            wanted.retain(|wanted| {
                let config = wanted
                    .as_ref()
                    .map_or_else(|unready| &unready.config, |wanted| &wanted.config);
                !dev.has(&config.name)
            });
            wanted.extend(built);
        }
        let replaced = self.host.apply(wanted).await;
        let replaced = replaced.into_iter().filter(|it| !self.is_of_dev(&it.name));
        self.remember(replaced.collect());
        self.gauges();
    }

    fn is_of_dev(&self, name: &str) -> bool {
        self.dev.as_ref().is_some_and(|dev| dev.has(name))
    }

    /// Lets the version serve that `locked` would pin. Config and lock stay as they are: the command that proposes the
    /// version writes them.
    ///
    /// # Errors
    /// The version does not serve. The error is a sentence that says why.
    async fn try_out(&self, locked: LockEntry) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let mut configs = self.configs()?;
        let Some(config) = configs.iter_mut().find(|it| it.name == locked.name) else {
            return Err(format!("{} does not name it", self.config.display()));
        };
        if self.is_of_dev(&config.name) || !config.enabled {
            return Ok(());
        }
        config.source.clone_from(&locked.source);
        config.grants.clone_from(&locked.grants);
        let config = config.clone();
        let digest = locked.sha256;
        let mut lock =
            Lock::read(&Lock::beside(&self.config)).map_err(|error| error.to_string())?;
        let mut versions = Versions::read(&self.components);
        // The operator wants this version, so that an earlier roll-back of it no longer counts.
        let builds = Builds::read(&self.components);
        let before = lock.get(&locked.name);
        let before = before.map(|before| builds.pinned(before, &self.components));
        versions.replaced(&locked.name, before);
        lock.set(locked);
        self.is_proposed.store(true, Ordering::Relaxed);
        self.put_in_force(&configs, &Ok(lock), &versions).await;
        if self.host.serves(&digest, &config) {
            return Ok(());
        }
        let statuses = self.host.statuses();
        let status = statuses.into_iter().find(|it| it.name == config.name);
        Err(status.and_then(|it| it.why).unwrap_or_default())
    }

    /// Refuses to start if a guard does not serve: a bridge without it would let all events pass, or none.
    fn refuse_to_pass_unguarded(&self, configs: &[PluginConfig]) -> Result<(), Failure> {
        let statuses = self.host.statuses();
        for config in configs.iter().filter(|config| config.is_guard()) {
            let status = statuses.iter().find(|status| status.name == config.name);
            if status.is_some_and(|status| status.state.serves()) {
                continue;
            }
            let why = status.and_then(|status| status.why.clone());
            return Err(Failure::failed(PluginsError::Refused {
                name: config.name.clone(),
                why: why.or(config.mistake.clone()).unwrap_or_default(),
                on_error: config.on_error.name(),
            }));
        }
        Ok(())
    }

    /// Follows the files, watches new versions on trial, and updates the metrics until `cancel`.
    pub(crate) async fn run(&self, cancel: CancellationToken) {
        let follow = async {
            let mut watcher = Watcher::new();
            loop {
                watcher.watch(&self.files());
                // A watch follows a file that was replaced, and some systems report nothing, so the files are also
                // compared from time to time.
                let _ = tokio::time::timeout(LOOK, watcher.changed()).await;
                let has_changed = watcher.look();
                if has_changed {
                    tracing::debug!("files of plugins have changed");
                    self.let_settle(&mut watcher).await;
                }
                // A command that proposed a version may have died before it wrote the lock.
                if has_changed || self.is_proposed.swap(false, Ordering::Relaxed) {
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
            let record = |ruling| self.record(&ruling);
            tokio::join!(follow, figures, self.host.run(cancel.clone(), record));
        };
        cancel.run_until_cancelled(all).await;
    }

    /// If the config lacks plugins that serve, waits until it has stopped changing.
    async fn let_settle(&self, watcher: &mut Watcher) {
        for _ in 0..SETTLE_ROUNDS {
            let Ok(configs) = self.configs() else { return };
            let is_missing = |status: &Status| {
                status.state.serves()
                    && !self.is_of_dev(&status.name)
                    && configs.iter().all(|config| config.name != status.name)
            };
            if !self.host.statuses().iter().any(is_missing) {
                return;
            }
            tokio::time::sleep(SETTLE).await;
            if !watcher.look() {
                return;
            }
        }
    }

    /// The files that decide which plugins there are: config, lock and components.
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

    /// The statuses of all plugins, for a command that asks.
    fn statuses(&self) -> Value {
        let statuses = self.host.statuses();
        serde_json::to_value(statuses).unwrap_or_default()
    }

    fn gauges(&self) {
        for status in self.host.statuses() {
            let Status { name, state, .. } = &status;
            // A table of the config without a name is called after its line, which would make new labels with each
            // edit.
            if !manifest::is_name(name) {
                continue;
            }
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

/// Finds for each of `configs`, which are from the config file at `config`, the component that the lock pins, or the
/// reason why there is none.
pub(crate) async fn resolve(
    config: &Path,
    places: &PluginFolders<'_>,
    configs: &[PluginConfig],
    lock: &Result<Lock, LockError>,
    versions: &Versions,
) -> Vec<Result<PluginSpec, ResolveError>> {
    let mut wanted = set::resolve(configs, lock, versions, places).await;
    for wanted in wanted.iter_mut().flatten() {
        wanted.config_file = Some(config.to_owned());
    }
    wanted
}

/// Does what [`resolve`] does, with lock and state as they are now.
pub(crate) async fn resolve_now(
    config: &Path,
    components: &Components,
    configs: &[PluginConfig],
) -> Vec<Result<PluginSpec, ResolveError>> {
    let places = PluginFolders {
        home: home_of(config),
        components,
    };
    let lock = Lock::read(&Lock::beside(config));
    let versions = Versions::read(components);
    resolve(config, &places, configs, &lock, &versions).await
}

/// Refuses to start if there is a lock with plugins, but the config next to it is missing or empty: the policies of the
/// plugins are lost, and they decide what may pass.
fn refuse_a_lost_config(config: &Path) -> Result<(), Failure> {
    let lock = Lock::beside(config);
    let has_plugins = Lock::read(&lock).map_or(true, |lock| !lock.plugins.is_empty());
    match has_plugins && is_missing_or_empty(config) {
        true => Err(Failure::failed(PluginsError::Lost {
            config: config.to_owned(),
            lock,
        })),
        false => Ok(()),
    }
}

fn is_missing_or_empty(config: &Path) -> bool {
    match file::read_text(config, LONGEST) {
        Ok(text) => text.trim().is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn home_of(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}

#[async_trait]
impl Control for Plugins {
    async fn plugins(&self) -> Value {
        self.statuses()
    }

    async fn reload(&self) -> Value {
        let error = Plugins::reload(self).await;
        json!({ "plugins": self.statuses(), "error": error })
    }

    async fn propose(&self, proposal: Value) -> Value {
        let refused = match serde_json::from_value(proposal) {
            Ok(locked) => self.try_out(locked).await.err(),
            Err(error) => Some(format!("the proposal can't be read: {error}")),
        };
        json!({ "refused": refused })
    }
}
