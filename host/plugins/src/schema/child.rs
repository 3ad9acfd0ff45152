//! The child process that checks a config against its schema. The schema comes from whoever wrote the plugin, and a
//! short one may ask for more work than any machine can do, so the child has limits of its own.

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
/// Processor seconds of the child. A schema that people write takes a thousandth of one.
const MAX_CPU: u64 = 2;
/// How long the parent waits for the child; longer than its processor time, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 256 << 10;
/// The largest question, in bytes: schema and config together.
const MAX_QUESTION: u64 = 4 << 20;

/// The child's input. Generic, because the parent borrows the values and the child owns them.
#[derive(Serialize, Deserialize)]
struct CheckRequest<V> {
    schema: V,
    config: V,
}

/// Why a config could not be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The manifest's `config-schema` is not a JSON Schema.
    #[error("its config-schema is not a JSON Schema: {0}")]
    NotASchema(CleanText),
    /// The child reached its limits, or the question was too large for it.
    #[error(
        "checking its config against its config-schema takes more than {MAX_CPU} s of a processor or {} GiB of memory, and was ended; its author must make the schema simpler",
        MAX_MEMORY >> 30
    )]
    Exhausted,
    /// The child could not be started, or did not answer as it should.
    #[error("its config can't be checked in a process of its own: {0}")]
    Child(String),
}

/// Checks `config` in a child, and returns its problems.
///
/// # Errors
/// The schema is not a JSON Schema, or takes too much, or the child failed.
pub(crate) async fn check(
    program: &Path,
    manifest: &Manifest,
    config: &Value,
) -> Result<Vec<ConfigProblem>, SchemaError> {
    let Some(schema) = &manifest.config_schema else {
        return Ok(without_schema(config));
    };
    let question = serde_json::to_vec(&CheckRequest { schema, config })
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
        // Running out of time ends the child by a signal, and running out of memory or stack by an abort, which is one
        // too.
        None => Err(SchemaError::Exhausted),
        Some(_) => Err(SchemaError::Child(CleanText::new(&said).into())),
    }
}

/// The child's exit code for a schema that is not a JSON Schema.
const NOT_A_SCHEMA: i32 = 3;

/// The child's work: it reads the question from stdin and answers it within its limits. Returns the bytes for stdout.
///
/// # Errors
/// The exit code, and a clause for stderr, which the parent reads.
pub fn child() -> Result<Vec<u8>, (u8, String)> {
    let broken = |why: String| (1, why);
    child::limit(MAX_MEMORY, MAX_CPU).map_err(broken)?;
    let mut question = Vec::new();
    std::io::stdin()
        .take(MAX_QUESTION)
        .read_to_end(&mut question)
        .map_err(|error| broken(error.to_string()))?;
    let question: CheckRequest<Value> =
        serde_json::from_slice(&question).map_err(|error| broken(error.to_string()))?;
    let problems =
        problems(&question.schema, &question.config).map_err(|why| (NOT_A_SCHEMA as u8, why))?;
    serde_json::to_vec(&problems).map_err(|error| broken(error.to_string()))
}
