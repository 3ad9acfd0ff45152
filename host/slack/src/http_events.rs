//! Slack's requests over HTTP: the Events API, slash commands, interactivity.
//!
//! One handler takes them all, on whichever path they come: what a request is, its body says. It is read within a bound,
//! its signature is checked, it is handed out, and the answer waits for its [`Ack`]: 200 once it is given, 503 otherwise,
//! so that Slack gives the event again. Nothing is handed out that Slack did not sign.

mod body;
mod signature;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::{Bytes, BytesMut};
use djangobot_event::Event;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::transport::{Ack, BadFrame, Fatal, Frame, Given, Incoming, Origin, Session};
use body::Asked;
pub use signature::SigningSecrets;

/// Where the handler answers.
pub const PATHS: [&str; 3] = ["/slack/events", "/slack/commands", "/slack/interactivity"];

/// How often requests that Slack did not sign are logged; all are counted.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How Slack's requests are taken.
#[derive(Clone, Debug)]
pub struct Config {
    /// The app's signing secrets.
    pub signing_secrets: SigningSecrets,
    /// Longer bodies are refused; in bytes. A message has up to 40,000 characters, twice (text and blocks), and escaped as
    /// JSON and as a form one makes eight bytes.
    pub max_body_bytes: usize,
    /// What all bodies together may take in memory; in bytes. Beyond it Slack is asked to come again.
    pub max_waiting_bytes: usize,
    /// How long after its arrival an event is to be acknowledged.
    pub ack_within: Duration,
    /// When a request is answered at the latest. Slack waits for 3 seconds.
    pub answer_within: Duration,
    /// How far a request's time may be from ours.
    pub max_age: Duration,
    /// Where the handler counts.
    pub counts: Arc<Counts>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            signing_secrets: SigningSecrets::default(),
            max_body_bytes: 4 << 20,
            max_waiting_bytes: 64 << 20,
            ack_within: Duration::from_millis(2500),
            answer_within: Duration::from_millis(2800),
            max_age: Duration::from_secs(300),
            counts: Arc::default(),
        }
    }
}

/// Counts of requests, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    refused: AtomicU64,
    unanswered: AtomicU64,
    told: Mutex<Option<Instant>>,
}

/// What the handler works with.
#[derive(Debug)]
struct Handler {
    config: Config,
    out: mpsc::Sender<Incoming>,
    /// A permit for each KiB.
    room: Semaphore,
}

/// What is answered instead of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    sentence: String,
}

/// A router with the handler at all [`PATHS`], to be merged with others. It hands all that Slack sends to `out`.
pub fn router(config: Config, out: mpsc::Sender<Incoming>) -> Router {
    let permits = config.max_waiting_bytes / 1024;
    let handler = Arc::new(Handler {
        room: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
        config,
        out,
    });
    PATHS
        .iter()
        .fold(Router::new(), |router, path| {
            router.route(path, get(handle).post(handle))
        })
        .with_state(handler)
}

/// The transport's other half: begins a session, which lasts until `cancel`. There is no connection that could be lost.
pub async fn run(
    session: Session,
    out: mpsc::Sender<Incoming>,
    cancel: CancellationToken,
) -> Result<(), Fatal> {
    tokio::select! {
        sent = out.send(Incoming::Connected(session)) => if sent.is_err() {
            return Ok(());
        },
        () = cancel.cancelled() => return Ok(()),
    }
    tokio::select! {
        () = cancel.cancelled() => {}
        () = out.closed() => {}
    }
    Ok(())
}

async fn handle(State(handler): State<Arc<Handler>>, request: Request) -> Response {
    match handler.answer(request).await {
        Ok(response) => response,
        Err(Refusal { status, sentence }) => (status, format!("{sentence}\n")).into_response(),
    }
}

impl Handler {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        if head.method == axum::http::Method::GET {
            return if body::is_ssl_check(head.uri.query().unwrap_or_default().as_bytes()) {
                Ok(StatusCode::OK.into_response())
            } else {
                Err(refuse(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Slack sends POST requests here",
                ))
            };
        }
        let (body, _room) = self.read(&head.headers, body, began).await?;
        let (arrived, received) = (Instant::now(), SystemTime::now());

        if let Err(why) = signature::check(&self.config, &head.headers, &body, received) {
            // Slack checks a certificate with a request that it does not sign.
            if body::is_form(&head.headers) && body::is_ssl_check(&body) {
                return Ok(StatusCode::OK.into_response());
            }
            self.config.counts.refused(&why);
            return Err(refuse(StatusCode::UNAUTHORIZED, why));
        }
        let (event, origin, accepts_payload) = match body::read(&head.headers, body) {
            Asked::Event {
                event,
                mut origin,
                accepts_payload,
            } => {
                retried(&head.headers, &mut origin);
                origin.answerable &= accepts_payload;
                (event, *origin, accepts_payload)
            }
            Asked::Challenge(challenge) => return Ok(challenge.into_response()),
            Asked::SslCheck => return Ok(StatusCode::OK.into_response()),
            Asked::Bad { error, sentence } => {
                if let Some(error) = error {
                    // It is told where there is room: it is lost on us anyway.
                    let _ = self
                        .out
                        .try_send(Incoming::Frame(bad(error, received, arrived)));
                }
                return Err(refuse(StatusCode::BAD_REQUEST, sentence));
            }
        };
        let (ack, waiting) = Ack::new(accepts_payload, arrived + self.config.ack_within);
        let frame = Frame {
            event: Ok(event),
            origin,
            ack: Some(ack),
            received,
            arrived,
        };
        let handed = async {
            let Ok(()) = self.out.send(Incoming::Frame(frame)).await else {
                return Given::Unused;
            };
            waiting.given().await
        };
        let answer_at = tokio::time::Instant::from_std(arrived + self.config.answer_within);
        match tokio::time::timeout_at(answer_at, handed).await {
            Ok(Given::Empty) => Ok(StatusCode::OK.into_response()),
            Ok(Given::Answer(payload)) => {
                let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
                Ok(([json], payload).into_response())
            }
            Ok(Given::Unused) => Err(self.unanswered("the event could not be taken")),
            Err(_) => Err(self.unanswered("the event could not be taken in time")),
        }
    }

    /// Reads a body within the limits of time and memory; it keeps its room for as long as it is held.
    async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        began: Instant,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let limit = self.config.max_body_bytes;
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let full = || self.unanswered("more requests are waiting than there is room for");
        let mut room = self.room.try_acquire_many(0).map_err(|_| full())?;
        let read_by = tokio::time::Instant::from_std(began + self.config.answer_within);
        let mut read = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout_at(read_by, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok((read.freeze(), room)),
                Ok(Some(Err(why))) => {
                    let sentence = format!("the request broke off: {why}");
                    return Err(refuse(StatusCode::BAD_REQUEST, sentence));
                }
                Err(_) => {
                    let sentence = "the request did not come within 3 seconds";
                    return Err(refuse(StatusCode::REQUEST_TIMEOUT, sentence));
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = read.len() + data.len();
            if length > limit {
                return Err(too_large(limit));
            }
            // Room is taken for what came, not for what was announced: that anybody could do.
            let more = length.div_ceil(1024) - room.num_permits();
            let more = self
                .room
                .try_acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
            room.merge(more.map_err(|_| full())?);
            read.extend_from_slice(&data);
        }
    }

    /// Slack is to come again.
    fn unanswered(&self, why: &str) -> Refusal {
        self.config.counts.unanswered.fetch_add(1, Relaxed);
        tracing::debug!(why, "Slack is asked to give an event again");
        refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{why}: send it again"),
        )
    }
}

impl Counts {
    /// Requests that Slack did not sign, or too long ago.
    pub fn refused_requests(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Events that were not acknowledged in time, or that there was no room for. Slack gives them again.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Relaxed)
    }

    /// Counts a request that Slack did not sign, and logs it where none was logged a moment ago: anybody can send these.
    fn refused(&self, why: &str) {
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(why, refused, "a request to Slack's paths was refused");
        }
    }
}

/// What the headers say of a request that Slack made before.
fn retried(headers: &HeaderMap, origin: &mut Origin) {
    let text = |name| headers.get(name)?.to_str().ok();
    let retries = text("x-slack-retry-num").and_then(|number| number.trim().parse::<u32>().ok());
    origin.attempt = retries.unwrap_or(0).saturating_add(1);
    origin.retry_reason = text("x-slack-retry-reason")
        .filter(|reason| !reason.is_empty())
        .map(String::from);
}

fn bad(error: BadFrame, received: SystemTime, arrived: Instant) -> Frame {
    Frame {
        event: Err::<Event, _>(error),
        origin: Origin::default(),
        ack: None,
        received,
        arrived,
    }
}

fn refuse(status: StatusCode, sentence: impl Into<String>) -> Refusal {
    Refusal {
        status,
        sentence: sentence.into(),
    }
}

fn too_large(limit: usize) -> Refusal {
    refuse(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is longer than {limit} bytes"),
    )
}

#[cfg(test)]
mod tests;
