//! `djangobot plugin add`: obtains a plugin, asks for consent, and records it.

use std::path::Path;

use djangobot_plugins::install::recipe;
use djangobot_plugins::manifest::{self, Manifest};
use djangobot_plugins::{Artifact, Capability, Digest, LockEntry, Source};

use crate::cli::{AddArgs, ConsentArgs};
use crate::failure::Failure;
use crate::plugin::consent::{self, GrantRequest};
use crate::plugin::error::PluginError;
use crate::plugin::host;
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::{description, print};
use crate::telemetry::Terminal;

/// Obtains a plugin, shows it, asks for consent, writes config and lock, and lets the running host load it.
pub(super) async fn add(args: AddArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let (source, promised) = given(&args.source, args.sha256)?;
    if let Source::Shipped(name) = &source {
        check_name(&files, args.name.as_deref().unwrap_or(name))?;
        if Path::new(&args.source).exists() {
            print(&format!(
                "{name} means the plugin that ships with djangobot; for the file or folder here, write ./{name}\n"
            ))?;
        }
    }
    if let Source::Folder(folder) = &source {
        // The name and the consent come before the build, which may take minutes and runs the author's code.
        let manifest = manifest_of(folder, terminal)?;
        check_name(&files, args.name.as_deref().unwrap_or(&manifest.name))?;
        agree_to_build(folder, &args.consent, terminal).await?;
    }
    let artifact = files
        .obtain(&source, promised, args.consent.yes, terminal)
        .await?;
    let name = args
        .name
        .as_deref()
        .unwrap_or(&artifact.manifest.name)
        .to_owned();
    check_name(&files, &name)?;
    if !matches!(source, Source::Folder(_)) {
        print(&description(&artifact.manifest))?;
    }
    let request = GrantRequest {
        name: &name,
        manifest: &artifact.manifest,
        held: &[],
        known: &[],
    };
    let grants = consent::granted(&request, &args.consent).await?;
    let source = source.written_from(files.home());
    write(&files, &name, &source, &artifact, &grants, !args.disabled)?;
    print(&format!(
        "{name} was added to {}.\n",
        files.config.display()
    ))?;
    host::take_up(&files, &[&name], terminal).await
}

/// Reads SOURCE and --sha256: the source, and the digest that its file must have.
pub(super) fn given(
    word: &str,
    digest: Option<Digest>,
) -> Result<(Source, Option<Digest>), PluginError> {
    let here = std::env::current_dir().map_err(PluginError::below)?;
    let (source, own) = Source::given(word, &here).map_err(PluginError::below)?;
    let promised = match (own, digest) {
        (Some(own), Some(digest)) if own != digest => {
            return Err(PluginError::below(
                djangobot_plugins::install::source::SourceError::TwoDigests,
            ));
        }
        (own, digest) => own.or(digest),
    };
    match (&source, promised) {
        (Source::Https(_), None) => Err(PluginError::NoDigest(word.to_owned())),
        (Source::Folder(_), Some(_)) => Err(PluginError::DigestOfFolder),
        (Source::Shipped(_), Some(_)) => Err(PluginError::DigestOfShipped),
        _ => Ok((source, promised)),
    }
}

/// Reads the manifest of the plugin in `folder`.
fn manifest_of(folder: &Path, terminal: &Terminal) -> Result<Manifest, PluginError> {
    recipe::manifest_of(folder).map_err(|error| PluginError::recipe(error, terminal))
}

/// Shows the plugin in `folder`, and asks whether it may be built.
pub(super) async fn agree_to_build(
    folder: &Path,
    consent: &ConsentArgs,
    terminal: &Terminal,
) -> Result<(), PluginError> {
    let manifest = manifest_of(folder, terminal)?;
    print(&description(&manifest))?;
    // A script is only read: its code runs in the sandbox alone.
    if recipe::is_script(folder) {
        return Ok(());
    }
    consent::to_build(folder, &manifest, consent).await
}

/// The digest of a plugin's sources, for the lock. It is known only of a plugin that was built here or that ships.
pub(super) fn sources_of(source: &Source, artifact: &Artifact) -> Option<Digest> {
    match source {
        Source::Folder(_) | Source::Shipped(_) => artifact.sources,
        Source::File(_) | Source::Https(_) => None,
    }
}

/// Checks that `name` is valid and not in use.
fn check_name(files: &HostFiles, name: &str) -> Result<(), PluginError> {
    if !manifest::is_name(name) {
        return Err(PluginError::Name(name.to_owned()));
    }
    match files.plugin(name) {
        Ok(_) => Err(PluginError::Taken(name.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Writes component, lock and config, in this order: if the command is interrupted, the config names no plugin that
/// can't be loaded.
fn write(
    files: &HostFiles,
    name: &str,
    source: &Source,
    artifact: &Artifact,
    grants: &[Capability],
    enabled: bool,
) -> Result<(), PluginError> {
    let _turn = files.turn()?;
    let mut config = files.open_config()?;
    config
        .add(name, &source.to_string(), enabled, grants)
        .map_err(PluginError::below)?;
    let mut lock = files.read_lock()?;
    files
        .components
        .put_artifact(artifact)
        .map_err(PluginError::below)?;
    lock.set(LockEntry {
        name: name.to_owned(),
        source: source.to_string(),
        version: artifact.manifest.version.clone(),
        sha256: artifact.digest,
        sources: sources_of(source, artifact),
        grants: grants.to_vec(),
    });
    lock.write(&files.lock).map_err(PluginError::below)?;
    config.save().map_err(PluginError::below)?;
    files.tidy(&lock);
    Ok(())
}
