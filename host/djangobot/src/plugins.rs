//! The plugins of a running bridge: loaded at the start, kept as config, lock and files say, told about.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use djangobot_plugins::install::components::{Components, ComponentsError};
use djangobot_plugins::install::lock::{Lock, LockError, Locked};
use djangobot_plugins::install::source::Source;
use djangobot_plugins::services::http::Fetcher;
use djangobot_plugins::services::secrets::Secrets;
use djangobot_plugins::services::store::Store;
use djangobot_plugins::set::{self, Places};
use djangobot_plugins::watch::Watcher;
use djangobot_plugins::{
    Builds, Compiler, Digest, Engine, Parts, PluginConfig, PluginHost, RollBack, Ruling, State,
    Status, Unready, Versions, Wanted, file, manifest, own_program,
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
/// A config that lacks plugins which serve is looked at again after so long: a file that is written slowly, or of a checkout
/// under way, lacks some for a moment.
const SETTLE: Duration = Duration::from_secs(2);
/// How often, while it goes on changing.
const SETTLE_ROUNDS: usize = 5;
/// The longest config file that is looked at.
const LONGEST: usize = 4 << 20;

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
    /// A version serves that a command proposed, and the lock is about to pin.
    is_proposed: AtomicBool,
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
    #[error("{} has plugins, and the config {} that says what they may let pass is missing or empty", lock.display(), config.display())]
    #[diagnostic(help("restore the config; or delete {}, to run without plugins", lock.display()))]
    Lost { config: PathBuf, lock: PathBuf },
}

impl Plugins {
    /// Makes places for what the config names; [`Plugins::load`] fills them.
    pub(crate) async fn open(
        settings: &Settings,
        team: &Team,
        metrics: &Metrics,
        dev: Option<DevPlugins>,
    ) -> Result<Self, Failure> {
        let (state, kept) = (&settings.state_dir, &settings.plugin_host.kept);
        let config: PathBuf = settings.file.clone().unwrap_or_else(|| CONFIG_FILE.into());
        if settings.plugins.is_empty() {
            refuse_a_lost_config(&config)?;
        }
        let components = Components::of(kept);
        let host = PluginHost::new(Parts {
            engine: Engine::new().map_err(Failure::plain)?,
            compiler: Compiler::new(own_program().map_err(Failure::plain)?, components.cache()),
            roster: Arc::new(team.clone()),
            store: Store::open(&state.join("plugins.db")).map_err(Failure::plain)?,
            http: Fetcher::new(settings.plugin_host.allow_private_http),
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

    /// Loads what the config names. Events wait until this is done.
    ///
    /// # Errors
    /// A plugin that nothing may pass without does not serve.
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

    /// Makes the plugins those of config and lock as they are now. `Some` says why the config can't be read; what was in
    /// force stays so.
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

    /// The plugins that the config names. A config that is gone or empty names none only where it never did.
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
        let places = Places {
            home: home_of(&self.config),
            components: &self.components,
        };
        let mut wanted = resolve(&self.config, &places, &own, lock, versions).await;
        if let Some(dev) = &self.dev {
            let built = dev.wanted(&self.components).await;
            // What it is called is known when it is built.
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

    /// Keeps what was replaced, until what came in its place is past its trial.
    fn remember(&self, replaced: Vec<Locked>) {
        if replaced.is_empty() {
            return;
        }
        let written = self.components.turn().and_then(|turn| {
            Versions::change(&self.components, &turn, |versions| {
                for before in replaced {
                    let name = before.name.clone();
                    versions.replaced(&name, Some(before));
                }
            })
        });
        if let Err(error) = written {
            tracing::warn!("which plugin was replaced is not remembered: {error}");
        }
    }

    /// Writes down what became of a trial.
    fn write_down(&self, ruling: &Ruling) {
        let name = match ruling {
            Ruling::RolledBack(it) => &it.name,
            Ruling::Settled(name, _) => name,
        };
        if self.is_of_dev(name) {
            return;
        }
        let written = match ruling {
            Ruling::RolledBack(it) => self.roll_back(it),
            Ruling::Settled(name, digest) => self.settle(name, *digest),
        };
        if let Err(error) = written {
            tracing::error!(
                plugin = name,
                "the end of the plugin's trial is not written down: {error}"
            );
        }
    }

    /// The state remembers it, whatever the lock says; and the lock says what serves, where it can be written.
    fn roll_back(&self, it: &RollBack) -> Result<(), ComponentsError> {
        let turn = self.components.turn()?;
        Versions::change(&self.components, &turn, |versions| versions.rolled_back(it))?;
        let path = Lock::beside(&self.config);
        let builds = Builds::read(&self.components);
        let pinned = Lock::read(&path).and_then(|mut lock| {
            if let Some(pinned) = lock.get(&it.name)
                && builds.pinned(pinned, &self.components).sha256 == it.bad
            {
                let source = pinned.source.clone();
                lock.set(Locked {
                    source,
                    ..it.good.clone()
                });
                lock.write(&path)?;
            }
            Ok(())
        });
        if let Err(error) = pinned {
            tracing::warn!(
                plugin = it.name,
                "{error}; it pins the version that was rolled back, and this state remembers not to take it"
            );
        }
        Ok(())
    }

    fn settle(&self, name: &str, digest: Digest) -> Result<(), ComponentsError> {
        let turn = self.components.turn()?;
        Versions::change(&self.components, &turn, |versions| {
            versions.settled(name, digest)
        })?;
        // Those under construction are in no lock.
        if self.dev.is_none()
            && let Ok(lock) = Lock::read(&Lock::beside(&self.config))
        {
            set::tidy(&self.components, &lock)?;
        }
        Ok(())
    }

    /// Has a plugin served by what `locked` would pin, and says why it can't be. The files stay as they are: who proposes
    /// it writes them.
    async fn try_out(&self, locked: Locked) -> Result<(), String> {
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
        // The operator's word ends an earlier verdict.
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

    /// A start without a plugin that nothing may pass without would let all pass, or none.
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

    /// Follows the files, watches new versions on trial, keeps the metrics, until `cancel`.
    pub(crate) async fn run(&self, cancel: CancellationToken) {
        let follow = async {
            let mut watcher = Watcher::new();
            loop {
                watcher.watch(&self.files());
                // A change of files that are no longer those that are watched is found by looking.
                let _ = tokio::time::timeout(LOOK, watcher.changed()).await;
                let has_changed = watcher.look();
                if has_changed {
                    tracing::debug!("files of plugins have changed");
                    self.let_settle(&mut watcher).await;
                }
                // A command that proposed a version may have come to no end.
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
            let told = |ruling| self.write_down(&ruling);
            tokio::join!(follow, figures, self.host.run(cancel.clone(), told));
        };
        cancel.run_until_cancelled(all).await;
    }

    /// Waits where the config lacks plugins that serve, until it has stayed so for a moment.
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
            // One without a name comes and goes with the lines of the config.
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

/// What the config file at `config` wants with its `[[plugin]]`, each with the component that the lock pins, or why it can't
/// be had.
pub(crate) async fn resolve(
    config: &Path,
    places: &Places<'_>,
    configs: &[PluginConfig],
    lock: &Result<Lock, LockError>,
    versions: &Versions,
) -> Vec<Result<Wanted, Unready>> {
    let mut wanted = set::resolve(configs, lock, versions, places).await;
    for wanted in wanted.iter_mut().flatten() {
        wanted.config_file = Some(config.to_owned());
    }
    wanted
}

/// As [`resolve`], with lock and state as they are now.
pub(crate) async fn resolve_now(
    config: &Path,
    components: &Components,
    configs: &[PluginConfig],
) -> Vec<Result<Wanted, Unready>> {
    let places = Places {
        home: home_of(config),
        components,
    };
    let lock = Lock::read(&Lock::beside(config));
    let versions = Versions::read(components);
    resolve(config, &places, configs, &lock, &versions).await
}

/// A lock beside a config that is gone or empty: what its plugins may let pass is not known any more.
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
        self.told()
    }

    async fn reload(&self) -> Value {
        let error = Plugins::reload(self).await;
        json!({ "plugins": self.told(), "error": error })
    }

    async fn propose(&self, proposal: Value) -> Value {
        let refused = match serde_json::from_value(proposal) {
            Ok(locked) => self.try_out(locked).await.err(),
            Err(error) => Some(format!("the proposal can't be read: {error}")),
        };
        json!({ "refused": refused })
    }
}
