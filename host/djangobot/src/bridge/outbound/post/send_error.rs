//! Why a request was not carried out.

use djangobot_slack::ApiError;

use crate::bridge::reply::SendFailure;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum SendError {
    /// It can't be, and that is its outcome.
    Failed(SendFailure),
    /// We stop before it was its turn: it is for the next start.
    Stopped,
    /// Slack takes nothing from us any more, this message or another: it is for who mends that.
    Barred(SendFailure),
}

impl From<SendFailure> for SendError {
    fn from(refusal: SendFailure) -> Self {
        Self::Failed(refusal)
    }
}

/// What Slack said, as a sentence that another can follow.
pub(super) fn refused(error: &ApiError) -> SendFailure {
    SendFailure::new(error.code(), format!("{error}."))
}

pub(super) fn too_old() -> SendFailure {
    SendFailure::new(
        "too_old",
        "It could not be sent before it was older than max-age below [slack] lets messages become.",
    )
}
