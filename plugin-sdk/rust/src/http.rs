//! HTTP to hosts that the operator granted. Needs the grant `http:HOST`.
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

use crate::{Error, host};

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

    /// Sets the body to a value of yours, as JSON, and says so in a header.
    ///
    /// # Errors
    /// The value can't be written as JSON.
    pub fn json(self, body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(body)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// How long to wait for the answer; beyond the host's own limit it has no effect.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout_ms = Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Makes the call. An answer of any status is an answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn fetch(&self) -> Result<Response, HttpError> {
        host::http::fetch(self)
    }
}

impl Response {
    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a type of yours.
    ///
    /// # Errors
    /// It is no JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
