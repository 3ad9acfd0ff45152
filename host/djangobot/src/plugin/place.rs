//! Where plugins are written down: config, lock and state, and how a source is turned into a plugin there.

use std::path::{Path, PathBuf};

use djangobot_plugins::install::components::Turn;
use djangobot_plugins::install::recipe::{self, Installs};
use djangobot_plugins::services::store::{Store, StoreError};
use djangobot_plugins::{
    Artifact, Builds, Components, ConfigFile, Digest, Lock, Locked, PluginConfig, Source, Versions,
    own_program, set,
};

use super::consent;
use super::error::PluginError;
use super::shown::line;
use crate::cli::{FilesArgs, HostArgs, SlackArgs, TargetArgs};
use crate::config::Settings;
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::state::{State, folder};
use crate::telemetry::Terminal;

/// The files of one host.
pub(super) struct Place {
    pub(super) config: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) state: PathBuf,
    pub(super) components: Components,
    /// As the config has them.
    pub(super) plugins: Vec<PluginConfig>,
}

impl Place {
    /// Finds them as `run` would, and starts logging.
    pub(super) fn open(files: &FilesArgs, terminal: &Terminal) -> Result<Self, Failure> {
        let host = HostArgs::of(files);
        let mut settings = Settings::read(&TargetArgs::default(), &SlackArgs::default(), &host)
            .map_err(Failure::usage)?;
        let format = settings.log_format.or(Some(LogFormat::Human));
        terminal
            .start_logs(&settings.log, format)
            .map_err(Failure::usage)?;
        if settings.state_dir.exists() {
            settings.open_state().map_err(Failure::failed)?;
        }
        let config = settings.config_file().to_owned();
        Ok(Self {
            lock: Lock::beside(&config),
            components: Components::of(&settings.state_dir),
            state: settings.state_dir,
            plugins: settings.plugins,
            config,
        })
    }

    /// The folder that paths in the config are meant from.
    pub(super) fn home(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new(""))
    }

    /// The plugin of that name.
    pub(super) fn plugin(&self, name: &str) -> Result<&PluginConfig, PluginError> {
        let found = self.plugins.iter().find(|plugin| plugin.name == name);
        found.ok_or_else(|| PluginError::Missing {
            name: name.to_owned(),
            help: self.known(name),
        })
    }

    fn known(&self, name: &str) -> String {
        let names = self.plugins.iter().map(|plugin| plugin.name.as_str());
        let near = names
            .clone()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        match (near, self.plugins.is_empty()) {
            (Some((_, near)), _) => format!("did you mean {near}?"),
            (None, true) => format!(
                "there are none in {}; djangobot plugin add SOURCE adds one",
                self.config.display()
            ),
            (None, false) => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        }
    }

    /// Waits until no other program changes the files, and keeps others from it.
    pub(super) fn turn(&self) -> Result<Turn, PluginError> {
        folder::open(&self.state).map_err(PluginError::State)?;
        self.components.turn().map_err(PluginError::below)
    }

    /// The lock as it is now.
    pub(super) fn read_lock(&self) -> Result<Lock, PluginError> {
        Lock::read(&self.lock).map_err(PluginError::below)
    }

    /// The config as it is now, for an edit.
    pub(super) fn open_config(&self) -> Result<ConfigFile, PluginError> {
        ConfigFile::open(&self.config).map_err(PluginError::below)
    }

    /// Does something with the stores of plugins, as far as there are any: those of a bridge and those of `dev`.
    pub(super) fn with_stores(
        &self,
        act: impl Fn(&Store) -> Result<(), StoreError>,
    ) -> Result<(), PluginError> {
        for state in [self.state.clone(), self.state.join("dev")] {
            let path = state.join("plugins.db");
            if path.exists() {
                let store = Store::open(&path).map_err(PluginError::below)?;
                act(&store).map_err(PluginError::below)?;
            }
        }
        Ok(())
    }

    /// The roster of the last run, for plugins that are tried.
    pub(super) fn roster(&self) -> Option<Vec<u8>> {
        [self.state.clone(), self.state.join("dev")]
            .iter()
            .filter(|state| state.join("state.db").exists())
            .find_map(|state| State::beside(state).ok()?.last_roster().ok()?)
    }

    /// Changes what the state remembers of versions.
    pub(super) fn remember(
        &self,
        turn: &Turn,
        change: impl FnOnce(&mut Versions),
    ) -> Result<(), PluginError> {
        Versions::change(&self.components, turn, change).map_err(PluginError::below)
    }

    /// What the lock pins of a plugin, as it is on this machine.
    pub(super) fn pinned(&self, lock: &Lock, name: &str) -> Option<Locked> {
        let builds = Builds::read(&self.components);
        Some(builds.pinned(lock.get(name)?, &self.components))
    }

    /// Whether the component of a plugin is in the state: it was taken here before.
    pub(super) fn has(&self, name: &str) -> Result<bool, PluginError> {
        let pinned = self.pinned(&self.read_lock()?, name);
        Ok(pinned.is_some_and(|pinned| self.components.get(&pinned.sha256).is_ok()))
    }

    /// Keeps a component that the lock pins by its sources, where that of the lock is not here. Gives whether it is new here.
    pub(super) fn keep(&self, pinned: &Locked, artifact: &Artifact) -> Result<bool, PluginError> {
        let turn = self.turn()?;
        if self.components.get(&pinned.sha256).is_ok() {
            return Ok(false);
        }
        self.components
            .put(&artifact.component)
            .and_then(|digest| match pinned.sources {
                Some(sources) if digest != pinned.sha256 => {
                    Builds::remember(&self.components, &turn, sources, digest)
                }
                _ => Ok(()),
            })
            .map_err(PluginError::below)?;
        Ok(true)
    }

    /// Deletes the components that nothing names any more. That it can't is no reason to fail.
    pub(super) fn tidy(&self, lock: &Lock) {
        if let Err(error) = set::tidy(&self.components, lock) {
            tracing::warn!("components that are not needed any more are still there: {error}");
        }
    }

    /// Reads, builds or downloads, with progress shown. `installs` says that what a build needs may be
    /// installed.
    pub(super) async fn obtain(
        &self,
        source: &Source,
        promised: Option<Digest>,
        installs: bool,
        terminal: &Terminal,
    ) -> Result<Artifact, PluginError> {
        let artifact = match source.located(self.home()).map_err(PluginError::below)? {
            Source::Folder(folder) => build_folder(&folder, installs, terminal).await?,
            found => self.fetch(&found, promised, terminal).await?,
        };
        check_schema(&artifact).await?;
        Ok(artifact)
    }

    async fn fetch(
        &self,
        source: &Source,
        promised: Option<Digest>,
        terminal: &Terminal,
    ) -> Result<Artifact, PluginError> {
        let work = terminal.work(match source {
            Source::Https(_) => "downloading the plugin",
            _ => "reading the plugin",
        });
        let obtained = source
            .obtain(self.home(), promised, &mut |received, expected| {
                work.received(received, expected);
            })
            .await;
        obtained.map_err(PluginError::below)
    }
}

/// Builds a plugin's folder, with progress shown. What is lacking for that is installed where `installs` or
/// a person says so.
pub(super) async fn build_folder(
    folder: &Path,
    installs: bool,
    terminal: &Terminal,
) -> Result<Artifact, PluginError> {
    let mut allowed = Installs::Refused;
    if let Some(what) = recipe::lacks(folder).await {
        consent::to_install(&what, installs).await?;
        allowed = Installs::Allowed;
    }
    // Off a terminal, these lines are all that one sees of minutes.
    tracing::info!(
        "building the plugin in {}; the first time takes minutes, since what it is made with is built, too",
        folder.display()
    );
    let work = terminal.work("building the plugin");
    let built = recipe::build(folder, allowed, &|said| work.say(&line(said))).await;
    built.map_err(|error| PluginError::recipe(error, terminal))
}

/// Whether a plugin's schema is one that can be used: asked before anything is written down.
pub(super) async fn check_schema(artifact: &Artifact) -> Result<(), PluginError> {
    let program = own_program().map_err(PluginError::below)?;
    let checked = artifact.check_schema(&program).await;
    checked.map_err(PluginError::below)
}
