//! `djangobot plugin add`.

use djangobot_plugins::manifest::{self, MANIFEST_FILE, Manifest};
use djangobot_plugins::{Artifact, Capability, Digest, Locked, Source};

use super::error::PluginError;
use super::place::Place;
use super::shown::{description, print};
use super::{consent, host};
use crate::cli::AddArgs;
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// Obtains a plugin, shows it, has it agreed to, writes it down, and has the running host take it up.
pub(super) async fn add(args: AddArgs, terminal: &Terminal) -> Result<(), Failure> {
    let place = Place::open(&args.files, terminal)?;
    let (source, promised) = given(&args.source, args.sha256)?;
    // Before a build that may take minutes.
    if let Some(name) = args.name.clone().or_else(|| foretold(&source)) {
        free(&place, &name)?;
    }
    let artifact = place.obtain(&source, promised, terminal).await?;
    let name = args
        .name
        .as_deref()
        .unwrap_or(&artifact.manifest.name)
        .to_owned();
    free(&place, &name)?;
    print(&description(&artifact))?;
    let asked = &artifact.manifest.capabilities;
    let grants = consent::granted(&name, asked, &[], &args.consent).await?;
    let source = source.written_from(place.home()).to_string();
    write(&place, &name, &source, &artifact, &grants, !args.disabled)?;
    print(&format!(
        "{name} is written to {}.\n",
        place.config.display()
    ))?;
    host::take_up(&place, &[&name], terminal).await
}

/// What SOURCE and --sha256 mean.
pub(super) fn given(
    word: &str,
    digest: Option<Digest>,
) -> Result<(Source, Option<Digest>), PluginError> {
    let here = std::env::current_dir().map_err(PluginError::below)?;
    let (source, own) = Source::given(word, &here).map_err(PluginError::below)?;
    let promised = match (own, digest) {
        (Some(own), Some(digest)) if own != digest => {
            return Err(PluginError::below(
                djangobot_plugins::source::BadSource::TwoDigests,
            ));
        }
        (own, digest) => own.or(digest),
    };
    match (&source, promised) {
        (Source::Https(_), None) => Err(PluginError::NoDigest(word.to_owned())),
        (Source::Folder(_), Some(_)) => Err(PluginError::DigestOfFolder),
        _ => Ok((source, promised)),
    }
}

/// The name that a folder's plugin will have; what is wrong there is for the build to say.
fn foretold(source: &Source) -> Option<String> {
    let Source::Folder(folder) = source else {
        return None;
    };
    let text = std::fs::read_to_string(folder.join(MANIFEST_FILE)).ok()?;
    Some(Manifest::parse(&text).ok()?.name)
}

fn free(place: &Place, name: &str) -> Result<(), PluginError> {
    if !manifest::is_name(name) {
        return Err(PluginError::Name(name.to_owned()));
    }
    match place.plugin(name) {
        Ok(_) => Err(PluginError::Taken(name.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Component, lock, config, in this order: whenever this is cut short, the config names nothing that can't be loaded.
fn write(
    place: &Place,
    name: &str,
    source: &str,
    artifact: &Artifact,
    grants: &[Capability],
    enabled: bool,
) -> Result<(), PluginError> {
    let _turn = place.turn()?;
    let mut config = place.open_config()?;
    config
        .add(name, source, enabled, grants)
        .map_err(PluginError::below)?;
    let mut lock = place.read_lock()?;
    place
        .components
        .put(&artifact.component)
        .map_err(PluginError::below)?;
    lock.set(Locked {
        name: name.to_owned(),
        source: source.to_owned(),
        version: artifact.manifest.version.clone(),
        sha256: artifact.digest,
        grants: grants.to_vec(),
    });
    lock.write(&place.lock).map_err(PluginError::below)?;
    config.save().map_err(PluginError::below)?;
    place.tidy(&lock);
    Ok(())
}
