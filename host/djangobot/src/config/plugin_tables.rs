//! Reads the `[[plugin]]` tables, each by itself, so that a mistake in one keeps only that plugin from loading.

use std::path::Path;

use djangobot_plugins::install::source::Source;
use djangobot_plugins::{OnError, PluginConfig, manifest};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::{located, suggestion, without_strings};

/// The key of the tables.
const KEY: &str = "plugin";
/// The key that says whether events may pass without the plugin.
const ON_ERROR: &str = "on-error";

/// Takes the plugins out of the file's tables.
///
/// # Errors
/// The key `plugin` is not a list of tables. The error is a sentence for people.
pub(super) fn read(
    path: &Path,
    text: &str,
    file: &mut DeTable<'_>,
) -> Result<Vec<PluginConfig>, String> {
    let Some(tables) = file.remove(KEY) else {
        return Ok(Vec::new());
    };
    let span = tables.span();
    let no_list = |span| {
        let message = "plugins are written as [[plugin]], with two brackets";
        located(path, text, Some(span), message)
    };
    let DeValue::Array(tables) = tables.into_inner() else {
        return Err(no_list(span));
    };
    let mut plugins: Vec<PluginConfig> = Vec::new();
    for table in tables {
        if !table.get_ref().is_table() {
            return Err(no_list(table.span()));
        }
        let plugin = one(path, text, table, &plugins);
        plugins.push(plugin);
    }
    Ok(plugins)
}

/// Reads one plugin. If the table has a mistake, `mistake` of the result says which.
fn one(
    path: &Path,
    text: &str,
    table: Spanned<DeValue<'_>>,
    before: &[PluginConfig],
) -> PluginConfig {
    let start = table.span();
    let line = text[..start.start.min(text.len())].matches('\n').count() + 1;
    let wrong = |message: &str| located(path, text, Some(start.clone()), message);
    let mut legible = legible(table.get_ref());
    let read = PluginConfig::deserialize(ValueDeserializer::from(table));
    let is_taken = |name: &str| before.iter().any(|one| one.name == name);
    let mistake = match read {
        Err(error) => {
            let message = without_strings(error.message());
            let help = suggestion(&message).map_or_else(String::new, |it| format!(" ({it})"));
            let span = error.span().or(Some(start));
            format!("{}{help}", located(path, text, span, &message))
        }
        Ok(plugin) => {
            let name = &plugin.name;
            if !manifest::is_name(name) {
                wrong(&format!(
                    "{name:?} is not a plugin's name: a name has only lower-case letters, digits and hyphens"
                ))
            } else if is_taken(name) {
                wrong(&format!(
                    "there is a second plugin {name:?}; give each [[plugin]] a name of its own"
                ))
            } else if let Err(error) = plugin.source.parse::<Source>() {
                wrong(&format!("the plugin {name:?}: {error}"))
            } else {
                return plugin;
            }
        }
    };
    // Its name must differ from those of all other plugins, or the two would be taken for each other.
    if !legible.is_named() {
        legible.name = format!("the [[plugin]] of line {line}");
    } else if is_taken(&legible.name) {
        legible.name = format!("{} of line {line}", legible.name);
    }
    legible.mistake = Some(mistake);
    legible
}

/// Reads as much as possible of a table with a mistake.
///
/// If `on-error` or a key that looks like it can't be read, it counts as `hold`: a guard whose config has a typing
/// mistake must not let events pass.
fn legible(table: &DeValue<'_>) -> PluginConfig {
    let text = |key| table.get(key).and_then(|value| value.get_ref().as_str());
    let mut plugin = PluginConfig::new(text("name").unwrap_or(""), text("source").unwrap_or(""));
    let enabled = table.get("enabled").and_then(|it| it.get_ref().as_bool());
    plugin.enabled = enabled.unwrap_or(true);
    let written = table.as_table().and_then(|table| {
        let near = |key: &str| strsim::damerau_levenshtein(key, ON_ERROR) <= 3;
        table.iter().find(|(key, _)| near(key.get_ref()))
    });
    plugin.on_error = match written {
        None => OnError::Pass,
        Some((_, value)) => value
            .get_ref()
            .as_str()
            .and_then(OnError::named)
            .unwrap_or(OnError::Hold),
    };
    plugin
}
