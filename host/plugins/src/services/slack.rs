//! Calls of Slack's Web API for plugins: the trait by which the program makes them.

use std::time::Duration;

use async_trait::async_trait;
use djangobot_event::Event;

/// Calls Slack's Web API with the host's own token.
#[async_trait]
pub trait SlackApi: Send + Sync {
    /// Makes one call of `method`, within `limit`, and returns Slack's answer, a JSON object.
    ///
    /// # Errors
    /// A [`CallError`]; the call is never tried again.
    async fn call(
        &self,
        method: &str,
        arguments: &Event,
        limit: Duration,
    ) -> Result<String, CallError>;
}

/// Why a call of the Web API did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The Web API has no such method, or it does not take these arguments: a clause.
    Invalid(String),
    /// The method may be called again after this time.
    RateLimited(Duration),
    /// Slack refused the call.
    Refused {
        /// Slack's code.
        error: String,
        /// A sentence.
        detail: String,
    },
    /// Slack can't be called now, or gave no answer in time: a clause.
    Unavailable(String),
}

/// A host without a connection to Slack.
#[async_trait]
impl SlackApi for () {
    async fn call(&self, _: &str, _: &Event, _: Duration) -> Result<String, CallError> {
        Err(CallError::Unavailable(
            "this host has no connection to Slack".into(),
        ))
    }
}
