//! The set of plugins that the operator configured: each `[[plugin]]` of the config with the component that the lock
//! pins.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::PluginConfig;
use crate::digest::Digest;
use crate::host::ResolveError;
use crate::install::builds::Builds;
use crate::install::component::{Artifact, PinnedScript};
use crate::install::components::{Components, ComponentsError};
use crate::install::lock::{Lock, LockEntry, LockError};
use crate::install::recipe::{self, Installs, RecipeError, engines};
use crate::install::source::{Downloader, Source, read_file};
use crate::progress::Progress;
use crate::runtime::compile;
use crate::runtime::load::PluginSpec;
use crate::versions::Versions;

/// The folders from which a set is read.
pub struct PluginFolders<'a> {
    /// The folder of the config file, to which paths in sources are relative.
    pub home: &'a Path,
    /// The components of the state folder.
    pub components: &'a Components,
}

/// Finds the component of each `[[plugin]]`, in the order of the config; a plugin without one comes with the reason.
///
/// A lock that can't be read pins nothing, and its error is the reason for each plugin: nothing is loaded without a
/// pin.
pub async fn resolve(
    configs: &[PluginConfig],
    lock: &Result<Lock, LockError>,
    versions: &Versions,
    places: &PluginFolders<'_>,
) -> Vec<Result<PluginSpec, ResolveError>> {
    let mut wanted = Vec::with_capacity(configs.len());
    for config in configs {
        let found = match (&config.mistake, config.enabled, lock) {
            (_, false, _) => Err("it is disabled".into()),
            (Some(mistake), ..) => Err(mistake.clone()),
            (.., Err(error)) => Err(error.to_string()),
            (.., Ok(lock)) => one(config, lock, versions, places).await,
        };
        wanted.push(found.map_err(|why| ResolveError {
            config: config.clone(),
            why,
        }));
    }
    wanted
}

/// Deletes the components that neither the lock nor the remembered versions name, with their compiled code, and returns
/// how many they were.
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
    kept.extend(engines_of(components, &kept));
    let cache = components.cache();
    compile::tidy(&cache, &kept).map_err(|reason| ComponentsError::Disk {
        what: "tidied up",
        path: cache,
        reason,
    })?;
    components.keep_only(&kept)
}

/// The engines that script plugins among `kept` are pinned with.
fn engines_of(components: &Components, kept: &BTreeSet<Digest>) -> Vec<Digest> {
    let files = kept.iter().filter_map(|digest| components.get(digest).ok());
    let scripts = files.filter_map(|bytes| Artifact::read_again(&bytes).ok()?.script);
    scripts.filter_map(|script| script.engine).collect()
}

/// One plugin of the set. The error is a clause with the cure.
async fn one(
    config: &PluginConfig,
    lock: &Lock,
    versions: &Versions,
    places: &PluginFolders<'_>,
) -> Result<PluginSpec, String> {
    let name = &config.name;
    let cure = format!("`djangobot plugin update {name}` pins it as it is now");
    let Some(locked) = lock.get(name) else {
        return Err(format!("djangobot.lock does not pin it; {cure}"));
    };
    if locked.source != config.source {
        return Err(format!(
            "its source is {}, and djangobot.lock pins {}; {cure}",
            config.source, locked.source
        ));
    }
    // The checks go from the cheapest to the dearest: only now a component may have to be downloaded or built.
    let locked = &Builds::read(places.components).pinned(locked, places.components);
    let (locked, note) = match versions.instead_of(locked, config) {
        Some(found) => (found.version.unwrap_or(locked), Some(found.why)),
        None => (locked, None),
    };
    let (component, digest) = component(locked, places).await?;
    let wanted = wanted(config, &component, places.components.path(&digest))
        .map_err(|why| format!("{why}; {cure}"))?;
    let before = match versions.before(locked) {
        Some(before) => before_trial(config, before, places).await,
        None => None,
    };
    Ok(PluginSpec {
        note,
        sources: locked.sources,
        before,
        ..wanted
    })
}

/// The version before the one that is on trial. Without it the plugin is loaded all the same: only a roll-back fails
/// then.
async fn before_trial(
    config: &PluginConfig,
    before: &LockEntry,
    places: &PluginFolders<'_>,
) -> Option<Box<PluginSpec>> {
    let found = component(before, places)
        .await
        .and_then(|(component, digest)| {
            wanted(config, &component, places.components.path(&digest))
        });
    match found {
        Ok(wanted) => Some(Box::new(PluginSpec {
            sources: before.sources,
            ..wanted
        })),
        Err(why) => {
            let (plugin, version) = (&config.name, &before.version);
            tracing::warn!(
                plugin,
                "the plugin's version {version} can't be read, so that the version on trial can't be rolled back to it: {why}"
            );
            None
        }
    }
}

/// The component that is pinned, with its digest: from the state folder, or from its source again. Two builds are
/// seldom equal byte for byte, so a component that our recipe built from the pinned sources is taken as well.
async fn component(
    locked: &LockEntry,
    places: &PluginFolders<'_>,
) -> Result<(Vec<u8>, Digest), String> {
    match places.components.get(&locked.sha256) {
        Ok(component) => {
            ensure_engine(&component, locked, places).await?;
            return Ok((component, locked.sha256));
        }
        Err(ComponentsError::Missing { .. } | ComponentsError::Changed { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let artifact = again(locked, places).await?;
    let is_pinned = artifact.digest == locked.sha256;
    let is_built = locked.is_built(&artifact);
    if !is_pinned && !is_built {
        return Err(format!(
            "{} no longer gives what djangobot.lock pins (it gives version {} with sha256 {}, and the lock pins {} with {}); \
             `djangobot plugin update {}` pins it as it is now",
            locked.source,
            artifact.manifest.version,
            artifact.digest.short(),
            locked.version,
            locked.sha256.short(),
            locked.name
        ));
    }
    // The note about a build is written after the component: a note without its component would only be in the way.
    let kept = places.components.put_artifact(&artifact).and_then(|_| {
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

/// Sees to it that the engine of a script plugin is in the state folder.
async fn ensure_engine(
    component: &[u8],
    locked: &LockEntry,
    places: &PluginFolders<'_>,
) -> Result<(), String> {
    let script = Artifact::read_again(component)
        .ok()
        .and_then(|artifact| artifact.script);
    let Some(PinnedScript {
        script,
        engine: Some(engine),
        ..
    }) = script
    else {
        return Ok(());
    };
    let ensured = engines::ensure(places.components, script.language, &engine).await;
    ensured.map_err(|error| {
        format!(
            "{error}; `djangobot plugin update {}` pins it with the engine of this machine",
            locked.name
        )
    })
}

/// Reads the component from its source again. A build runs the code of whoever wrote the plugin, so only plugins that
/// ship are built without being asked: their code is djangobot's own. A script is only read, and runs in the sandbox.
async fn again(locked: &LockEntry, places: &PluginFolders<'_>) -> Result<Artifact, String> {
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
        (Source::Folder(path), _) if recipe::is_script(&path) => {
            let built = recipe::build(&path, Installs::Refused, &|_| {}).await;
            return built.map_err(|error| error.to_string());
        }
        (Source::Folder(path), Source::Shipped(_)) => {
            let what = format!("building {name} in {}", path.display());
            tracing::info!(
                "{what}: its component is not in the state folder; the first build takes minutes"
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
                "its component is not in the state folder; `djangobot plugin update --locked {name}` builds it in {}, and loads \
                 it if its sources are those that djangobot.lock pins",
                path.display()
            ));
        }
        // `located` gives a shipped plugin's file or folder, or fails.
        (Source::Shipped(_), _) => return Err(format!("{source} was not found on this machine")),
    };
    // A core module was made a component before it was pinned, and a script was pinned with its engine.
    let artifact = Artifact::read(&bytes).map_err(|error| error.to_string())?;
    let pinned = engines::pin(artifact, Installs::Refused, &|_| {}).await;
    pinned.map_err(|error| error.to_string())
}

/// Joins a plugin's config with the component in the file `path`, whose bytes are `component`.
///
/// # Errors
/// A clause, if this host can't run the component.
pub fn wanted(
    config: &PluginConfig,
    component: &[u8],
    path: std::path::PathBuf,
) -> Result<PluginSpec, String> {
    let artifact = Artifact::read_again(component).map_err(|error| error.to_string())?;
    let script = artifact.script;
    if script
        .as_ref()
        .is_some_and(|script| script.engine.is_none())
    {
        return Err(
            "its file names no engine, because it was built for others and not installed here"
                .into(),
        );
    }
    Ok(PluginSpec {
        config: config.clone(),
        digest: Digest::of(component),
        sources: None,
        path,
        config_file: None,
        may_sleep: artifact
            .wasi
            .iter()
            .any(|name| name.starts_with("wasi:io/poll@")),
        uses_roster: artifact.imports.contains("roster")
            || script
                .as_ref()
                .is_some_and(|script| script.script.mentions_roster()),
        script,
        manifest: artifact.manifest,
        note: None,
        before: None,
    })
}
