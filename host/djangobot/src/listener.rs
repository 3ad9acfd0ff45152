//! `--listen` and `--admin-listen`: serves health, readiness and metrics over HTTP, and accepts Slack's requests.

mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, map_request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use djangobot_channels::LayerError;
use djangobot_event::CleanText;
use djangobot_event::lock::lock;
use local_slack::browser;
use miette::Diagnostic;
use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Whether the bridge can do its work. Each part of the bridge sets what it knows.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Whether there is a connection to Slack.
    pub(crate) slack: AtomicBool,
    /// Whether Slack's Web API fails all calls at the moment.
    pub(crate) web_api_away: AtomicBool,
    /// Whether the channel layer could do all that a bridge needs when it was last checked.
    pub(crate) layer: AtomicBool,
    /// The last calls of the senders and readers of the layer.
    pub(crate) layer_use: LayerUse,
    /// The host that serves the app, if it is another one.
    other_host: Mutex<Option<String>>,
}

/// The failures of those who use the layer. A server that answers a ping may still refuse their calls.
#[derive(Debug, Default)]
pub(crate) struct LayerUse {
    failures: Mutex<BTreeMap<String, LayerFailure>>,
}

#[derive(Debug)]
struct LayerFailure {
    error: LayerError,
    since: Instant,
}

impl LayerUse {
    /// Notes that the last call of `user` failed.
    pub(crate) fn failed(&self, user: &str, error: &LayerError) {
        let failure = LayerFailure {
            error: error.clone(),
            since: Instant::now(),
        };
        self.lock().insert(user.to_owned(), failure);
    }

    /// Notes that the last call of `user` succeeded.
    pub(crate) fn worked(&self, user: &str) {
        self.lock().remove(user);
    }

    /// Removes a failure of `user` from before `rehearsed`, the start of a successful trial of all calls that a bridge
    /// makes. A reader reports nothing while no message comes, so its failure would stay although the layer works
    /// again.
    pub(crate) fn rehearsed(&self, user: &str, rehearsed: Instant) {
        let mut failures = self.lock();
        if failures.get(user).is_some_and(|it| it.since < rehearsed) {
            failures.remove(user);
        }
    }

    /// The failure of one user whose last call failed, if there is one.
    pub(crate) fn failure(&self) -> Option<LayerError> {
        let failures = self.lock();
        failures.values().next().map(|it| it.error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LayerFailure>> {
        lock(&self.failures)
    }
}

impl Readiness {
    /// Sets the other host that serves the app; `None` if this one does.
    pub(crate) fn set_host(&self, other: Option<String>) {
        *self.other_host() = other;
    }

    fn other_host(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.other_host)
    }
}

/// The address can't be bound.
#[derive(Debug, Error, Diagnostic)]
#[error("djangobot can't listen on {address}: {reason}")]
#[diagnostic(help("choose another address for {flag}, or end the program that uses this one"))]
pub(crate) struct ListenError {
    address: SocketAddr,
    flag: &'static str,
    reason: std::io::Error,
}

/// The most connections that may be open, if the limit of open files allows it.
const CONNECTIONS: usize = 4096;
/// Open files that are reserved for all other uses: Redis, Slack, plugins, the state.
const OTHER_FILES: usize = 256;

/// The bound listener; [`Listener::serve`] answers on it.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds the address that `flag` gave.
    pub(crate) async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, ListenError> {
        let refused = |reason| ListenError {
            address,
            flag,
            reason,
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address })
    }

    /// The address at which it listens. If the port was 0, the system has chosen one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with `routes` until `cancel`.
    pub(crate) async fn serve(self, routes: Router, metrics: Metrics, cancel: CancellationToken) {
        // A path with a slash at its end means the same page, because Django's paths end so.
        let app = Router::new()
            .fallback_service(routes)
            .layer(map_request(with_single_slashes));
        let limits = server::Limits {
            connections: connections(),
            timers: server::Timers::default(),
        };
        server::serve(self.socket, app, limits, metrics, cancel).await;
    }
}

/// The pages for operators: `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn admin(metrics: Metrics, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics_page).with_state(metrics))
        .layer(from_fn(not_for_web_pages))
        .merge(health())
}

/// `/healthz` alone, which says only that the process lives.
pub(crate) fn health() -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(from_fn(not_for_web_pages))
}

/// Refuses requests of web pages in a browser on this machine, which could otherwise read the metrics.
///
/// Requests from other machines may have any `Host`: monitoring uses names of containers and services, and a browser
/// that comes over the network can reach no more than its user can.
async fn not_for_web_pages(request: Request<Body>, next: Next) -> Response {
    let arrival = request.extensions().get::<server::LocalAddress>();
    let came_from_here = arrival
        .and_then(|arrival| arrival.0)
        .is_none_or(|address| address.ip().to_canonical().is_loopback());
    let mut headers = request.headers().clone();
    if !came_from_here {
        headers.remove(header::HOST);
    }
    match browser::refusal(&headers) {
        Some(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        None => next.run(request).await,
    }
}

/// The most connections that a listener may have. Each is an open file, and the process needs files for other things
/// too.
fn connections() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(CONNECTIONS, |files| {
        // Even with a very low limit some connections are allowed: Slack and a monitor need a few.
        files.saturating_sub(OTHER_FILES).clamp(16, CONNECTIONS)
    })
}

/// Raises the limit of open files as far as allowed, because each connection needs one.
pub(crate) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that fails (macOS has a limit below the maximum that it reports), there is room for fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Removes superfluous slashes from the request's path: those at its end, and all but one of several in a row.
async fn with_single_slashes<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    if path.contains("//") || path.ends_with('/') {
        let names = path.split('/').filter(|name| !name.is_empty());
        let path: String = names.flat_map(|name| ["/", name]).collect();
        let query = request.uri().query().map(|query| format!("?{query}"));
        let path = format!(
            "{}{}",
            if path.is_empty() { "/" } else { &path },
            query.unwrap_or_default()
        );
        if let Ok(path) = PathAndQuery::try_from(path) {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(path);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

/// Answers a request for an unknown path. A request of Slack's is also logged, since events are lost there.
pub(crate) async fn nowhere(request: Request<Body>) -> impl IntoResponse {
    let sentence = format!(
        "there is no page at {} {:.200}; the pages are /healthz, and /readyz and /metrics unless --admin-listen serves them",
        request.method(),
        request.uri().path(),
    );
    if request.headers().contains_key("x-slack-signature") {
        tracing::warn!(
            "{sentence}. Slack sends events here, and this djangobot does not accept them; start it with --transport http, which accepts them at /slack/events"
        );
    }
    (StatusCode::NOT_FOUND, format!("{sentence}\n"))
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> impl IntoResponse {
    let slack =
        readiness.slack.load(Ordering::Relaxed) && !readiness.web_api_away.load(Ordering::Relaxed);
    let failure = readiness.layer_use.failure();
    let layer = readiness.layer.load(Ordering::Relaxed) && failure.is_none();
    let other_host = readiness.other_host().clone();
    let word = |up| if up { "up" } else { "down" };
    let status = if slack && layer {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut page = format!("slack: {}\nlayer: {}\n", word(slack), word(layer));
    if let Some(other) = other_host {
        let other = CleanText::new(&other);
        page.push_str(&format!("standing by: the host {other} serves this app\n"));
    }
    // The reason of a refusal is shown. A layer that does not answer has none that would help.
    if let Some(refused) = failure.filter(|error| error.refusal().is_some()) {
        let refused = CleanText::new(&refused.to_string());
        page.push_str(&format!("{refused}\n"));
    }
    (status, page)
}

async fn metrics_page(State(metrics): State<Metrics>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn superfluous_slashes_are_removed() {
        for (asked, expect) in [
            ("/slack/events", "/slack/events"),
            ("/slack/events/", "/slack/events"),
            ("//slack//events///?a=1//", "/slack/events?a=1//"),
            ("/healthz/", "/healthz"),
            ("/", "/"),
            ("///", "/"),
            ("/a%2F/", "/a%2F"),
        ] {
            let request = Request::builder().uri(asked).body(()).unwrap();
            let request = with_single_slashes(request).await;
            assert_eq!(request.uri().to_string(), expect, "{asked}");
        }
    }
}
