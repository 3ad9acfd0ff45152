//! The engines of script plugins: one component for each language, next to an installed program, or built in a clone
//! when a script is loaded for the first time.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::file;
use crate::install::component::{self, Artifact, ArtifactError, EngineArtifact, MAX_SIZE};
use crate::install::components::{Components, ComponentsError};
use crate::install::recipe::{self, BuildOutput, Installs, RecipeError, sources_of_folders};
use crate::install::script::{ScriptEngine, ScriptLanguage};
use crate::install::shipped;

/// The folder of the engines, among the files that come with an installed program.
const ENGINES: &str = "engines";
/// The folder of cargo's output in a clone.
const TARGET: &str = "target";
/// The folder of the engines that were built in a clone, below that.
const BUILT: &str = "engines";

/// The error if there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This machine has none, and can't build one.
    #[error(
        "there is no engine for plugins in {} on this machine: {} does not exist, and this program does not lie in a clone of \
         its source, where the engine would be built; take the engine from a release of djangobot, and run `djangobot plugin \
         engine add {}.wasm`", language.title(), looked.display(), language.name()
    )]
    Missing {
        /// The language.
        language: ScriptLanguage,
        /// The place where it would be.
        looked: PathBuf,
    },
    /// Its file can't be read.
    #[error("the engine {} can't be read: {reason}", path.display())]
    Unread {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// Its file can't be written.
    #[error("the engine {} can't be written: {reason}", path.display())]
    Unwritten {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// Its file is not an engine that this host can run.
    #[error("{} is not an engine of script plugins: {reason}", path.display())]
    NotAnEngine {
        /// The file's path.
        path: PathBuf,
        /// Why it is not one.
        reason: Box<ArtifactError>,
    },
    /// It can't be built in the clone.
    #[error("the engine for plugins in {} can't be built: {reason}", language.title())]
    Build {
        /// The language.
        language: ScriptLanguage,
        /// Why.
        reason: Box<RecipeError>,
    },
    /// The plugin is pinned with another engine.
    #[error("it is pinned with the {} engine {}, and this machine has {}", language.title(), wanted.short(), found.short())]
    Other {
        /// The language.
        language: ScriptLanguage,
        /// The pinned engine.
        wanted: Digest,
        /// The engine on this machine.
        found: Digest,
    },
    /// The state folder refused it.
    #[error(transparent)]
    State(#[from] ComponentsError),
}

impl From<EngineArtifact> for ScriptEngine {
    fn from(artifact: EngineArtifact) -> Self {
        Self {
            digest: Digest::of(&artifact.component),
            component: artifact.component,
            sources: artifact.sources,
        }
    }
}

/// Finds the engine of a language: next to the program, or else in the clone that the program lies in, where it is built
/// if its sources have changed since the last time.
///
/// # Errors
/// An [`EngineError`].
pub async fn find(
    language: ScriptLanguage,
    installs: Installs,
    told: &BuildOutput<'_>,
) -> Result<ScriptEngine, EngineError> {
    let program = shipped::program();
    let installed = place_from(program.as_deref(), language);
    if shipped::is_installed(program.as_deref(), &installed) {
        return read(&installed).map(ScriptEngine::from);
    }
    let Some(place) = InClone::of(language) else {
        return Err(EngineError::Missing {
            language,
            looked: installed,
        });
    };
    let sources = place.sources();
    if let Some(built) = place.built_from(sources) {
        return Ok(built.into());
    }
    tracing::info!(
        "building the engine for plugins in {} in {}; this is done once, and takes a minute or more",
        language.title(),
        place.folder.display()
    );
    let built = recipe::build_engine(&place.folder, &place.target, installs, told).await;
    let bytes = built.map_err(|reason| EngineError::Build {
        language,
        reason: Box::new(reason),
    })?;
    let not_an_engine = |reason| EngineError::NotAnEngine {
        path: place.built.clone(),
        reason: Box::new(reason),
    };
    let engine = component::as_engine(&bytes, language, sources).map_err(not_an_engine)?;
    write(&place.built, &engine)?;
    Ok(engine.into())
}

/// The tools that would have to be installed before [`find`] can give the engine, in words for people.
pub async fn lacks(language: ScriptLanguage) -> Option<String> {
    let program = shipped::program();
    let installed = place_from(program.as_deref(), language);
    if shipped::is_installed(program.as_deref(), &installed) {
        return None;
    }
    let place = InClone::of(language)?;
    match place.built_from(place.sources()) {
        Some(_) => None,
        None => recipe::lacks_for_engine(&place.folder).await,
    }
}

/// Pins a script plugin's file that names no engine with the engine of this machine. Any other file stays as it is.
///
/// # Errors
/// This machine has no engine.
pub async fn pin(
    artifact: Artifact,
    installs: Installs,
    told: &BuildOutput<'_>,
) -> Result<Artifact, EngineError> {
    match &artifact.script {
        Some(pinned) if pinned.engine.is_none() => {
            let engine = find(pinned.script.language, installs, told).await?;
            Ok(artifact.pinned(engine))
        }
        _ => Ok(artifact),
    }
}

/// Puts the engine with `digest` into the state, if it is not there.
///
/// # Errors
/// This machine has another engine, or none.
pub async fn ensure(
    components: &Components,
    language: ScriptLanguage,
    digest: &Digest,
) -> Result<(), EngineError> {
    match components.get(digest) {
        Ok(_) => return Ok(()),
        Err(ComponentsError::Missing { .. } | ComponentsError::Changed { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let engine = find(language, Installs::Refused, &|_| {}).await?;
    if engine.digest != *digest {
        return Err(EngineError::Other {
            language,
            wanted: *digest,
            found: engine.digest,
        });
    }
    components.put(&engine.component)?;
    Ok(())
}

/// Makes the file at `path` the engine of its language for this program, and returns the language and the place.
///
/// # Errors
/// It is not an engine, or the place can't be written to.
pub fn add(path: &Path) -> Result<(ScriptLanguage, PathBuf), EngineError> {
    let engine = read(path)?;
    let place = place_from(shipped::program().as_deref(), engine.language);
    write(&place, &engine)?;
    Ok((engine.language, place.canonicalize().unwrap_or(place)))
}

/// Writes an engine to its file, whose folder may be missing.
fn write(path: &Path, engine: &EngineArtifact) -> Result<(), EngineError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| file::replace(path, &engine.component))
        .map_err(|reason| EngineError::Unwritten {
            path: path.to_owned(),
            reason,
        })
}

/// Reads an engine from its file.
fn read(path: &Path) -> Result<EngineArtifact, EngineError> {
    let bytes = file::read(path, MAX_SIZE).map_err(|reason| EngineError::Unread {
        path: path.to_owned(),
        reason,
    })?;
    EngineArtifact::read(bytes).map_err(|reason| EngineError::NotAnEngine {
        path: path.to_owned(),
        reason: Box::new(reason),
    })
}

/// The place of an engine that comes with an installed program.
fn place_from(program: Option<&Path>, language: ScriptLanguage) -> PathBuf {
    shipped::place_from(program, ENGINES, language.name())
}

/// The engine of a language in a clone.
struct InClone {
    /// The folder of its package.
    folder: PathBuf,
    /// The folder with the interface, which the package uses.
    wit: PathBuf,
    /// The folder of cargo's output.
    target: PathBuf,
    /// The file that was built.
    built: PathBuf,
}

impl InClone {
    fn of(language: ScriptLanguage) -> Option<Self> {
        let clone = shipped::clone()?;
        let folder = clone
            .join("plugin-sdk")
            .join(language.name())
            .join("engine");
        let target = clone.join(TARGET);
        folder.join("Cargo.toml").is_file().then(|| Self {
            folder,
            wit: clone.join("wit"),
            built: target.join(BUILT).join(format!("{}.wasm", language.name())),
            target,
        })
    }

    /// The digest of its sources; `None` if they can't be read.
    fn sources(&self) -> Option<Digest> {
        sources_of_folders(&[&self.folder, &self.wit]).ok()
    }

    /// The engine that was built before, if its sources are still these.
    fn built_from(&self, sources: Option<Digest>) -> Option<EngineArtifact> {
        let built = read(&self.built).ok()?;
        (sources.is_some() && built.sources == sources).then_some(built)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_engine_beside_an_installed_program_is_found_unless_every_user_can_write_there() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("bin/djangobot");
        std::fs::create_dir_all(root.path().join("bin")).unwrap();
        let place = place_from(Some(&program), ScriptLanguage::JavaScript);
        assert!(!shipped::is_installed(Some(&program), &place));
        std::fs::create_dir_all(root.path().join("share/djangobot/engines")).unwrap();
        std::fs::write(
            root.path().join("share/djangobot/engines/javascript.wasm"),
            "",
        )
        .unwrap();
        let allow = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(root.path(), mode).unwrap();
        };
        allow(0o755);
        assert!(shipped::is_installed(Some(&program), &place));
        allow(0o1777);
        assert!(!shipped::is_installed(Some(&program), &place));
    }
}
