//! The body of an operation, and why one fails.

use bytes::Bytes;
use hyper::Method;
use serde::de::DeserializeOwned;

use crate::speakers::control::handle::ControlError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperationError {
    #[error("/control/{operation} takes other arguments: {problem}")]
    Arguments { operation: String, problem: String },
    #[error("the local Slack has no {0} /control/{1}")]
    Operation(Method, String),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("nothing of that kind happened within {0} s")]
    TimedOut(f64),
}

impl OperationError {
    pub(super) fn arguments(operation: &str, problem: &str) -> Self {
        Self::Arguments {
            operation: operation.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// Reads a body; an empty one is an empty object.
pub(super) fn read<T: DeserializeOwned>(
    operation: &str,
    body: &Bytes,
) -> Result<T, OperationError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| OperationError::arguments(operation, &error.to_string()))
}
