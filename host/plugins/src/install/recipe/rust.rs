//! The recipe for Rust: it runs cargo for wasm32-unknown-unknown, in a target folder that all guests of a workspace
//! share.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::install::recipe::clang::Clang;
use crate::install::recipe::command::{CommandOutput, run};
use crate::install::recipe::toolchain::{Toolchain, plain};
use crate::install::recipe::{BuildOutput, Installs, Output, RecipeError, sources};

/// The guests' target folder, below cargo's own.
const GUESTS: &str = "wasm-guests";
const NO_CARGO: &str = "https://rustup.rs tells how to install Rust";

/// An engine, which is built otherwise than plugins are.
pub(super) struct EngineBuild<'a> {
    /// Compiles its parts in C.
    pub(super) clang: &'a Clang,
    /// The folder in which cargo builds it.
    pub(super) target: PathBuf,
}

/// Builds the package in `folder`, which is a plugin or an engine.
pub(super) async fn build(
    folder: &Path,
    engine: Option<&EngineBuild<'_>>,
    installs: Installs,
    told: &BuildOutput<'_>,
) -> Result<Output, RecipeError> {
    // Cargo reports files by their real paths, with which this one is compared.
    let folder = folder
        .canonicalize()
        .map_err(|_| RecipeError::NoFolder(folder.to_owned()))?;
    let toolchain = Toolchain::find(&folder, installs, told).await?;
    let Metadata {
        target_directory,
        workspace_root,
    } = Metadata::of(&folder).await?;
    let target_directory = engine.map_or(target_directory, |engine| engine.target.clone());
    // One folder for all guests of a workspace, so that the standard library is built once.
    let target = target_directory.join(GUESTS);
    let mut cargo = toolchain.cargo_build(&folder);
    if let Some(engine) = engine {
        engine.clang.compile_with(&mut cargo);
    }
    cargo
        .arg("--target-dir")
        .arg(&target)
        .arg("--message-format=json-render-diagnostics");
    let ended = start(run(cargo, told).await, toolchain.name())?;
    if !ended.status.success() {
        return Err(RecipeError::Failed {
            folder,
            said: complaint(&ended.stderr),
        });
    }
    // Cargo reports all packages that it built, and the plugin's own last.
    let library = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok())
        .filter_map(|message| message.library_of(&folder))
        .next_back();
    let Some(file) = library else {
        return Err(RecipeError::NoLibrary { folder });
    };
    // An engine's sources are known before it is built (`install/recipe/engines.rs`).
    if engine.is_some() {
        return Ok(Output {
            file,
            sources: None,
        });
    }
    let sources = sources::digest(&folder, &workspace_root, &target, &file.with_extension("d"));
    Ok(Output {
        sources: sources
            .inspect_err(|error| {
                tracing::warn!(
                    "the sources of {} could not be read, so that the lock pins the component alone: {error}",
                    folder.display()
                );
            })
            .ok(),
        file,
    })
}

/// The part of cargo's metadata of a workspace that is used here.
#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

impl Metadata {
    async fn of(folder: &Path) -> Result<Self, RecipeError> {
        let mut cargo = plain("cargo", folder);
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        // These say where the user wants the output of builds, so that they are kept here.
        for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                // A relative path is relative to our working directory, not to the plugin's folder.
                cargo.env(
                    name,
                    std::path::absolute(&value).unwrap_or_else(|_| value.into()),
                );
            }
        }
        let ended = start(run(cargo, &|_| {}).await, "cargo")?;
        match serde_json::from_str::<Self>(&ended.stdout) {
            Ok(metadata) if ended.status.success() => Ok(metadata),
            _ => Err(RecipeError::Cargo {
                folder: folder.to_owned(),
                said: complaint(&ended.stderr),
            }),
        }
    }
}

fn start(
    ended: std::io::Result<CommandOutput>,
    program: &str,
) -> Result<CommandOutput, RecipeError> {
    ended.map_err(|reason| RecipeError::NoProgram {
        program: program.to_owned(),
        reason,
        cure: NO_CARGO,
    })
}

/// A message of cargo about something that it built (`--message-format=json`).
#[derive(Debug, Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: BuildTarget,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct BuildTarget {
    #[serde(default)]
    kind: Vec<String>,
}

impl CargoMessage {
    /// The library of the package in `folder`, if the message is about it.
    fn library_of(self, folder: &Path) -> Option<PathBuf> {
        let is_it = self.reason == "compiler-artifact"
            && self.target.kind.iter().any(|kind| kind == "cdylib")
            && self.manifest_path == folder.join("Cargo.toml");
        self.filenames
            .into_iter()
            .find(|file| is_it && file.extension().is_some_and(|ending| ending == "wasm"))
    }
}

/// The output of cargo and the compiler, without cargo's lines about its progress.
fn complaint(stderr: &str) -> String {
    const PROGRESS: &[&str] = &[
        "Adding",
        "Blocking",
        "Checking",
        "Compiling",
        "Downloaded",
        "Downloading",
        "Finished",
        "Fresh",
        "Locking",
        "Updating",
    ];
    let kept: Vec<_> = stderr
        .lines()
        .filter(|line| {
            // Cargo aligns its words of progress so that they end in column 12.
            let word = line.trim_start().split(' ').next().unwrap_or_default();
            let indent = line.len() - line.trim_start().len();
            !(PROGRESS.contains(&word) && indent + word.len() == 12)
        })
        .collect();
    kept.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_the_compilers_output_without_progress() {
        let stderr = "    Updating crates.io index\n   Compiling a v0.1.0 (/x)\nerror[E0308]: mismatched types\n --> src/lib.rs:1:1\n  |\n1 | Compiling\n\nerror: could not compile `a`\n";
        assert_eq!(
            complaint(stderr),
            "error[E0308]: mismatched types\n --> src/lib.rs:1:1\n  |\n1 | Compiling\n\nerror: could not compile `a`"
        );
    }

    #[test]
    fn the_library_is_that_of_the_folder() {
        let check = |line: &str, expect: Option<&str>| {
            let message: CargoMessage = serde_json::from_str(line).unwrap();
            let file = message.library_of(Path::new("/p"));
            assert_eq!(file, expect.map(PathBuf::from), "{line}");
        };
        let built = |folder: &str, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{folder}/Cargo.toml","target":{{"kind":["{kind}"]}},"filenames":["/t/a.d","/t/a.wasm"]}}"#
            )
        };
        check(&built("/p", "cdylib"), Some("/t/a.wasm"));
        check(&built("/p", "lib"), None);
        check(&built("/other", "cdylib"), None);
        check(r#"{"reason":"build-finished","success":true}"#, None);
    }
}
