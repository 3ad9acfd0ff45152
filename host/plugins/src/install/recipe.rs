//! Recipes build a component from a plugin's folder: they recognise the language, run its toolchain, and put the
//! manifest into the component.

mod clang;
mod command;
pub mod engines;
mod error;
mod rust;
mod sources;
#[cfg(test)]
mod tests;
mod toolchain;

use std::path::{Path, PathBuf};

pub use self::error::RecipeError;

use crate::digest::Digest;
use crate::install::component::{Artifact, MAX_SIZE};
use crate::install::script::{Script, ScriptLanguage};
use crate::manifest::{MANIFEST_FILE, Manifest};

/// A function that gets the lines of a build's output, for people.
pub type BuildOutput<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Whether a build may install the tools that this machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installs {
    /// A person agreed to it.
    Allowed,
    /// Nobody was asked. A missing tool is an error.
    Refused,
}

/// A language that plugins are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `Cargo.toml`.
    Rust,
    /// `plugin.js` and the like. Nothing is compiled.
    Script(ScriptLanguage, &'static str),
}

/// Files that are typical of languages without a recipe: the error can then name the language.
const OTHERS: &[(&str, &str)] = &[
    ("package.json", "JavaScript"),
    ("pyproject.toml", "Python"),
    ("requirements.txt", "Python"),
    ("go.mod", "Go"),
    ("Makefile", "C"),
    ("CMakeLists.txt", "C"),
];
/// The same by the extensions of files.
const ENDINGS: &[(&str, &str)] = &[
    ("js", "JavaScript"),
    ("ts", "TypeScript"),
    ("py", "Python"),
    ("go", "Go"),
    ("c", "C"),
];

impl Language {
    /// The language of the plugin in `folder`.
    ///
    /// # Errors
    /// There is no such folder, or no recipe for its language.
    pub fn of(folder: &Path) -> Result<Self, RecipeError> {
        if !folder.is_dir() {
            return Err(RecipeError::NoFolder(folder.to_owned()));
        }
        if folder.join("Cargo.toml").is_file() {
            return Ok(Self::Rust);
        }
        if let Some((language, main)) = ScriptLanguage::of(folder) {
            return Ok(Self::Script(language, main));
        }
        let by_name = OTHERS.iter().find(|(file, _)| folder.join(file).is_file());
        let by_ending = || {
            let files: Vec<_> = std::fs::read_dir(folder)
                .ok()?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            ENDINGS.iter().find(|(ending, _)| {
                files
                    .iter()
                    .any(|file| file.extension().is_some_and(|own| own == *ending))
            })
        };
        let found = by_name.or_else(by_ending);
        Err(RecipeError::NoRecipe {
            folder: folder.to_owned(),
            language: found.map(|(_, language)| *language),
        })
    }
}

/// The output of a language's recipe.
struct Output {
    /// The file with a component or a core module.
    file: PathBuf,
    /// The digest of its sources, if it could be computed.
    sources: Option<Digest>,
}

/// Builds the plugin in `folder`. Dropping the future ends the build.
///
/// Two builds in the same cargo workspace wait for each other, since cargo locks its target folder.
///
/// # Errors
/// A [`RecipeError`]; for a failed compilation, with the compiler's whole output.
pub async fn build(
    folder: &Path,
    installs: Installs,
    told: &BuildOutput<'_>,
) -> Result<Artifact, RecipeError> {
    let language = Language::of(folder)?;
    let manifest = manifest(&folder.join(MANIFEST_FILE))?;
    let Output { file, sources } = match language {
        Language::Rust => rust::build(folder, None, installs, told).await?,
        Language::Script(language, main) => {
            let script = Script::read(folder, language, main)?;
            let engine = engines::find(language, installs, told).await;
            let engine = engine.map_err(|reason| RecipeError::Engine(reason.into()))?;
            return Artifact::of_script(&manifest, &script, engine).map_err(|reason| {
                RecipeError::NotAPlugin {
                    file: folder.join(main),
                    reason: Box::new(reason),
                }
            });
        }
    };
    let bytes = crate::install::source::read_file(&file).map_err(RecipeError::NoOutput)?;
    Artifact::built(&bytes, &manifest, sources).map_err(|reason| RecipeError::NotAPlugin {
        file,
        reason: Box::new(reason),
    })
}

/// The manifest of the plugin in `folder`, read before any of its code runs.
///
/// # Errors
/// The folder can't be built, or its manifest is wrong.
pub fn manifest_of(folder: &Path) -> Result<Manifest, RecipeError> {
    Language::of(folder)?;
    let path = folder.join(MANIFEST_FILE);
    let text = manifest(&path)?;
    Manifest::parse(&text).map_err(|reason| RecipeError::Manifest { path, reason })
}

/// The tools that would have to be installed to build the plugin in `folder`, in words for people. `None` if no tool is
/// missing, or if it can't be installed from here.
pub async fn lacks(folder: &Path) -> Option<String> {
    match Language::of(folder).ok()? {
        Language::Rust => toolchain::Toolchain::lacks(folder).await,
        Language::Script(language, _) => engines::lacks(language).await,
    }
}

/// Whether the plugin in `folder` is a script, so that no code of its author runs on this machine outside of the sandbox
/// when it is built.
pub fn is_script(folder: &Path) -> bool {
    matches!(Language::of(folder), Ok(Language::Script(..)))
}

/// Builds the engine whose package is in `folder`, with cargo's output in `target`, and returns its component.
pub(crate) async fn build_engine(
    folder: &Path,
    target: &Path,
    installs: Installs,
    told: &BuildOutput<'_>,
) -> Result<Vec<u8>, RecipeError> {
    let clang = clang::Clang::find(installs, told).await?;
    let engine = rust::EngineBuild {
        clang: &clang,
        target: target.to_owned(),
    };
    let Output { file, .. } = rust::build(folder, Some(&engine), installs, told).await?;
    crate::install::source::read_file(&file).map_err(RecipeError::NoOutput)
}

/// The tools that [`build_engine`] would install, in words for people.
pub(crate) async fn lacks_for_engine(folder: &Path) -> Option<String> {
    let rust = toolchain::Toolchain::lacks(folder).await;
    let missing: Vec<_> = rust
        .into_iter()
        .chain(clang::Clang::lacks().await)
        .collect();
    match missing.is_empty() {
        true => None,
        false => Some(missing.join(", and ")),
    }
}

/// The digest of all files in `folders`, except for hidden ones and build output.
pub(crate) fn sources_of_folders(folders: &[&Path]) -> std::io::Result<Digest> {
    sources::of_folders(folders)
}

/// Puts the manifest in the file `manifest` into the component or core module in `file`, however that was built.
///
/// # Errors
/// One of the files can't be read, or the result is not a plugin.
pub fn pack(file: &Path, manifest: &Path) -> Result<Artifact, RecipeError> {
    let text = self::manifest(manifest)?;
    let bytes = crate::install::source::read_file(file).map_err(RecipeError::NoOutput)?;
    Artifact::with_manifest(&bytes, &text).map_err(|reason| RecipeError::NotAPlugin {
        file: file.to_owned(),
        reason: Box::new(reason),
    })
}

/// The text of a manifest that was checked. A build checks it first, because building may take minutes.
fn manifest(path: &Path) -> Result<String, RecipeError> {
    let text = match crate::file::read_text(path, MAX_SIZE) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(RecipeError::NoManifest(path.to_owned()));
        }
        Err(reason) => {
            return Err(RecipeError::NoOutput(crate::install::source::ReadError {
                path: path.to_owned(),
                reason,
            }));
        }
    };
    match Manifest::parse(&text) {
        Ok(_) => Ok(text),
        Err(reason) => Err(RecipeError::Manifest {
            path: path.to_owned(),
            reason,
        }),
    }
}
