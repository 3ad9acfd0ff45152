//! `djangobot plugin engine`: builds the engine of a script language, or takes one from a file.

use std::path::{Path, PathBuf};

use djangobot_plugins::ScriptLanguage;
use djangobot_plugins::install::recipe::{Installs, engines};
use indicatif::HumanBytes;

use crate::cli::EngineCommand;
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::plugin::consent;
use crate::plugin::error::PluginError;
use crate::plugin::shown::{line, print};
use crate::telemetry::Terminal;

/// Runs a command of `plugin engine`.
pub(super) async fn engine(command: EngineCommand, terminal: &Terminal) -> Result<(), Failure> {
    terminal
        .start_logs("info", Some(LogFormat::Human))
        .map_err(Failure::usage)?;
    match command {
        EngineCommand::Add { file } => add(&file),
        EngineCommand::Build { output, yes } => build(output, yes, terminal).await,
    }
}

/// Puts an engine next to this program, where all commands find it.
fn add(file: &Path) -> Result<(), Failure> {
    let (language, place) = engines::add(file).map_err(PluginError::below)?;
    print(&format!(
        "The engine for plugins in {} is now {}.\n",
        language.title(),
        place.display()
    ))?;
    Ok(())
}

/// Builds the engine of this program's clone, if it was not built yet, and writes it to a file.
async fn build(output: Option<PathBuf>, yes: bool, terminal: &Terminal) -> Result<(), Failure> {
    let language = ScriptLanguage::JavaScript;
    let mut allowed = Installs::Refused;
    if let Some(what) = engines::lacks(language).await {
        consent::to_install(&what, yes).await?;
        allowed = Installs::Allowed;
    }
    let work = terminal.work("building the engine");
    let engine = engines::find(language, allowed, &|step| work.say(&line(step))).await;
    let engine = engine.map_err(PluginError::below)?;
    drop(work);
    let output = output.unwrap_or_else(|| format!("{}.wasm", language.name()).into());
    std::fs::write(&output, &engine.component).map_err(|reason| PluginError::Unwritten {
        path: output.clone(),
        reason,
    })?;
    print(&format!(
        "{}: the engine for plugins in {}, {}, sha256 {}\n",
        output.display(),
        language.title(),
        HumanBytes(engine.component.len() as u64),
        engine.digest
    ))?;
    Ok(())
}
