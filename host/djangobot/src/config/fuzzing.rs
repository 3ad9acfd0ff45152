//! An entry point for the fuzz targets: parses the text of a config file as a run does.

use std::path::Path;

use miette::Diagnostic;

use crate::config::{ConfigError, File};

/// Parses the text, and returns the config in `Debug`'s form.
///
/// # Errors
/// The text is not a config; the error is what people are shown.
pub fn config(text: &str) -> Result<String, String> {
    let path = Path::new("djangobot.toml");
    let shown = |error: ConfigError| {
        let help = error.help().map(|help| help.to_string());
        format!("{error} {}", help.unwrap_or_default())
    };
    let file = File::parse(path, text).map_err(shown)?;
    let target = file.layer.target(Path::new("")).map_err(shown)?;
    Ok(format!("{file:?} {target:?}"))
}
