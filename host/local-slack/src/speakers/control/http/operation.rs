//! The body of an operation, and why one fails.

use bytes::Bytes;
use hyper::Method;
use serde::de::DeserializeOwned;

use crate::speakers::control::handle::ControlError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperationError {
    #[error("/control/{0} takes other arguments: {1}")]
    Arguments(String, String),
    #[error("the local Slack has no {0} /control/{1}")]
    Operation(Method, String),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("nothing of that kind happened within {0} s")]
    TimedOut(f64),
}

/// Reads a body; an empty one is an empty object.
pub(super) fn read<T: DeserializeOwned>(
    operation: &str,
    body: &Bytes,
) -> Result<T, OperationError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| OperationError::Arguments(operation.to_owned(), error.to_string()))
}
