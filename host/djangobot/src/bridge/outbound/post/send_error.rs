//! The error of a request that was not carried out.

use djangobot_slack::ApiError;

use crate::bridge::reply::SendFailure;

/// The error of a request that was not carried out.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It failed for good: this is its outcome.
    Failed(SendFailure),
    /// A stop came first. The next start carries it out.
    Stopped,
    /// Slack refuses all calls of this token. The message stays in the outbox until there is another token.
    Barred(SendFailure),
}

impl From<SendFailure> for SendError {
    fn from(refusal: SendFailure) -> Self {
        Self::Failed(refusal)
    }
}

/// Slack's refusal as a failure. Its detail is a sentence that others can follow.
pub(super) fn refused(error: &ApiError) -> SendFailure {
    SendFailure::new(error.code(), format!("{error}."))
}

/// The failure of a message that is older than `slack.max-age`.
pub(super) fn too_old() -> SendFailure {
    SendFailure::new(
        "too_old",
        "The message exceeded slack.max-age before it could be sent.",
    )
}
