//! The plugins that ship, and the engines of scripts: checks and tests the plugins natively, and builds all of them by
//! the commands that users have.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{StepError, cargo, output, programs, shown, workspace};

/// The folders of the plugins, below `plugins/`.
fn plugins() -> Result<Vec<PathBuf>, StepError> {
    let folder = workspace().join("plugins");
    let unreadable = |reason| StepError::Read {
        path: folder.display().to_string(),
        reason,
    };
    let mut plugins = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.join("plugin.toml").is_file() {
            plugins.push(path);
        }
    }
    plugins.sort();
    Ok(plugins)
}

/// Builds each plugin into a component, `target/guests/NAME.wasm`, and the engine, `target/guests/javascript.wasm`.
pub(crate) fn build() -> Result<(), StepError> {
    let programs = programs();
    let folder = programs.with_file_name("guests");
    std::fs::create_dir_all(&folder).map_err(|reason| StepError::Write {
        path: folder.display().to_string(),
        reason,
    })?;
    for plugin in plugins()? {
        let name = plugin
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut command = Command::new(programs.join("djangobot"));
        command
            .args(["plugin", "build", "--yes"])
            .arg(&plugin)
            .arg("-o")
            .arg(folder.join(format!("{name}.wasm")));
        shown(&format!("build the plugin {name}"), &mut command)?;
    }
    // Tests load scripts, and must not each wait for this.
    let mut command = Command::new(programs.join("djangobot"));
    command
        .args(["plugin", "engine", "build", "--yes", "-o"])
        .arg(folder.join("javascript.wasm"));
    shown("build the engine for plugins in JavaScript", &mut command)
}

/// Checks their format and lints.
pub(crate) fn check() -> Result<(), StepError> {
    shown(
        "format of the plugins",
        &mut of_plugins(&["fmt", "--all"], &["--check"]),
    )?;
    shown(
        "lints of the plugins",
        &mut of_plugins(
            &["clippy"],
            &["--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
    )?;
    let mut engine = cargo(&["fmt", "--check"]);
    engine
        .arg("--manifest-path")
        .arg(workspace().join("plugin-sdk/javascript/engine/Cargo.toml"));
    shown("format of the engine", &mut engine)?;
    // The benchmark's guest is built as users build plugins, which must not change its lock file in version control.
    let mut lock = cargo(&["metadata", "--locked", "--format-version", "1"]);
    lock.arg("--manifest-path")
        .arg(workspace().join("tests/bench/guest/Cargo.toml"));
    output(&mut lock).map(drop)
}

/// Runs their tests natively.
pub(crate) fn test() -> Result<(), StepError> {
    shown(
        "run the tests of the plugins",
        &mut of_plugins(&["test"], &["--workspace"]),
    )
}

/// Makes a cargo command in the plugins' workspace.
fn of_plugins(command: &[&str], arguments: &[&str]) -> Command {
    let mut cargo = cargo(command);
    cargo
        .arg("--manifest-path")
        .arg(workspace().join("plugins/Cargo.toml"))
        .args(arguments);
    cargo
}
