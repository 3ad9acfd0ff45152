//! `--listen` and `--admin-listen`: health, readiness and metrics over HTTP, and Slack's requests where events come so.

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

/// Whether the bridge can do its work; set by those who know.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// There is a connection to Slack.
    pub(crate) slack: AtomicBool,
    /// Slack's Web API serves no calls just now.
    pub(crate) web_api_away: AtomicBool,
    /// The channel layer did all that a bridge needs the last time that it was asked.
    pub(crate) layer: AtomicBool,
    /// What those who send to the layer and read it saw last.
    pub(crate) layer_use: LayerUse,
    /// The host that serves the app, where it is another one.
    other_host: Mutex<Option<String>>,
}

/// How the layer serves those who use it: a server that answers to questions may refuse their calls all the same.
#[derive(Debug, Default)]
pub(crate) struct LayerUse {
    failures: Mutex<BTreeMap<String, Failing>>,
}

#[derive(Debug)]
struct Failing {
    error: LayerError,
    since: Instant,
}

impl LayerUse {
    /// Notes that the last call of `user` failed.
    pub(crate) fn failed(&self, user: &str, error: &LayerError) {
        let failing = Failing {
            error: error.clone(),
            since: Instant::now(),
        };
        self.lock().insert(user.to_owned(), failing);
    }

    /// Notes that the last call of `user` was carried out.
    pub(crate) fn worked(&self, user: &str) {
        self.lock().remove(user);
    }

    /// Forgets a failure of `user` from before `rehearsed`, when all that it does began to be tried with success.
    pub(crate) fn rehearsed(&self, user: &str, rehearsed: Instant) {
        let mut failures = self.lock();
        if failures.get(user).is_some_and(|it| it.since < rehearsed) {
            failures.remove(user);
        }
    }

    /// What somebody saw fail last.
    pub(crate) fn failure(&self) -> Option<LayerError> {
        let failures = self.lock();
        failures.values().next().map(|it| it.error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        lock(&self.failures)
    }
}

impl Readiness {
    /// Notes which other host serves the app, if any does.
    pub(crate) fn set_host(&self, other: Option<String>) {
        *self.other_host() = other;
    }

    fn other_host(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.other_host)
    }
}

/// Nothing can listen at the address.
#[derive(Debug, Error, Diagnostic)]
#[error("nothing can listen on {address}: {reason}")]
#[diagnostic(help("choose another address for {flag}; is another djangobot running?"))]
pub(crate) struct ListenError {
    address: SocketAddr,
    flag: &'static str,
    reason: std::io::Error,
}

/// Connections that may be open, where the limit of open files allows it.
const CONNECTIONS: usize = 4096;
/// Open files that are left for all else: Redis, Slack, plugins, the state.
const OTHER_FILES: usize = 256;

/// The listener, bound; [`Listener::serve`] answers.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes the address that `flag` named.
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

    /// Where it listens; of interest where the port was 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with `routes` until `cancel`.
    pub(crate) async fn serve(self, routes: Router, metrics: Metrics, cancel: CancellationToken) {
        // A slash too many is no other page: who writes Django ends paths with one.
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

/// What operators ask for: `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn admin(metrics: Metrics, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics_page).with_state(metrics))
        .layer(from_fn(not_for_web_pages))
        .merge(health())
}

/// `/healthz` alone, which says nothing but that the process lives.
pub(crate) fn health() -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(from_fn(not_for_web_pages))
}

/// Refuses what a page in a browser on this machine asks for. What comes from elsewhere may name us as it likes: those who
/// watch us do, and nobody's browser is behind the names of a container.
async fn not_for_web_pages(request: Request<Body>, next: Next) -> Response {
    let arrival = request.extensions().get::<server::Arrival>();
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

/// How many connections a listener may have: the files that the system gives us are for other things too.
fn connections() -> usize {
    let files = getrlimit(Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(CONNECTIONS, |files| {
        files.saturating_sub(OTHER_FILES).clamp(16, CONNECTIONS)
    })
}

/// Raises the limit of open files as far as we may: each connection is one.
pub(crate) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that can't be (macOS has a limit below the one that it names), there is room for fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The same request without slashes that say nothing: at its path's end, or several in a row.
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

/// What is answered, and logged, where the listener takes no requests of Slack's.
pub(crate) async fn nowhere(request: Request<Body>) -> impl IntoResponse {
    let sentence = format!(
        "nothing is at {} {:.200}: there are /healthz, and /readyz and /metrics unless --admin-listen serves them",
        request.method(),
        request.uri().path(),
    );
    if request.headers().contains_key("x-slack-signature") {
        tracing::warn!(
            "{sentence}. Slack sends its requests here, and they are taken at /slack/events with --transport http"
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
    // One that is away is down and no more; one that refuses says why.
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
    async fn slashes_that_say_nothing_are_left_out() {
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
