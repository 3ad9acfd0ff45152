//! What is wrong with a config, by its schema.

use djangobot_event::CleanText;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("its config is not what its schema asks for: {}{message}", place(.pointer))]
pub struct ConfigProblem {
    /// Where in the config: an RFC 6901 pointer, empty for the config as a whole.
    pub pointer: String,
    /// A clause.
    pub message: String,
}

/// Problems of one config that are told.
const MAX_PROBLEMS: usize = 20;

fn place(pointer: &str) -> String {
    match pointer.strip_prefix('/') {
        Some(key) => format!("config.{}: ", key.replace('/', ".")),
        None => String::new(),
    }
}

pub(super) fn problems(schema: &Value, config: &Value) -> Result<Vec<ConfigProblem>, String> {
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    let problem = |error: jsonschema::ValidationError<'_>| ConfigProblem {
        pointer: error.instance_path().to_string(),
        // It has the value in it, which may be large.
        message: CleanText::new(&error.to_string()).into(),
    };
    let found = validator.iter_errors(config);
    Ok(found.take(MAX_PROBLEMS).map(problem).collect())
}

/// What is wrong with the config of a plugin that has no schema.
pub(super) fn without_schema(config: &Value) -> Vec<ConfigProblem> {
    let is_empty = config.as_object().is_some_and(|config| config.is_empty());
    let message = "the plugin takes no config".to_owned();
    match is_empty {
        true => Vec::new(),
        false => vec![ConfigProblem {
            pointer: String::new(),
            message,
        }],
    }
}
