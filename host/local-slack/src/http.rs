//! HTTP as all interfaces here see it: a request that was read whole, and an answer.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

mod payload;

pub(crate) use payload::{HangUp, Payload};

/// A whole answer. An error ends the connection without one.
pub(crate) type HttpAnswer = Result<Response<Payload>, HangUp>;

/// A request's head and its whole body.
pub(crate) struct HttpRequest {
    pub(crate) head: hyper::http::request::Parts,
    pub(crate) body: Bytes,
}

/// An answer of plain text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Payload> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    with_body(status, "text/plain; charset=utf-8", text)
}

/// An answer with a body of the given type.
pub(crate) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Payload> {
    let mut response = Response::new(Payload::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer that is JSON, as Slack labels it.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Payload> {
    let body = Bytes::from(value.to_string());
    with_body(status, "application/json; charset=utf-8", body)
}
