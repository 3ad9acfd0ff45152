//! A refusal of a call, as Slack words it.

use std::time::Duration;

use serde_json::Value;

/// Why a call fails: Slack's code, and what goes with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) error: String,
    /// Sentences for `response_metadata.messages`.
    pub(super) messages: Vec<String>,
    /// For `missing_scope` and `unknown_method`.
    pub(super) more: Vec<(&'static str, Value)>,
    /// For `ratelimited`.
    pub(super) retry_after: Option<u64>,
}

impl From<&str> for Refusal {
    fn from(error: &str) -> Self {
        Refusal {
            error: error.to_owned(),
            messages: Vec::new(),
            more: Vec::new(),
            retry_after: None,
        }
    }
}

impl Refusal {
    pub(crate) fn missing(field: &str) -> Self {
        Refusal::invalid(format!("[ERROR] missing required field: {field}"))
    }

    pub(crate) fn invalid(message: String) -> Self {
        Refusal {
            messages: vec![message],
            ..Refusal::from("invalid_arguments")
        }
    }

    pub(crate) fn too_fast(wait: Duration) -> Self {
        Refusal {
            // Whole seconds, never less than what there is to wait.
            retry_after: Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            ..Refusal::from("ratelimited")
        }
    }
}
