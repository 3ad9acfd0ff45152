//! Slack's requests over HTTP: the Events API, slash commands, interactivity.
//!
//! One handler takes all of them, on any path: the body says which kind of request it is. A request whose headers show
//! that it is not Slack's is refused before its body is read. Otherwise the body is read within a bound, its signature
//! is checked, the event is handed out, and the answer waits for its [`Ack`]: 200 once the event is acknowledged, 503
//! otherwise, so that Slack redelivers it. Nothing is handed out that Slack did not sign.

mod body;
mod counts;
mod room;
mod signature;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use djangobot_event::Event;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::transport::{Ack, AckOutcome, BadFrame, Frame, Incoming, Origin};

pub use counts::{Counts, Outcome};
pub use signature::SigningSecrets;

use body::Content;
use room::{Place, Room, RoomError};

/// The paths that the handler answers.
pub const PATHS: [&str; 3] = ["/slack/events", "/slack/commands", "/slack/interactivity"];

/// How Slack's requests are taken.
#[derive(Clone, Debug)]
pub struct Config {
    /// The app's signing secrets.
    pub signing_secrets: SigningSecrets,
    /// Longer bodies are refused; in bytes. A message has up to 40,000 characters, twice (text and blocks), and escaped
    /// as JSON and as a form one makes eight bytes.
    pub max_body_bytes: usize,
    /// The memory that all bodies together may take; in bytes. Beyond it the oldest body that is still being read is
    /// given up, and where there is none, Slack is asked to send the request again.
    pub max_waiting_bytes: usize,
    /// How long after its arrival an event is to be acknowledged.
    pub ack_within: Duration,
    /// When a request is answered at the latest. Slack waits for 3 seconds.
    pub answer_within: Duration,
    /// How far a request's time may be from ours.
    pub max_age: Duration,
    /// The counters of the handler.
    pub counts: Arc<Counts>,
}

impl Default for Config {
    fn default() -> Self {
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

/// The parts that the handler needs.
#[derive(Debug)]
struct Handler {
    config: Config,
    out: mpsc::Sender<Incoming>,
    room: Room,
}

/// The longest form that is read although Slack did not sign it: one in which it only looks at the certificate.
const SSL_CHECK_BYTES: usize = 1024;

/// A callback for a request that turns out to be Slack's. The server of the connection puts it into the request's
/// extensions.
#[derive(Clone)]
pub struct OnSigned(Arc<dyn Fn() + Send + Sync>);

impl OnSigned {
    /// Calls `then`.
    pub fn new(then: impl Fn() + Send + Sync + 'static) -> Self {
        OnSigned(Arc::new(then))
    }

    /// The request is Slack's.
    pub fn tell(&self) {
        (self.0)();
    }
}

impl fmt::Debug for OnSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnSigned").finish_non_exhaustive()
    }
}

/// An error that is answered instead of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
struct ErrorResponse {
    status: StatusCode,
    sentence: String,
}

/// A router with the handler at all [`PATHS`], to be merged with others. It hands everything that Slack sends to `out`,
/// and logs requests for other paths.
pub fn router(config: Config, out: mpsc::Sender<Incoming>) -> Router {
    let handler = Arc::new(Handler {
        room: Room::new(config.max_waiting_bytes),
        config,
        out,
    });
    PATHS
        .iter()
        .fold(Router::new(), |router, path| {
            router.route(path, any(handle))
        })
        .fallback(nowhere)
        .with_state(handler)
}

async fn handle(State(handler): State<Arc<Handler>>, request: Request) -> Response {
    match handler.answer(request).await {
        Ok(response) => response,
        Err(ErrorResponse { status, sentence }) => {
            (status, format!("{sentence}\n")).into_response()
        }
    }
}

/// There is no handler at this path: most likely the app's request URL is not ours.
async fn nowhere(State(handler): State<Arc<Handler>>, request: Request) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("YOUR-HOST");
    let sentence = format!(
        "there is no handler for {} {:.200}: the request URL for Slack's events, commands and interactions is https://{host:.200}{}",
        request.method(),
        request.uri().path(),
        PATHS[0]
    );
    handler.config.counts.add(Outcome::UnknownPath, &sentence);
    (StatusCode::NOT_FOUND, format!("{sentence}\n")).into_response()
}

impl Handler {
    async fn answer(&self, request: Request) -> Result<Response, ErrorResponse> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        if head.method != axum::http::Method::POST {
            return if body::is_ssl_check(head.uri.query().unwrap_or_default().as_bytes()) {
                Ok(StatusCode::OK.into_response())
            } else {
                Err(refuse(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Slack sends POST requests here",
                ))
            };
        }
        let claim = signature::claim(&head.headers, SystemTime::now(), self.config.max_age);
        let length = announced(&head.headers);
        let limit = match &claim {
            Ok(_) => self.config.max_body_bytes,
            // Slack checks a certificate with a small form that it does not sign.
            Err(_)
                if body::is_form(&head.headers)
                    && length.is_some_and(|it| it <= SSL_CHECK_BYTES) =>
            {
                SSL_CHECK_BYTES
            }
            Err(why) => return Err(self.refused(why)),
        };
        if length.is_some_and(|length| length > limit) {
            return Err(self.too_large());
        }
        let (body, place) = self.read(body, limit, began).await?;
        let (arrived, received) = (Instant::now(), SystemTime::now());

        let signature =
            match claim.and_then(|claim| claim.verify(&self.config.signing_secrets, &body)) {
                Ok(signature) => signature,
                Err(_) if body::is_form(&head.headers) && body::is_ssl_check(&body) => {
                    return Ok(StatusCode::OK.into_response());
                }
                Err(why) => return Err(self.refused(&why)),
            };
        let _place = place.keep();
        if let Some(on_signed) = head.extensions.get::<OnSigned>() {
            on_signed.tell();
        }
        let (event, origin, accepts_payload) = match body::read(&head.headers, body) {
            Content::Event {
                event,
                mut origin,
                accepts_payload,
            } => {
                retried(&head.headers, &mut origin);
                origin.signature = Some(signature);
                origin.answerable &= accepts_payload;
                (event, *origin, accepts_payload)
            }
            Content::Challenge(challenge) => return Ok(challenge.into_response()),
            Content::SslCheck => return Ok(StatusCode::OK.into_response()),
            Content::Bad { error, sentence } => {
                if let Some(error) = error {
                    // It is reported only where the channel has room: the event itself is lost either way.
                    let _ = self
                        .out
                        .try_send(Incoming::Frame(bad(error, received, arrived)));
                }
                self.config.counts.add(Outcome::Unreadable, &sentence);
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
                return AckOutcome::Unused;
            };
            waiting.given().await
        };
        let answer_at = tokio::time::Instant::from_std(arrived + self.config.answer_within);
        match tokio::time::timeout_at(answer_at, handed).await {
            Ok(AckOutcome::Empty) => {
                self.config.counts.taken();
                Ok(StatusCode::OK.into_response())
            }
            Ok(AckOutcome::Answer(payload)) => {
                self.config.counts.taken();
                let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
                Ok(([json], payload).into_response())
            }
            Ok(AckOutcome::Unused) => Err(self.unanswered("the event could not be stored")),
            Err(_) => Err(self.unanswered("the event could not be stored in time")),
        }
    }

    /// Reads a body of `limit` bytes at most within the limits of time and memory; the body keeps its memory for as
    /// long as the place is held.
    async fn read(
        &self,
        mut body: Body,
        limit: usize,
        began: Instant,
    ) -> Result<(Bytes, Place<'_>), ErrorResponse> {
        let mut place = self.room.enter();
        let given_up = self.room.given_up(place.number());
        let read_by = tokio::time::Instant::from_std(began + self.config.answer_within);
        let mut read = BytesMut::new();
        let reading = async {
            loop {
                let frame = match body.frame().await {
                    Some(Ok(frame)) => frame,
                    None => return Ok(()),
                    Some(Err(why)) => {
                        let sentence = format!("the request broke off: {why}");
                        self.config.counts.add(Outcome::Unreadable, &sentence);
                        return Err(refuse(StatusCode::BAD_REQUEST, sentence));
                    }
                };
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                let length = read.len() + data.len();
                if length > limit {
                    return Err(self.too_large());
                }
                // Memory is reserved for the bytes that came, not for the announced length, which anybody could make
                // up.
                place
                    .grow(length)
                    .await
                    .map_err(|denied| self.denied(denied))?;
                read.extend_from_slice(&data);
            }
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout_at(read_by, reading) => outcome,
            () = given_up => Ok(Err(self.denied(RoomError::GaveWay))),
        };
        match outcome {
            Ok(outcome) => outcome.map(|()| (read.freeze(), place)),
            Err(_) => {
                let sentence = "the request did not come within 3 seconds";
                self.config.counts.add(Outcome::Unreadable, sentence);
                Err(refuse(StatusCode::REQUEST_TIMEOUT, sentence))
            }
        }
    }

    fn denied(&self, denied: RoomError) -> ErrorResponse {
        self.unanswered(match denied {
            RoomError::Full => "more requests are waiting than there is room for",
            RoomError::GaveWay => {
                "the body came too slowly, and its memory was needed for another request"
            }
        })
    }

    fn refused(&self, why: &signature::SignatureError) -> ErrorResponse {
        self.config.counts.add(why.outcome, &why.sentence);
        refuse(StatusCode::UNAUTHORIZED, why.sentence.clone())
    }

    /// The answer that asks Slack to send the request again.
    fn unanswered(&self, why: &str) -> ErrorResponse {
        self.config.counts.add(Outcome::Unanswered, why);
        refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{why}: send it again"),
        )
    }

    fn too_large(&self) -> ErrorResponse {
        let sentence = format!(
            "the body is longer than {} bytes",
            self.config.max_body_bytes
        );
        self.config.counts.add(Outcome::TooLarge, &sentence);
        refuse(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    }
}

/// How long the body is to be, as the headers say.
fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Reads the headers of a request that Slack repeats.
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

fn refuse(status: StatusCode, sentence: impl Into<String>) -> ErrorResponse {
    ErrorResponse {
        status,
        sentence: sentence.into(),
    }
}

#[cfg(test)]
mod tests;
