//! `djangobot plugin build`: makes one file of a plugin's folder.

use std::path::{Path, PathBuf};

use djangobot_plugins::Digest;
use djangobot_plugins::install::recipe;
use djangobot_plugins::manifest::MANIFEST_FILE;
use indicatif::HumanBytes;

use crate::cli::BuildArgs;
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::host_files::{build_folder, check_schema};
use crate::plugin::shown::{description, print};
use crate::telemetry::Terminal;

/// Builds a folder, or puts a manifest into a component or module that is already built, and writes one file.
pub(super) async fn build(args: BuildArgs, terminal: &Terminal) -> Result<(), Failure> {
    terminal
        .start_logs("info", Some(LogFormat::Human))
        .map_err(Failure::usage)?;
    let artifact = if args.path.is_file() {
        let beside = args.path.parent().unwrap_or(Path::new(""));
        let manifest = args.manifest.unwrap_or_else(|| beside.join(MANIFEST_FILE));
        recipe::pack(&args.path, &manifest).map_err(|error| PluginError::recipe(error, terminal))?
    } else {
        build_folder(&args.path, args.yes, terminal).await?
    };
    check_schema(&artifact).await?;
    let output = args
        .output
        .unwrap_or_else(|| PathBuf::from(format!("{}.wasm", artifact.manifest.name)));
    let file = artifact.published();
    std::fs::write(&output, &file).map_err(|reason| PluginError::Unwritten {
        path: output.clone(),
        reason,
    })?;
    print(&format!(
        "{}{}: {}, sha256 {}\n",
        description(&artifact.manifest),
        output.display(),
        HumanBytes(file.len() as u64),
        Digest::of(&file)
    ))?;
    Ok(())
}
