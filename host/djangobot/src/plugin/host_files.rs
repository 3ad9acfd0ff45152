//! The files of a host in which plugins are recorded (config, lock and state), and the ways to obtain a plugin for
//! them.

use std::path::{Path, PathBuf};

use djangobot_plugins::install::components::ChangeGuard;
use djangobot_plugins::install::recipe::{self, Installs, engines};
use djangobot_plugins::services::store::{Store, StoreError};
use djangobot_plugins::{
    Artifact, Builds, Components, ConfigFile, Digest, Lock, LockEntry, PluginConfig, Source,
    Versions, own_program, set,
};

use crate::cli::{FilesArgs, HostArgs, SlackArgs, TargetArgs};
use crate::config::Settings;
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::plugin::consent;
use crate::plugin::error::PluginError;
use crate::plugin::shown::line;
use crate::state::{State, folder};
use crate::telemetry::Terminal;

/// The files of one host.
pub(super) struct HostFiles {
    pub(super) config: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) state: PathBuf,
    pub(super) components: Components,
    /// The plugins of the config.
    pub(super) plugins: Vec<PluginConfig>,
}

impl HostFiles {
    /// Finds the files that `run` would use, and starts the logs.
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

    /// The folder that relative paths in the config start from.
    pub(super) fn home(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new(""))
    }

    /// Finds the plugin with a name.
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
                "there are no plugins in {}; djangobot plugin add SOURCE adds one",
                self.config.display()
            ),
            (None, false) => format!(
                "name one of these: {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Waits until no other program changes the files, and keeps other programs from changing them until it is dropped.
    pub(super) fn turn(&self) -> Result<ChangeGuard, PluginError> {
        folder::open(&self.state).map_err(PluginError::State)?;
        self.components.turn().map_err(PluginError::below)
    }

    /// Reads the lock as it is now.
    pub(super) fn read_lock(&self) -> Result<Lock, PluginError> {
        Lock::read(&self.lock).map_err(PluginError::below)
    }

    /// Opens the config as it is now, for an edit.
    pub(super) fn open_config(&self) -> Result<ConfigFile, PluginError> {
        ConfigFile::open(&self.config).map_err(PluginError::below)
    }

    /// Calls `act` with each store of plugins that exists: that of a bridge, and that of `dev`.
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

    /// Reads the roster of the last run, which plugins get while they are tried.
    pub(super) fn roster(&self) -> Option<Vec<u8>> {
        [self.state.clone(), self.state.join("dev")]
            .iter()
            .filter(|state| state.join("state.db").exists())
            .find_map(|state| State::open_shared(state).ok()?.last_roster().ok()?)
    }

    /// Changes the state's record of versions.
    pub(super) fn remember(
        &self,
        turn: &ChangeGuard,
        change: impl FnOnce(&mut Versions),
    ) -> Result<(), PluginError> {
        Versions::change(&self.components, turn, change).map_err(PluginError::below)
    }

    /// The version of a plugin that the lock pins, with the digest of the component on this machine: a plugin that is
    /// built from pinned sources may have another digest here than where the lock was written.
    pub(super) fn pinned(&self, lock: &Lock, name: &str) -> Option<LockEntry> {
        let builds = Builds::read(&self.components);
        Some(builds.pinned(lock.get(name)?, &self.components))
    }

    /// Whether the component of a plugin is in the state, because it was added or updated here before.
    pub(super) fn has(&self, name: &str) -> Result<bool, PluginError> {
        let pinned = self.pinned(&self.read_lock()?, name);
        Ok(pinned.is_some_and(|pinned| self.components.get(&pinned.sha256).is_ok()))
    }

    /// Stores the component of a pinned version if it is missing in this state. Returns whether it was missing.
    pub(super) fn keep(
        &self,
        pinned: &LockEntry,
        artifact: &Artifact,
    ) -> Result<bool, PluginError> {
        let turn = self.turn()?;
        if self.components.get(&pinned.sha256).is_ok() {
            return Ok(false);
        }
        self.components
            .put_artifact(artifact)
            .and_then(|digest| match pinned.sources {
                Some(sources) if digest != pinned.sha256 => {
                    Builds::remember(&self.components, &turn, sources, digest)
                }
                _ => Ok(()),
            })
            .map_err(PluginError::below)?;
        Ok(true)
    }

    /// Deletes the components that nothing refers to any more. A failure is only logged: they cost nothing but room.
    pub(super) fn tidy(&self, lock: &Lock) {
        if let Err(error) = set::tidy(&self.components, lock) {
            tracing::warn!("components that are no longer needed could not be deleted: {error}");
        }
    }

    /// Reads, builds or downloads a plugin, and shows the progress. `installs` says whether missing build tools may be
    /// installed without asking.
    pub(super) async fn obtain(
        &self,
        source: &Source,
        promised: Option<Digest>,
        installs: bool,
        terminal: &Terminal,
    ) -> Result<Artifact, PluginError> {
        let artifact = match source.located(self.home()).map_err(PluginError::below)? {
            Source::Folder(folder) => build_folder(&folder, installs, terminal).await?,
            found => {
                let artifact = self.fetch(&found, promised, terminal).await?;
                engines::pin(artifact, may_install(installs), &|_| {})
                    .await
                    .map_err(PluginError::below)?
            }
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

fn may_install(installs: bool) -> Installs {
    match installs {
        true => Installs::Allowed,
        false => Installs::Refused,
    }
}

/// Builds a plugin's folder, and shows the progress. Missing build tools are installed if `installs` is set or a person
/// agrees.
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
    if !recipe::is_script(folder) {
        // Without a terminal there is no progress bar, and this line is all that shows for minutes.
        tracing::info!(
            "building the plugin in {}; the first build takes minutes, because the plugin's dependencies are built too",
            folder.display()
        );
    }
    let work = terminal.work("building the plugin");
    let built = recipe::build(folder, allowed, &|step| work.say(&line(step))).await;
    built.map_err(|error| PluginError::recipe(error, terminal))
}

/// Checks that a plugin's schema is valid. It is called before any file is written, so that a bad plugin leaves no
/// trace.
pub(super) async fn check_schema(artifact: &Artifact) -> Result<(), PluginError> {
    let program = own_program().map_err(PluginError::below)?;
    let checked = artifact.check_schema(&program).await;
    checked.map_err(PluginError::below)
}
