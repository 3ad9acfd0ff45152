//! The steps of a chore: commands that are announced and timed, and that end the chore if they fail.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use djangobot_tests::environment::directory;

/// A chore failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The command can't be started.
    #[error("{command} can't be started: {reason}")]
    Start {
        command: String,
        reason: std::io::Error,
    },
    /// The command failed. Its output is here if it was not shown while the command ran.
    #[error("{command} failed ({status})\n{output}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        output: String,
    },
    /// Two steps failed, of which neither needs the other.
    #[error("{0}\nerror: {1}")]
    Both(Box<StepError>, Box<StepError>),
    /// The machine lacks something that this program may not or can't install.
    #[error("{0}")]
    Missing(String),
    /// A fuzz target failed.
    #[error("{0}")]
    Fuzz(String),
    /// A dependency violates `deny.toml`.
    #[error("{0}")]
    Supply(String),
    /// A file or folder can't be read.
    #[error("{path} can't be read: {reason}")]
    Read {
        path: String,
        reason: std::io::Error,
    },
    /// A file of the environment can't be written.
    #[error("{path} can't be written: {reason}")]
    Write {
        path: String,
        reason: std::io::Error,
    },
}

/// Runs `command` and shows its output.
pub(crate) fn shown(title: &str, command: &mut Command) -> Result<(), StepError> {
    println!("==> {title}");
    let started = Instant::now();
    let name = name(command);
    let status = command.status().map_err(|reason| StepError::Start {
        command: name.clone(),
        reason,
    })?;
    if !status.success() {
        return Err(StepError::Failed {
            command: name,
            status,
            output: String::new(),
        });
    }
    println!("==> {title}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs `command` and shows its output only if it fails.
pub(crate) fn quiet(title: &str, command: &mut Command) -> Result<(), StepError> {
    println!("==> {title}");
    let started = Instant::now();
    output(command)?;
    println!("==> {title}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs `command` and returns its standard output, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String, StepError> {
    let name = name(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|reason| StepError::Start {
            command: name.clone(),
            reason,
        })?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(StepError::Failed {
        command: name,
        status: output.status,
        output: format!("{printed}\n{}", errors.trim()),
    })
}

/// Makes a command of the cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace());
    cargo
}

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// The folder of the built programs that tests run.
pub(crate) fn programs() -> PathBuf {
    let target = directory().parent().map(Path::to_owned).unwrap_or_default();
    target.join("debug")
}

fn name(command: &Command) -> String {
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
