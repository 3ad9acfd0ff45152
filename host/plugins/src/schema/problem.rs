//! Problems of a config: the places where it does not fit its schema.

use djangobot_event::CleanText;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One place where a config does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("its config does not fit its schema: {}{message}", place(.pointer))]
pub struct ConfigProblem {
    /// The place in the config: an RFC 6901 pointer, empty for the config as a whole.
    pub pointer: String,
    /// A clause.
    pub message: String,
}

/// The number of problems that are reported of one config: enough to work on, and few enough for a terminal.
const MAX_PROBLEMS: usize = 20;

/// The pointer in the words of the config file: `config.fields.1: `.
fn place(pointer: &str) -> String {
    match pointer.strip_prefix('/') {
        Some(key) => format!("config.{}: ", key.replace('/', ".")),
        None => String::new(),
    }
}

/// Refuses each reference of a schema that leads out of it. Nothing is read from the disk or the network for a schema.
struct OwnPartsOnly;

impl jsonschema::Retrieve for OwnPartsOnly {
    fn retrieve(
        &self,
        _: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a config-schema may refer only to its own parts, such as \"#/$defs/name\"".into())
    }
}

pub(super) fn problems(schema: &Value, config: &Value) -> Result<Vec<ConfigProblem>, String> {
    let validator = jsonschema::options()
        .with_retriever(OwnPartsOnly)
        .build(schema)
        .map_err(|error| error.to_string())?;
    let problem = |error: jsonschema::ValidationError<'_>| ConfigProblem {
        pointer: error.instance_path().to_string(),
        // The message quotes the value, which may be large.
        message: CleanText::new(&error.to_string()).into(),
    };
    let found = validator.iter_errors(config);
    Ok(found.take(MAX_PROBLEMS).map(problem).collect())
}

/// The problems of a config whose plugin has no schema: such a plugin takes no config at all.
pub(super) fn without_schema(config: &Value) -> Vec<ConfigProblem> {
    let is_empty = config.as_object().is_some_and(|config| config.is_empty());
    let message = "the plugin takes no config, since its manifest has no config-schema".to_owned();
    match is_empty {
        true => Vec::new(),
        false => vec![ConfigProblem {
            pointer: String::new(),
            message,
        }],
    }
}
