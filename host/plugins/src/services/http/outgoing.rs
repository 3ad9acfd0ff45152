//! A plugin's request, checked once: what is left of it can be put on the wire. And what becomes of it at a redirect.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::services::http::request::{HttpError, Request};

/// The largest request, in bytes: address, headers and body.
pub const MAX_REQUEST: usize = 256 << 10;
/// The most headers of a request.
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

/// Headers that say how the bytes go over the connection. The host alone knows that.
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
    /// Checks all of a request but whether its address may be called.
    pub(super) fn check(request: Request) -> Result<Self, HttpError> {
        let method = METHODS
            .iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(&request.method))
            .ok_or_else(|| {
                let known: Vec<_> = METHODS.iter().map(Method::as_str).collect();
                failed(format!("the method is none of {}", known.join(", ")))
            })?;
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

    /// Turns to the address of a redirect, as browsers do: a POST becomes a GET where the status says so or custom has
    /// it, and what proves who asks stays with the origin for which it was meant.
    pub(super) fn redirect(
        &mut self,
        status: StatusCode,
        location: &[u8],
    ) -> Result<(), HttpError> {
        let location = std::str::from_utf8(location)
            .ok()
            .filter(|location| location.len() <= MAX_URL)
            .ok_or_else(|| failed("a redirect leads to what is no address"))?;
        let mut url = self
            .url
            .join(location)
            .map_err(|why| failed(format!("a redirect leads to what is no address: {why}")))?;
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
            .map_err(|_| failed(format!("{shown:?} is no name of a header")))?;
        // Many servers read an underscore as a hyphen.
        if OURS.contains(&name.as_str().replace('_', "-").as_str()) {
            return Err(failed(format!(
                "the header {name} is the host's to set; leave it out"
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
