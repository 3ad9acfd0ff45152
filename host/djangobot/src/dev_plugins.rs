//! `djangobot dev --plugin SOURCE`: plugins that somebody is writing. They are built and loaded again at each change,
//! and everything that they ask for is granted.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use djangobot_event::lock::lock;
use djangobot_plugins::install::component::Artifact;
use djangobot_plugins::install::components::Components;
use djangobot_plugins::install::recipe::{self, Installs};
use djangobot_plugins::install::source::Source;
use djangobot_plugins::progress::Progress;
use djangobot_plugins::{PluginConfig, PluginSpec, ResolveError, set};

/// The most files in a plugin's folder that are watched: each costs the system a watch.
const MAX_FILES: usize = 1_000;
/// Folders that tools write to. They are not watched, because a build that changes them would start the next build.
const OUTPUTS: &[&str] = &["target", "node_modules", ".git", ".venv", "__pycache__"];

/// Plugins that are loaded without config and lock.
pub(crate) struct DevPlugins {
    sources: Vec<DevSource>,
    /// The plugins of the config file. One with the same name gives its config and policy.
    configs: Vec<PluginConfig>,
    /// Whether missing build tools may be installed.
    installs: Installs,
}

struct DevSource {
    source: Source,
    /// The name in the manifest of the last build. The plugin keeps it while it does not build.
    name: Mutex<String>,
}

impl DevPlugins {
    pub(crate) fn new(
        sources: Vec<Source>,
        configs: Vec<PluginConfig>,
        installs: Installs,
    ) -> Self {
        let sources = sources.into_iter().map(|source| DevSource {
            name: Mutex::new(name_of(&source)),
            source,
        });
        Self {
            sources: sources.collect(),
            configs,
            installs,
        }
    }

    /// Builds and reads all of them.
    pub(crate) async fn wanted(
        &self,
        components: &Components,
    ) -> Vec<Result<PluginSpec, ResolveError>> {
        let mut wanted = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let one = self.one(source, components).await;
            wanted.push(one.map_err(|why| ResolveError {
                config: self.config(&source.name(), &source.source),
                why,
            }));
        }
        wanted
    }

    async fn one(&self, dev: &DevSource, components: &Components) -> Result<PluginSpec, String> {
        let artifact = match &dev.source {
            Source::File(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|reason| format!("{} can't be read: {reason}", path.display()))?;
                Artifact::read(&bytes).map_err(|error| error.to_string())?
            }
            Source::Folder(path) => {
                if !recipe::is_script(path) {
                    tracing::info!(
                        "building the plugin in {}; the first build takes minutes (--log debug shows each step)",
                        path.display()
                    );
                }
                let progress = Progress::of(format!("building the plugin in {}", path.display()));
                let show = |line: &str| {
                    tracing::debug!(folder = %path.display(), "{line}");
                    progress.say(line);
                };
                recipe::build(path, self.installs, &show)
                    .await
                    .map_err(|error| error.to_string())?
            }
            Source::Https(_) | Source::Shipped(_) => {
                let source = &dev.source;
                return Err(format!(
                    "{source} is not a file or a folder; add it instead: djangobot plugin add {source}"
                ));
            }
        };
        artifact.manifest.name.clone_into(&mut lock(&dev.name));
        let mut config = self.config(&artifact.manifest.name, &dev.source);
        // The author runs the plugin on their own machine, and would grant everything anyway.
        config.grants = artifact.manifest.asked();
        let digest = components
            .put_artifact(&artifact)
            .map_err(|error| error.to_string())?;
        set::wanted(&config, &artifact.component, components.path(&digest))
    }

    fn config(&self, name: &str, source: &Source) -> PluginConfig {
        let given = self.configs.iter().find(|config| config.name == name);
        PluginConfig {
            source: source.to_string(),
            enabled: true,
            ..given
                .cloned()
                .unwrap_or_else(|| PluginConfig::new(name, ""))
        }
    }

    /// The files that they are made of.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for dev in &self.sources {
            match &dev.source {
                Source::File(path) => files.push(path.clone()),
                Source::Folder(path) => gather(path, recipe::is_script(path), &mut files),
                Source::Https(_) | Source::Shipped(_) => {}
            }
        }
        files
    }

    /// Whether one of them has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source.name() == name)
    }
}

impl DevSource {
    fn name(&self) -> String {
        lock(&self.name).clone()
    }
}

/// The name of a plugin that was not built yet: that of its folder or file.
fn name_of(source: &Source) -> String {
    match source {
        Source::File(path) | Source::Folder(path) => path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default(),
        Source::Shipped(name) => name.clone(),
        Source::Https(url) => url.to_string(),
    }
}

/// Collects the files below a folder. With `with_folders`, the folders are watched too, so that a new file is noticed: a
/// script may import a file that is not there yet. A compiler makes files in the folder itself, which would start the
/// next build.
fn gather(folder: &Path, with_folders: bool, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    if with_folders {
        files.push(folder.to_owned());
    }
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_output = OUTPUTS.iter().any(|output| entry.file_name() == *output);
        match is_folder {
            true if !is_output => gather(&entry.path(), with_folders, files),
            true => {}
            false => files.push(entry.path()),
        }
    }
}
