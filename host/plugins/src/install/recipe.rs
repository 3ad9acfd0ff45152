//! From a plugin's folder to its component: recognises the language, runs its toolchain, puts the manifest in.

mod command;
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
use crate::manifest::{MANIFEST_FILE, Manifest};

/// Is told what is being done, a line at a time, for people.
pub type Told<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Whether what a build needs and this machine lacks may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installs {
    /// A person agreed to it.
    Allowed,
    /// Nobody was asked. What is lacking is an error that says so.
    Refused,
}

/// A language that plugins are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `Cargo.toml`.
    Rust,
}

/// Files that tell of a language for which there is no recipe.
const OTHERS: &[(&str, &str)] = &[
    ("package.json", "JavaScript"),
    ("pyproject.toml", "Python"),
    ("requirements.txt", "Python"),
    ("go.mod", "Go"),
    ("Makefile", "C"),
    ("CMakeLists.txt", "C"),
];
/// Likewise, by how a file's name ends.
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
    /// There is no such folder, or no recipe for what is in it.
    pub fn of(folder: &Path) -> Result<Self, RecipeError> {
        if !folder.is_dir() {
            return Err(RecipeError::NoFolder(folder.to_owned()));
        }
        if folder.join("Cargo.toml").is_file() {
            return Ok(Self::Rust);
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

/// What a language's recipe gives.
struct Output {
    /// A component or a core module.
    file: PathBuf,
    /// Of what it was built from, where that is known.
    sources: Option<Digest>,
}

/// Builds the plugin in `folder`. Dropping the future ends the build.
///
/// Two builds that share a cargo workspace wait for each other.
///
/// # Errors
/// A [`RecipeError`]; of a failed compilation, with all that the compiler said.
pub async fn build(
    folder: &Path,
    installs: Installs,
    told: &Told<'_>,
) -> Result<Artifact, RecipeError> {
    let language = Language::of(folder)?;
    let manifest = manifest(&folder.join(MANIFEST_FILE))?;
    let Output { file, sources } = match language {
        Language::Rust => rust::build(folder, installs, told).await?,
    };
    let bytes = crate::install::source::read_file(&file).map_err(RecipeError::NoOutput)?;
    Artifact::built(&bytes, &manifest, sources).map_err(|reason| RecipeError::NotAPlugin {
        file,
        reason: Box::new(reason),
    })
}

/// What the plugin in `folder` says of itself, before anything of it is run.
///
/// # Errors
/// There is nothing that can be built, or its manifest is wrong.
pub fn manifest_of(folder: &Path) -> Result<Manifest, RecipeError> {
    Language::of(folder)?;
    let path = folder.join(MANIFEST_FILE);
    let text = manifest(&path)?;
    Manifest::parse(&text).map_err(|reason| RecipeError::Manifest { path, reason })
}

/// What would have to be installed on this machine to build the plugin in `folder`, if that can be.
pub async fn lacks(folder: &Path) -> Option<String> {
    match Language::of(folder).ok()? {
        Language::Rust => toolchain::Toolchain::lacks(folder).await,
    }
}

/// Puts the manifest in `manifest` into the component, or core module, in `file`, whatever built it.
///
/// # Errors
/// One of them can't be read, or they make no plugin.
pub fn pack(file: &Path, manifest: &Path) -> Result<Artifact, RecipeError> {
    let text = self::manifest(manifest)?;
    let bytes = crate::install::source::read_file(file).map_err(RecipeError::NoOutput)?;
    Artifact::with_manifest(&bytes, &text).map_err(|reason| RecipeError::NotAPlugin {
        file: file.to_owned(),
        reason: Box::new(reason),
    })
}

/// The manifest's text, once it is known to be one: before a build, which may take minutes.
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
