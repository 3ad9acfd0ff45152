//! A plugin's request after its check, ready to be sent, and its change at a redirect.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::services::http::request::{HttpError, Request};

/// The largest request, in bytes: address, headers and body.
pub const MAX_REQUEST: usize = 256 << 10;
/// The largest number of headers of a request.
const MAX_HEADERS: usize = 64;
/// The largest headers of a request together, in bytes.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// The longest address, in bytes.
pub(super) const MAX_URL: usize = 8 << 10;

const METHODS: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Headers that belong to the connection, which the host alone may set. With them a plugin could smuggle a second
/// request into the connection.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// A request on its way from one address to the next.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: bytes::Bytes,
}

impl Outgoing {
    /// Checks a request, except for whether its address may be called.
    ///
    /// # Errors
    /// An [`HttpError`] for the plugin.
    pub(super) fn check(request: Request) -> Result<Self, HttpError> {
        let method = METHODS
            .iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(&request.method))
            .ok_or_else(|| {
                let known: Vec<_> = METHODS.iter().map(Method::as_str).collect();
                failed(format!("the method must be one of {}", known.join(", ")))
            })?;
        // Sizes go before parsing, whose cost grows with them.
        let mut size = request.url.len() + request.body.len();
        for (name, value) in &request.headers {
            size = size.saturating_add(name.len() + value.len());
        }
        if size > MAX_REQUEST || request.url.len() > MAX_URL {
            return Err(HttpError::TooLarge);
        }
        Ok(Self {
            method: method.clone(),
            url: parse_url(&request.url)?,
            headers: headers(&request.headers)?,
            body: request.body.into(),
        })
    }

    /// Changes the request to the address of a redirect, as browsers do: for some statuses a POST becomes a GET, and
    /// credentials are removed if the origin changes, since they are meant for the first one.
    ///
    /// # Errors
    /// The server gave an address that can't be used.
    pub(super) fn redirect(
        &mut self,
        status: StatusCode,
        location: &[u8],
    ) -> Result<(), HttpError> {
        let location = std::str::from_utf8(location)
            .ok()
            .filter(|location| location.len() <= MAX_URL)
            .ok_or_else(|| failed("the server redirected to something that is not an address"))?;
        let mut url = self.url.join(location).map_err(|why| {
            failed(format!(
                "the server redirected to something that is not an address: {why}"
            ))
        })?;
        url.set_fragment(None);
        if url.origin() != self.url.origin() {
            for name in [header::AUTHORIZATION, header::COOKIE] {
                self.headers.remove(name);
            }
        }
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::GET && self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = bytes::Bytes::new();
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
            ] {
                self.headers.remove(name);
            }
        }
        self.url = url;
        Ok(())
    }
}

fn parse_url(text: &str) -> Result<Url, HttpError> {
    let mut url =
        Url::parse(text).map_err(|why| failed(format!("the address can't be read: {why}")))?;
    // A fragment is for the client alone, and is never sent.
    url.set_fragment(None);
    Ok(url)
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, HttpError> {
    let bytes: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if given.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(HttpError::TooLarge);
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (given_name, value) in given {
        let shown: String = given_name.chars().take(64).collect();
        let name = HeaderName::from_bytes(given_name.as_bytes())
            .map_err(|_| failed(format!("{shown:?} is not the name of a header")))?;
        // Many servers read an underscore as a hyphen, so that `content_length` would be one of these, too.
        if OURS.contains(&name.as_str().replace('_', "-").as_str()) {
            return Err(failed(format!(
                "the host alone sets the header {name}; leave it out"
            )));
        }
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| failed(format!("the value of {name} has a control character")))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn failed(why: impl Into<String>) -> HttpError {
    HttpError::Failed(why.into())
}
