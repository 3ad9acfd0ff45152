//! Why a plugin's folder gives no component.

use std::io;
use std::path::PathBuf;

use crate::install::component::ArtifactError;
use crate::install::source::ReadError;
use crate::manifest::{MANIFEST_FILE, ManifestError};

/// Why a plugin's folder gives no component.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// There is nothing to build.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// We can't build it ourselves.
    #[error(
        "there is no recipe for {}{}: folders with a Cargo.toml are built (Rust); build the component with its language's \
         own tools, and `djangobot plugin build FILE.wasm` puts the {MANIFEST_FILE} beside it into it",
        folder.display(),
        language.map_or_else(String::new, |language| format!(", which seems to be {language}"))
    )]
    NoRecipe {
        /// Which folder.
        folder: PathBuf,
        /// What it looks like.
        language: Option<&'static str>,
    },
    /// A plugin says who it is.
    #[error(
        "there is no {}: a plugin says there what it is called, what it sees and what it asks for; `djangobot plugin new` \
         shows one", .0.display()
    )]
    NoManifest(PathBuf),
    /// What it says of itself is wrong.
    #[error("{}", reason.in_file(path))]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// All mistakes, with their lines.
        reason: ManifestError,
    },
    /// A program that a recipe needs.
    #[error("{program} can't be started: {reason}; {cure}")]
    NoProgram {
        /// Its name or path.
        program: String,
        /// The system's word.
        reason: io::Error,
        /// A clause.
        cure: &'static str,
    },
    /// It could be installed, and nobody was asked.
    #[error("building it needs {0}, which is not installed here")]
    NotInstalled(String),
    /// Nothing on this machine builds for WebAssembly.
    #[error("no toolchain here builds Rust for wasm32-unknown-unknown\n{}", list(.0))]
    NoToolchain(Vec<String>),
    /// Cargo itself, not the compiler: its Cargo.toml, say.
    #[error("cargo does not understand {}:\n{said}", folder.display())]
    Cargo {
        /// Which folder.
        folder: PathBuf,
        /// Its own words.
        said: String,
    },
    /// The code does not compile.
    #[error("{} does not build:\n{said}", folder.display())]
    Failed {
        /// Which folder.
        folder: PathBuf,
        /// The compiler's own words.
        said: String,
    },
    /// It compiles, and to nothing that could be a plugin.
    #[error(
        "{} builds no library for WebAssembly: its Cargo.toml needs\n[lib]\ncrate-type = [\"cdylib\"]", folder.display()
    )]
    NoLibrary {
        /// Which folder.
        folder: PathBuf,
    },
    /// What was built can't be read.
    #[error(transparent)]
    NoOutput(ReadError),
    /// It was built, and is no plugin.
    #[error("{} was built, and is no plugin: {reason}", file.display())]
    NotAPlugin {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        reason: Box<ArtifactError>,
    },
}

fn list(tried: &[String]) -> String {
    let lines: Vec<_> = tried.iter().map(|line| format!("- {line}")).collect();
    lines.join("\n")
}
