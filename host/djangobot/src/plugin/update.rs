//! `djangobot plugin update`: obtains plugins again, and pins their new versions.

use djangobot_plugins::config::store_name;
use djangobot_plugins::{Artifact, Capability, Digest, LockEntry, PluginConfig, Source, grant};

use crate::cli::{ConsentArgs, UpdateArgs};
use crate::failure::Failure;
use crate::plugin::add::{agree_to_build, given, sources_of};
use crate::plugin::consent::{self, GrantRequest};
use crate::plugin::error::PluginError;
use crate::plugin::host;
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::{description, line, plain, print};
use crate::telemetry::Terminal;

/// The source that a plugin is obtained from now.
struct UpdateSource {
    source: Source,
    /// The digest that its file must have.
    promised: Option<Digest>,
    /// The source before, if this is another one: the command line names a new source, or somebody edited the config.
    moved_from: Option<String>,
}

/// Obtains plugins again, one after another, and lets the running host load the new versions.
///
/// A plugin that fails does not stop the others.
pub(super) async fn update(args: UpdateArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let names: Vec<String> = match args.names.is_empty() {
        true => files.plugins.iter().map(|one| one.name.clone()).collect(),
        false => args.names.clone(),
    };
    // A misspelt name is reported before anything is built or downloaded.
    for name in &names {
        files.plugin(name)?;
    }
    for (option, is_given) in [
        ("sha256", args.sha256.is_some()),
        ("source", args.source.is_some()),
    ] {
        if is_given && args.names.len() != 1 {
            return Err(PluginError::OneOnly(option).into());
        }
    }
    let mut updated = Vec::new();
    let mut failed = Vec::new();
    for name in &names {
        match one(&files, files.plugin(name)?, &args, terminal).await {
            Ok(true) => updated.push(name.as_str()),
            Ok(false) => {}
            Err(error) => failed.push((name, error)),
        }
    }
    if !updated.is_empty() {
        host::take_up(&files, &updated, terminal).await?;
    }
    match (failed.len(), names.len()) {
        (0, 0) => Ok(print("There are no plugins.\n")?),
        (0, _) => Ok(()),
        (1, 1) => Err(failed.remove(0).1.into()),
        (count, all) => {
            for (name, error) in failed {
                terminal.report(
                    &miette::Report::new(error).wrap_err(format!("{name} stays as it was")),
                );
            }
            Err(PluginError::NotAll(count, all).into())
        }
    }
}

/// Updates one plugin. Returns whether there is a new version for the host to load.
async fn one(
    files: &HostFiles,
    plugin: &PluginConfig,
    args: &UpdateArgs,
    terminal: &Terminal,
) -> Result<bool, PluginError> {
    let name = &plugin.name;
    if let Some(mistake) = &plugin.mistake {
        return Err(PluginError::Below(plain(mistake)));
    }
    let lock = files.read_lock()?;
    let origin = update_source(plugin, lock.get(name), args)?;
    if let Source::Folder(folder) = &origin.source
        && (origin.moved_from.is_some() || !files.has(name)?)
    {
        // Nobody agreed to build anything on this machine yet, or only another folder.
        let folder = files.home().join(folder);
        agree_to_build(&folder, &args.consent, terminal).await?;
    }
    let artifact = files
        .obtain(&origin.source, origin.promised, args.consent.yes, terminal)
        .await?;
    let old = files.pinned(&lock, name);
    let missing = grant::missing(&artifact.manifest.capabilities, &plugin.grants);
    let is_pinned = |old: &LockEntry| old.sha256 == artifact.digest || old.is_built(&artifact);
    let same = old.as_ref().is_some_and(is_pinned);
    let is_moved = origin.moved_from.is_some();
    let is_granted_more = args.consent.grant.iter().any(|grant| {
        let asked = artifact.manifest.asked();
        !plugin.grants.contains(grant) && asked.iter().any(|asked| grant.covers(asked))
    });
    let is_changed = !missing.is_empty() || is_moved || is_granted_more;
    if let (Some(old), true, false) = (&old, same, is_changed) {
        // After a checkout the state is new, and lacks the component.
        let is_new = files.keep(old, &artifact)?;
        let built = match old.sha256 == artifact.digest {
            true => "",
            false => ": it has the sources that djangobot.lock pins",
        };
        print(&format!(
            "{name} {} is up to date{built}.\n",
            artifact.manifest.version
        ))?;
        return Ok(is_new);
    }
    if args.locked {
        return Err(PluginError::NotPinned {
            name: name.clone(),
            why: unpinned(old.as_ref(), plugin, &artifact, &missing),
        });
    }
    let address = matches!(origin.source, Source::Https(_));
    if address && !same && origin.promised.is_none() {
        return Err(match old {
            Some(_) => PluginError::OtherFile {
                name: name.clone(),
                address: origin.source.to_string(),
                found: artifact.digest.to_string(),
            },
            None => PluginError::NoDigest(origin.source.to_string()),
        });
    }
    print(&description(&artifact.manifest))?;
    print_unused_grants(plugin, &artifact)?;
    let known = old.as_ref().map(|old| asked_by(files, old));
    let known = known.unwrap_or_default();
    let grants = consented(plugin, &artifact, &known, &args.consent).await?;
    let was = old
        .as_ref()
        .map(|old| format!("{} ({})", old.version, old.sha256.short()));
    // A source in the config stays as it is written there.
    let source = match args.source {
        Some(_) => origin.source.written_from(files.home()).to_string(),
        None => plugin.source.clone(),
    };
    let sources = sources_of(&origin.source, &artifact);
    let locked = LockEntry {
        name: name.clone(),
        source,
        version: artifact.manifest.version.clone(),
        sha256: artifact.digest,
        sources,
        grants: [plugin.grants.as_slice(), &grants].concat(),
    };
    {
        let _turn = files.turn()?;
        files
            .components
            .put_artifact(&artifact)
            .map_err(PluginError::below)?;
    }
    // The name of the store depends on the source. Both names mean the store until config and lock have the new source,
    // so that an interruption does not lose the plugin's data.
    let new_store = store_name(name, &locked.source);
    let store = origin.moved_from.map(|source| store_name(name, &source));
    if let Some(store) = &store {
        files.with_stores(|stores| stores.announce_move(store, &new_store))?;
    }
    // The host tries the version before the lock pins it, because the lock must pin a version that serves.
    if let Err(refused) = host::propose(files, &locked, terminal).await {
        let _turn = files.turn()?;
        files.tidy(&files.read_lock()?);
        if let Some(store) = &store {
            files.with_stores(|stores| stores.withdraw_move(store, &new_store))?;
        }
        return Err(refused);
    }
    write(files, &grants, locked)?;
    if store.is_some() {
        files.with_stores(|stores| stores.settle_name(&new_store))?;
    }
    print(&match was {
        Some(was) => format!(
            "{name} was updated from {was} to {} ({}).\n",
            artifact.manifest.version,
            artifact.digest.short()
        ),
        None => format!(
            "{name} {} was added to the lock.\n",
            artifact.manifest.version
        ),
    })?;
    Ok(true)
}

/// The source that the command line names, or else that of the config. The source before is the one in the lock: the
/// config may have been edited since.
fn update_source(
    plugin: &PluginConfig,
    locked: Option<&LockEntry>,
    args: &UpdateArgs,
) -> Result<UpdateSource, PluginError> {
    let before = locked.map_or(&plugin.source, |locked| &locked.source);
    if let Some(word) = &args.source {
        let (source, promised) = given(word, args.sha256)?;
        return Ok(UpdateSource {
            source,
            promised,
            moved_from: Some(before.clone()),
        });
    }
    let source: Source = plugin.source.parse().map_err(PluginError::below)?;
    match (&source, args.sha256) {
        (Source::Folder(_), Some(_)) => Err(PluginError::DigestOfFolder),
        (Source::Shipped(_), Some(_)) => Err(PluginError::DigestOfShipped),
        (_, promised) => Ok(UpdateSource {
            source,
            promised,
            moved_from: Some(before.clone()).filter(|before| *before != plugin.source),
        }),
    }
}

/// Describes the difference between a plugin and the version that the lock pins, in a clause.
fn unpinned(
    old: Option<&LockEntry>,
    plugin: &PluginConfig,
    artifact: &Artifact,
    missing: &[&Capability],
) -> String {
    let Some(old) = old else {
        return "the plugin is not in the lock".into();
    };
    if old.source != plugin.source {
        return format!(
            "its source is {}, and the lock has {}",
            line(&plugin.source),
            line(&old.source)
        );
    }
    let digest = |digest: Option<Digest>| digest.map_or("none".into(), |it| it.short());
    match (old.sources, artifact.sources) {
        (Some(pinned), Some(found)) if pinned != found => format!(
            "its sources have the sha256 {}, and the lock has {}",
            found.short(),
            pinned.short()
        ),
        _ if !missing.is_empty() => "it asks for more than is granted to it".into(),
        _ => format!(
            "its component has the sha256 {}, and the lock has {}",
            digest(Some(artifact.digest)),
            digest(Some(old.sha256))
        ),
    }
}

/// The capabilities that a pinned version asks for; none if it can't be read.
fn asked_by(files: &HostFiles, locked: &LockEntry) -> Vec<Capability> {
    let component = files.components.get(&locked.sha256).ok();
    let artifact = component.and_then(|component| Artifact::read(&component).ok());
    artifact.map_or_else(Vec::new, |artifact| artifact.manifest.asked())
}

async fn consented(
    plugin: &PluginConfig,
    artifact: &Artifact,
    known: &[Capability],
    consent: &ConsentArgs,
) -> Result<Vec<Capability>, PluginError> {
    let asked = artifact.manifest.asked();
    // With several plugins, a grant on the command line may be for another one.
    let own = ConsentArgs {
        yes: consent.yes,
        build: consent.build,
        grant: consent
            .grant
            .iter()
            .filter(|grant| asked.iter().any(|asked| grant.covers(asked)))
            .cloned()
            .collect(),
    };
    let request = GrantRequest {
        name: &plugin.name,
        manifest: &artifact.manifest,
        held: &plugin.grants,
        known,
    };
    consent::granted(&request, &own).await
}

/// Prints the grants that the new version no longer asks for. They stay in the config, because the operator wrote them.
fn print_unused_grants(plugin: &PluginConfig, artifact: &Artifact) -> Result<(), PluginError> {
    let asked = artifact.manifest.asked();
    let idle: Vec<_> = plugin
        .grants
        .iter()
        .filter(|grant| !asked.iter().any(|asked| grant.covers(asked)))
        .map(ToString::to_string)
        .collect();
    match idle.is_empty() {
        true => Ok(()),
        false => print(&format!(
            "This version no longer asks for {}; you can remove that from its grants.\n",
            line(&idle.join(", "))
        )),
    }
}

/// Writes config and lock, in this order: if the command is interrupted, the old version can still run. The component
/// of the old version is kept.
fn write(files: &HostFiles, grants: &[Capability], locked: LockEntry) -> Result<(), PluginError> {
    let turn = files.turn()?;
    let mut lock = files.read_lock()?;
    let before = files
        .pinned(&lock, &locked.name)
        .filter(|before| before.sha256 != locked.sha256);
    if let Some(before) = before {
        files.remember(&turn, |it| it.replaced(&locked.name, Some(before)))?;
    }
    let mut config = files.open_config()?;
    let was = config.text();
    config
        .set_source(&locked.name, &locked.source)
        .and_then(|()| config.grant(&locked.name, grants))
        .map_err(PluginError::below)?;
    if config.text() != was {
        config.save().map_err(PluginError::below)?;
    }
    lock.set(locked);
    lock.write(&files.lock).map_err(PluginError::below)?;
    files.tidy(&lock);
    Ok(())
}
