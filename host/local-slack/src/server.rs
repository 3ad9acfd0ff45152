//! The HTTP server: one task for each TCP connection, all owned by the accept loop.

use std::sync::{Arc, Mutex};

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
use crate::delivery::worker;
use crate::http::{HttpAnswer, HttpRequest, Payload, plain};
use crate::lock::lock;
use crate::speakers::web_api::prescribed::prescribed;
use crate::speakers::{control, files, response_url, rtm, socket_mode, web_api};
use crate::state::connection::Protocol;
use crate::state::tickets::Ticket;
use crate::{browser, socket};

/// The most that a request's body may hold, in bytes.
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// Accepts connections until it is cancelled, then cuts them all.
pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    let deliveries = core.deliveries.clone();
    let answered = {
        let core = core.clone();
        move |answer| response_url::take(&core, &answer)
    };
    connections.spawn(worker::run(deliveries, answered));
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
    let upgrade = Mutex::new(Upgrade::No);
    let service = service_fn(|request| Box::pin(answer(&core, &upgrade, request)));
    let http =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let served = http.without_shutdown().await;
    let Ok(parts) = served else {
        return;
    };
    let (stream, early) = (parts.io.into_inner(), parts.read_buf);
    // Without it TCP could hold an event back until the one before is acknowledged.
    stream.set_nodelay(true).ok();
    let upgrade = std::mem::replace(&mut *lock(&upgrade), Upgrade::No);
    match upgrade {
        Upgrade::No => {}
        Upgrade::WithoutTicket => {
            socket::turn_away(stream, &rtm::expired()).await.ok();
        }
        Upgrade::WithTicket(ticket) if matches!(ticket.protocol, Protocol::SocketMode) => {
            socket_mode::serve(&core, stream, early, ticket).await;
        }
        Upgrade::WithTicket(ticket) => rtm::serve(&core, stream, early, ticket).await,
    }
}

/// Whether a request upgraded the connection to a WebSocket, and with which ticket.
enum Upgrade {
    No,
    /// The ticket was redeemed before, has expired, or never was.
    WithoutTicket,
    WithTicket(Ticket),
}

async fn answer(
    core: &Arc<Core>,
    upgrade: &Mutex<Upgrade>,
    request: Request<Incoming>,
) -> HttpAnswer {
    let (head, body) = request.into_parts();
    if let Some(why) = browser::refusal(&head.headers) {
        tracing::warn!("refused {} {:.200}: {why}", head.method, head.uri.path());
        return Ok(plain(StatusCode::FORBIDDEN, why));
    }
    if head.uri.path() == "/link/" {
        return match prescribed(&core.access, "websocket").await? {
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
    let request = HttpRequest { head, body };
    let path = request.head.uri.path().to_owned();
    if let Some(method) = path.strip_prefix("/api/") {
        web_api::answer(core, method, request).await
    } else if let Some(operation) = path.strip_prefix("/control/") {
        Ok(control::http::answer(core, operation, request).await)
    } else if let Some(id) = path.strip_prefix("/response/") {
        Ok(response_url::answer(core, id, &request.body))
    } else if let Some(place) = path.strip_prefix("/upload/v1/") {
        files::upload(core, place, request).await
    } else if let Some(id) = path.strip_prefix("/files-pri/") {
        Ok(files::download(core, id, &request))
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
    upgrade: &Mutex<Upgrade>,
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
    let ticket = ticket.and_then(|(_, ticket)| core.tickets.redeem(&ticket));
    *lock(upgrade) = match ticket {
        Some(ticket) => Upgrade::WithTicket(ticket),
        None => Upgrade::WithoutTicket,
    };
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
