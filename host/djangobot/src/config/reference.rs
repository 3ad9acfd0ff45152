//! For the tests of the documents: a config file's text, read as a run reads it, without the files that it names.

use std::path::Path;

use crate::config::File;

/// Reads it; the error is the text for people, also for tables of plugins.
pub(crate) fn read(path: &Path, text: &str) -> Result<(), String> {
    let file = File::parse(path, text).map_err(|error| error.to_string())?;
    let target = file.layer.target(Path::new(""));
    target.map_err(|error| error.to_string())?;
    match file.plugin.into_iter().find_map(|plugin| plugin.mistake) {
        Some(mistake) => Err(mistake),
        None => Ok(()),
    }
}
