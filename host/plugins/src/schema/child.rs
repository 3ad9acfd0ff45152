//! A schema comes from whoever wrote the plugin, and a short one may ask for more work than any machine does. So a child
//! with limits of its own checks schema and config, as one compiles the component.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use djangobot_event::CleanText;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child;
use crate::manifest::Manifest;
use crate::schema::problem::{ConfigProblem, problems, without_schema};

/// The subcommand that the child is started with. It reads a question from stdin.
pub const SUBCOMMAND: &str = "check-plugin-config";

/// Address space of the child, in bytes.
const MAX_MEMORY: u64 = 1 << 30;
/// Processor seconds of the child: a schema that people write takes a thousandth of one.
const MAX_CPU: u64 = 2;
/// How long the child is waited for; longer than its processor time, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of its answer.
const MAX_ANSWER: u64 = 256 << 10;
/// Bytes of schema and config together.
const MAX_QUESTION: u64 = 4 << 20;

/// What the child is asked.
#[derive(Serialize, Deserialize)]
struct Question<V> {
    schema: V,
    config: V,
}

/// Why it is not known whether a config is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The manifest's `config-schema` is not a JSON Schema.
    #[error("its config-schema is not a JSON Schema: {0}")]
    NotASchema(CleanText),
    /// The child was ended.
    #[error(
        "checking its config against its config-schema takes more than {MAX_CPU} s of a processor or {} GiB of memory, and was given up; the schema must be made simpler",
        MAX_MEMORY >> 30
    )]
    Exhausted,
    /// There is no child, or it did not say what it should.
    #[error("its config can't be checked in a process of its own: {0}")]
    Child(String),
}

/// What is wrong with `config`.
///
/// # Errors
/// The schema is none, or takes too much.
pub(crate) async fn check(
    program: &Path,
    manifest: &Manifest,
    config: &Value,
) -> Result<Vec<ConfigProblem>, SchemaError> {
    let Some(schema) = &manifest.config_schema else {
        return Ok(without_schema(config));
    };
    let question = serde_json::to_vec(&Question { schema, config })
        .map_err(|error| SchemaError::Child(error.to_string()))?;
    if question.len() as u64 > MAX_QUESTION {
        return Err(SchemaError::Exhausted);
    }
    let ended = child::run(program, &[SUBCOMMAND], &question, PATIENCE, MAX_ANSWER).await;
    let ended = ended.map_err(|reason| {
        SchemaError::Child(format!("{} can't be started: {reason}", program.display()))
    })?;
    let Some(ended) = ended else {
        return Err(SchemaError::Exhausted);
    };
    let said = String::from_utf8_lossy(&ended.stderr);
    match ended.status.code() {
        Some(0) => serde_json::from_slice(&ended.stdout)
            .map_err(|error| SchemaError::Child(error.to_string())),
        Some(NOT_A_SCHEMA) => Err(SchemaError::NotASchema(CleanText::new(&said))),
        // Out of time is a signal, and out of memory or stack an abort.
        None => Err(SchemaError::Exhausted),
        Some(_) => Err(SchemaError::Child(CleanText::new(&said).into())),
    }
}

/// The child's exit code where the schema is none.
const NOT_A_SCHEMA: i32 = 3;

/// What the child does: answers the question on stdin, within its limits. Gives what to write to stdout, or the exit code
/// and what to write to stderr.
///
/// # Errors
/// An exit code and a sentence for the parent.
pub fn child() -> Result<Vec<u8>, (u8, String)> {
    let broken = |why: String| (1, why);
    child::limit(MAX_MEMORY, MAX_CPU).map_err(broken)?;
    let mut question = Vec::new();
    std::io::stdin()
        .take(MAX_QUESTION)
        .read_to_end(&mut question)
        .map_err(|error| broken(error.to_string()))?;
    let question: Question<Value> =
        serde_json::from_slice(&question).map_err(|error| broken(error.to_string()))?;
    let problems =
        problems(&question.schema, &question.config).map_err(|why| (NOT_A_SCHEMA as u8, why))?;
    serde_json::to_vec(&problems).map_err(|error| broken(error.to_string()))
}
