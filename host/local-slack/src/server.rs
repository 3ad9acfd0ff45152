//! The HTTP server: one task for each TCP connection, all owned by the accept loop.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::socket::{self, Protocol, Ticket};
use crate::speakers::{control, response_url, rtm, socket_mode, web_api};
use crate::state::files;
use crate::{browser, delivery, lock};

mod payload;

pub(crate) use payload::Payload;

/// The most that a request's body may hold, in bytes.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// A whole answer. An error ends the connection without one.
pub(crate) type Answered = Result<Response<Payload>, HangUp>;

/// The connection is closed without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("hung up, as was asked for")]
pub(crate) struct HangUp;

/// A request's head and its whole body.
pub(crate) struct Asked {
    pub(crate) head: hyper::http::request::Parts,
    pub(crate) body: Bytes,
}

/// Accepts connections until it is cancelled, then cuts them all.
pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    connections.spawn(delivery::run(core.clone()));
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(core.clone(), stream));
                }
                // Out of file descriptors, most likely: others have to be closed first.
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// Serves HTTP on one connection, and RTM or Socket Mode on it once it was upgraded.
async fn connection(core: Arc<Core>, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| Box::pin(answer(&core, &upgrade, request)));
    let http =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let served = http.without_shutdown().await;
    let (Ok(parts), Some(ticket)) = (served, lock(&upgrade).take()) else {
        return;
    };
    let (stream, early) = (parts.io.into_inner(), parts.read_buf);
    // Without it an event could wait for the acknowledgement of the one before.
    stream.set_nodelay(true).ok();
    match ticket {
        None => {
            socket::turn_away(stream, &rtm::expired()).await.ok();
        }
        Some(ticket) if matches!(ticket.protocol, Protocol::SocketMode) => {
            socket_mode::serve(&core, stream, early, ticket).await;
        }
        Some(ticket) => rtm::serve(&core, stream, early, ticket).await,
    }
}

/// The ticket that came with an upgrade; inside, `None` where it is no good.
type Upgrade = Mutex<Option<Option<Ticket>>>;

async fn answer(core: &Arc<Core>, upgrade: &Upgrade, request: Request<Incoming>) -> Answered {
    let (head, body) = request.into_parts();
    if let Some(why) = browser::refusal(&head.headers) {
        tracing::warn!("refused {} {:.200}: {why}", head.method, head.uri.path());
        return Ok(plain(StatusCode::FORBIDDEN, why));
    }
    if head.uri.path() == "/link/" {
        return match web_api::prescribed(core, "websocket").await? {
            Some(prescribed) => Ok(prescribed),
            None => Ok(upgraded(core, upgrade, &head)),
        };
    }
    let body = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long or broke off",
            ));
        }
    };
    let asked = Asked { head, body };
    let path = asked.head.uri.path().to_owned();
    if let Some(method) = path.strip_prefix("/api/") {
        web_api::answer(core, method, asked).await
    } else if let Some(operation) = path.strip_prefix("/control/") {
        Ok(control::http::answer(core, operation, asked).await)
    } else if let Some(id) = path.strip_prefix("/response/") {
        Ok(response_url::answer(core, id, &asked.body))
    } else if let Some(place) = path.strip_prefix("/upload/v1/") {
        files::upload(core, place, asked).await
    } else if let Some(id) = path.strip_prefix("/files-pri/") {
        Ok(files::download(core, id, &asked))
    } else {
        Ok(plain(
            StatusCode::NOT_FOUND,
            "the local Slack has /api/, /response/, /upload/, /files-pri/ and /control/",
        ))
    }
}

/// Answers the WebSocket handshake (RFC 6455, section 4.2).
fn upgraded(
    core: &Core,
    upgrade: &Upgrade,
    head: &hyper::http::request::Parts,
) -> Response<Payload> {
    let Some(key) = head.headers.get(header::SEC_WEBSOCKET_KEY) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "this is the address of a WebSocket",
        );
    };
    let query = head.uri.query().unwrap_or_default();
    let ticket = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
    let ticket = ticket.and_then(|(_, ticket)| socket::redeem(core, &ticket));
    *lock(upgrade) = Some(ticket);
    let accept = derive_accept_key(key.as_bytes());
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
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
