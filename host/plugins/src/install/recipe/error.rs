//! The errors of building a plugin's folder.

use std::io;
use std::path::PathBuf;

use crate::install::component::ArtifactError;
use crate::install::script::ScriptError;
use crate::install::source::ReadError;
use crate::manifest::{MANIFEST_FILE, ManifestError};

/// Why a plugin's folder can't be built.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The folder does not exist.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// No recipe knows the folder's language.
    #[error(
        "there is no recipe for {}{}: here only Rust (a folder with a Cargo.toml) and JavaScript (a folder with a plugin.js) are \
         built; build the component with its \
         language's own tools, and run `djangobot plugin build FILE.wasm`, which puts the {MANIFEST_FILE} next to the file into it",
        folder.display(),
        language.map_or_else(String::new, |language| format!(", which seems to be {language}"))
    )]
    NoRecipe {
        /// The folder.
        folder: PathBuf,
        /// The language that its files are typical of.
        language: Option<&'static str>,
    },
    /// The folder has no manifest.
    #[error(
        "there is no {}, which has a plugin's name, the events that it sees and the capabilities that it asks for; \
         `djangobot plugin new` writes one", .0.display()
    )]
    NoManifest(PathBuf),
    /// The manifest has mistakes.
    #[error("{}", reason.in_file(path))]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// All mistakes, with their lines.
        reason: ManifestError,
    },
    /// A program that the recipe needs can't be started.
    #[error("{program} can't be started: {reason}; {cure}")]
    NoProgram {
        /// Its name or path.
        program: String,
        /// The system's error.
        reason: io::Error,
        /// A clause.
        cure: &'static str,
    },
    /// A tool is missing. It could be installed, but nobody was asked.
    #[error("building it needs {0}, which is not installed here")]
    NotInstalled(String),
    /// No toolchain on this machine builds for WebAssembly.
    #[error("no toolchain on this machine builds Rust for wasm32-unknown-unknown\n{}", list(.0))]
    NoToolchain(Vec<String>),
    /// No C compiler on this machine compiles for WebAssembly.
    #[error("no clang on this machine compiles C for wasm32; {0}")]
    NoClang(String),
    /// A plugin's scripts can't be taken.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// There is no engine for a plugin's language.
    #[error("{0}")]
    Engine(Box<dyn std::error::Error + Send + Sync>),
    /// Cargo failed before it compiled anything, for example at a mistake in Cargo.toml.
    #[error("cargo can't read the package in {}:\n{said}", folder.display())]
    Cargo {
        /// The folder.
        folder: PathBuf,
        /// Cargo's output.
        said: String,
    },
    /// The code does not compile.
    #[error("{} does not compile:\n{said}", folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// The compiler's output.
        said: String,
    },
    /// It compiles, but not to a library that could be a plugin.
    #[error(
        "{} does not build a library for WebAssembly: its Cargo.toml needs\n[lib]\ncrate-type = [\"cdylib\"]", folder.display()
    )]
    NoLibrary {
        /// The folder.
        folder: PathBuf,
    },
    /// The file that was built can't be read.
    #[error(transparent)]
    NoOutput(ReadError),
    /// It was built, but is not a plugin.
    #[error("{} was built, but is not a plugin: {reason}", file.display())]
    NotAPlugin {
        /// The file's path.
        file: PathBuf,
        /// Why it is not one.
        reason: Box<ArtifactError>,
    },
}

fn list(tried: &[String]) -> String {
    let lines: Vec<_> = tried.iter().map(|line| format!("- {line}")).collect();
    lines.join("\n")
}
