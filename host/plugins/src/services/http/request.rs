//! A plugin's request as the plugin gives it, and the errors that it gets.

/// A plugin's request; the interface's `request`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method: `GET`, `POST` and so on.
    pub method: String,
    /// The address: `https://...`.
    pub url: String,
    /// The headers in order. A name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// The body; may be empty.
    pub body: Vec<u8>,
    /// A limit in milliseconds, if it shall be shorter than that of the call.
    pub timeout_ms: Option<u32>,
}

/// Why a request has no answer; the interface's `http-error`. The texts are for the plugin, and reveal nothing about
/// the network of the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The host was not granted, or its address is not public.
    #[error("{0}")]
    Denied(String),
    /// The answer took too long.
    #[error("the answer did not come in time")]
    Timeout,
    /// The request or the answer was too large.
    #[error("the request or the answer is too large")]
    TooLarge,
    /// Another failure, as a clause.
    #[error("{0}")]
    Failed(String),
}
