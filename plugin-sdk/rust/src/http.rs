//! HTTP requests to hosts that the operator granted. A host needs the grant `http:HOST`.
//!
//! ```no_run
//! use djangobot_plugin::{Error, http::Request};
//! use serde_json::json;
//!
//! # fn f() -> Result<(), Error> {
//! let answer = Request::post("https://api.example.com/translate")
//!     .header("authorization", "Bearer 123")
//!     .json(&json!({"text": "hallo"}))?
//!     .fetch()?;
//! let translated: String = answer.json()?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, imports};

pub use crate::bindings::djangobot::plugin::http::{HttpError, Request, Response};

impl Request {
    /// A request of any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Request {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value of your own, as JSON, with the matching `content-type`.
    ///
    /// # Errors
    /// The value can't be written as JSON.
    pub fn json(self, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(body)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Sets how long to wait for the answer. The host's own limit holds as well.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout_ms = Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Makes the request. An answer is not an error, whatever its status.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn fetch(&self) -> Result<Response, HttpError> {
        imports::http::fetch(self)
    }
}

impl Response {
    /// Whether the status is between 200 and 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, which may be written in upper or lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text. Bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a type of your own.
    ///
    /// # Errors
    /// The body is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
