//! A plugin's request, and why it has no answer.

/// What a plugin asks; the interface's `request`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST` and the like.
    pub method: String,
    /// `https://...`.
    pub url: String,
    /// In order; a name may come more than once.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
    /// Shortens the time that there is.
    pub timeout_ms: Option<u32>,
}

/// Why there is no answer; the interface's `http-error`. The texts are for the plugin, and say nothing of the network
/// that the host is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not granted, or not public.
    #[error("{0}")]
    Denied(String),
    /// It took too long.
    #[error("the time was over before the answer was there")]
    Timeout,
    /// The request or the answer.
    #[error("the request or the answer is too large")]
    TooLarge,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}
