//! Answers to interactions that come after their acknowledgement: a POST to the `response_url` that Slack gave.

use bytes::Bytes;
use reqwest::header;
use url::Url;

use crate::api::{ApiError, Failure, WebApi, in_words, is_loopback};

/// How such a call is named in errors.
pub(crate) const METHOD: &str = "response_url";

impl WebApi {
    /// Posts `payload`, which is JSON, to a `response_url`, once. No token goes with it: the URL itself is the permission.
    ///
    /// Slack takes 5 answers within 30 minutes ("Handling user interaction").
    pub async fn respond(&self, url: &str, payload: Bytes) -> Result<(), ApiError> {
        let fail = |failure| ApiError {
            method: METHOD.to_owned(),
            channel: None,
            failure,
        };
        // An event is Slack's, but a mistake here would post a conversation to whoever asks for it.
        let is_safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
        let url = Url::parse(url).ok().filter(is_safe).ok_or_else(|| {
            fail(Failure::Unsendable(
                "it is no https:// address to answer to".into(),
            ))
        })?;
        let request = self
            .http()
            .post(url)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(payload);
        let response = request.send().await.map_err(|why| {
            let words = in_words(&why);
            fail(if why.is_connect() {
                Failure::Unreachable(words)
            } else {
                Failure::Interrupted(words)
            })
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(fail(Failure::Status(status.as_u16()))),
        }
    }
}
