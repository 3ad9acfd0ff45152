//! The set of plugins that the operator wants: the config's entries, each with the component that the lock pins.

use std::path::Path;

use crate::config::PluginConfig;
use crate::digest::Digest;
use crate::host::Unready;
use crate::install::builds::Builds;
use crate::install::component::Artifact;
use crate::install::components::{Components, ComponentsError};
use crate::install::lock::{Lock, LockError, Locked};
use crate::install::recipe::{self, Installs, RecipeError};
use crate::install::source::{Downloader, Source, read_file};
use crate::progress::Progress;
use crate::runtime::compile;
use crate::runtime::load::Wanted;
use crate::versions::Versions;

/// Where the parts of a set are.
pub struct Places<'a> {
    /// The folder of the config file; paths in sources are meant from there.
    pub home: &'a Path,
    /// The components of the state folder.
    pub components: &'a Components,
}

/// What is wanted, in the order of the config; what can't be had is told with its name.
///
/// A lock that can't be read pins nothing; its error stands for each plugin.
pub async fn resolve(
    configs: &[PluginConfig],
    lock: &Result<Lock, LockError>,
    versions: &Versions,
    places: &Places<'_>,
) -> Vec<Result<Wanted, Unready>> {
    let mut wanted = Vec::with_capacity(configs.len());
    for config in configs {
        let found = match (&config.mistake, config.enabled, lock) {
            (_, false, _) => Err("it is disabled".into()),
            (Some(mistake), ..) => Err(mistake.clone()),
            (.., Err(error)) => Err(error.to_string()),
            (.., Ok(lock)) => one(config, lock, versions, places).await,
        };
        wanted.push(found.map_err(|why| Unready {
            config: config.clone(),
            why,
        }));
    }
    wanted
}

/// Deletes the components that neither the lock nor the state's memory of versions names, with what was compiled of them,
/// and gives how many that were.
///
/// # Errors
/// The folder can't be listed, or a file can't be deleted.
pub fn tidy(components: &Components, lock: &Lock) -> Result<usize, ComponentsError> {
    let mut kept = lock.digests();
    kept.extend(Versions::read(components).digests());
    let builds = Builds::read(components);
    let built = lock
        .plugins
        .iter()
        .map(|locked| builds.pinned(locked, components).sha256);
    kept.extend(built);
    let cache = components.cache();
    compile::tidy(&cache, &kept).map_err(|reason| ComponentsError::Disk {
        what: "tidied",
        path: cache,
        reason,
    })?;
    components.keep_only(&kept)
}

async fn one(
    config: &PluginConfig,
    lock: &Lock,
    versions: &Versions,
    places: &Places<'_>,
) -> Result<Wanted, String> {
    let name = &config.name;
    let cure = format!("`djangobot plugin update {name}` takes it as it is now");
    let Some(locked) = lock.get(name) else {
        return Err(format!("djangobot.lock does not pin it; {cure}"));
    };
    if locked.source != config.source {
        return Err(format!(
            "its source is {}, and djangobot.lock pins {}; {cure}",
            config.source, locked.source
        ));
    }
    let locked = &Builds::read(places.components).pinned(locked, places.components);
    let (locked, note) = match versions.instead_of(locked, config) {
        Some((instead, why)) => (instead.unwrap_or(locked), Some(why)),
        None => (locked, None),
    };
    let (component, digest) = component(locked, places).await?;
    let wanted = wanted(config, &component, places.components.path(&digest))
        .map_err(|why| format!("{why}; {cure}"))?;
    let before = match versions.before(locked) {
        Some(before) => before_trial(config, before, places).await,
        None => None,
    };
    Ok(Wanted {
        note,
        sources: locked.sources,
        before,
        ..wanted
    })
}

/// The version before one that is on trial.
async fn before_trial(
    config: &PluginConfig,
    before: &Locked,
    places: &Places<'_>,
) -> Option<Box<Wanted>> {
    let found = component(before, places)
        .await
        .and_then(|(component, digest)| {
            wanted(config, &component, places.components.path(&digest))
        });
    match found {
        Ok(wanted) => Some(Box::new(Wanted {
            sources: before.sources,
            ..wanted
        })),
        Err(why) => {
            let (plugin, version) = (&config.name, &before.version);
            tracing::warn!(
                plugin,
                "the plugin's version {version} can't come back, should the one on trial fail: {why}"
            );
            None
        }
    }
}

/// The component that is pinned, with its digest: kept here, or got again where it came from. Of a plugin that ships, one
/// that was built from the sources that are pinned is the same.
async fn component(locked: &Locked, places: &Places<'_>) -> Result<(Vec<u8>, Digest), String> {
    match places.components.get(&locked.sha256) {
        Ok(component) => return Ok((component, locked.sha256)),
        Err(ComponentsError::Missing { .. } | ComponentsError::Changed { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let artifact = again(locked, places).await?;
    let is_pinned = artifact.digest == locked.sha256;
    let is_built = locked.is_built(&artifact);
    if !is_pinned && !is_built {
        return Err(format!(
            "{} is not what djangobot.lock pins any more (it is version {} and has sha256 {}, the lock has {} and {}); \
             `djangobot plugin update {}` takes it as it is now",
            locked.source,
            artifact.manifest.version,
            artifact.digest.short(),
            locked.version,
            locked.sha256.short(),
            locked.name
        ));
    }
    let kept = places.components.put(&artifact.component).and_then(|_| {
        match (is_pinned, artifact.sources) {
            (false, Some(sources)) => {
                let turn = places.components.turn()?;
                Builds::remember(places.components, &turn, sources, artifact.digest)
            }
            _ => Ok(()),
        }
    });
    kept.map_err(|error| error.to_string())?;
    Ok((artifact.component, artifact.digest))
}

/// What the source gives now. What is built runs code, so that only what ships is built: its code is djangobot's own.
async fn again(locked: &Locked, places: &Places<'_>) -> Result<Artifact, String> {
    let name = &locked.name;
    let source: Source = locked.source.parse().map_err(|error| format!("{error}"))?;
    let place = source
        .located(places.home)
        .map_err(|error| error.to_string())?;
    let bytes = match (place, &source) {
        (Source::File(path), _) => read_file(&path).map_err(|error| format!("its file {error}"))?,
        (Source::Https(url), _) => Downloader::new()
            .map_err(|error| error.to_string())?
            .get(&url, Some(locked.sha256), &mut |_, _| {})
            .await
            .map_err(|error| error.to_string())?,
        (Source::Folder(path), Source::Shipped(_)) => {
            let what = format!("building {name} in {}", path.display());
            tracing::info!(
                "{what}: its component is not in the state; the first time takes minutes"
            );
            let progress = Progress::of(what);
            let built = recipe::build(&path, Installs::Refused, &|line| progress.say(line)).await;
            return built.map_err(|error| match error {
                RecipeError::NotInstalled(_) => format!(
                    "{error}; `djangobot plugin update --locked {name}` asks whether it may be installed"
                ),
                error => error.to_string(),
            });
        }
        (Source::Folder(path), _) => {
            return Err(format!(
                "its component is not in the state folder; `djangobot plugin update --locked {name}` builds it in {}, and takes \
                 it if its sources are those that djangobot.lock pins",
                path.display()
            ));
        }
        (Source::Shipped(_), _) => return Err(format!("{source} is nowhere")),
    };
    // A core module was made a component before it was pinned.
    Artifact::read(&bytes).map_err(|error| error.to_string())
}

/// What is wanted of a component that is in the file `path`.
///
/// # Errors
/// A clause, where the component is none that this host can run, or is called otherwise.
pub fn wanted(
    config: &PluginConfig,
    component: &[u8],
    path: std::path::PathBuf,
) -> Result<Wanted, String> {
    let artifact = Artifact::read(component).map_err(|error| error.to_string())?;
    Ok(Wanted {
        config: config.clone(),
        digest: Digest::of(component),
        sources: None,
        path,
        config_file: None,
        may_sleep: artifact
            .wasi
            .iter()
            .any(|name| name.starts_with("wasi:io/poll@")),
        uses_roster: artifact.imports.contains("roster"),
        manifest: artifact.manifest,
        note: None,
        before: None,
    })
}
