//! For the fuzz targets: the config file's text, read as a run reads it.

use std::path::Path;

use miette::Diagnostic;

use super::File;

/// What a file with this text says, or what people are told of it.
pub fn config(text: &str) -> Result<String, String> {
    let path = Path::new("djangobot.toml");
    let told = |error: super::ConfigError| {
        let help = error.help().map(|help| help.to_string());
        format!("{error} {}", help.unwrap_or_default())
    };
    let file = File::parse(path, text).map_err(told)?;
    let target = file.layer.target(Path::new("")).map_err(told)?;
    Ok(format!("{file:?} {target:?}"))
}
