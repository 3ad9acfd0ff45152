//! Slack's Web API: one attempt for each call, and typed errors; the caller owns the retries.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use djangobot_event::lock;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::watch;
use url::Url;

use crate::clock::SlackClock;
use crate::token::{Token, TokenKind};
use crate::ts::Ts;

mod answer;
pub mod argument;
mod error;
mod fatal;
mod identity;
pub mod method;
mod setup;

pub(crate) use answer::{MAX_RETRY_AFTER, judge};
pub(crate) use error::RESPONSE_URL;
pub use error::{ApiError, Class, Failure, Refusal};
pub use identity::{Identity, RtmSelf, RtmSession, RtmTeam};
pub use setup::SetupError;
pub(crate) use setup::{in_words, is_loopback, tls};

use answer::{DEFAULT_RETRY_AFTER, read};

/// Where Slack's Web API is.
pub const SLACK_API_URL: &str = "https://slack.com/api/";

/// An answer larger than this is not read to its end: the largest page of a listing has about 4 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// How long an upload may take, beyond what its content takes at the slowest.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes a second. An upload that is slower than that is given up.
const SLOWEST_UPLOAD: u64 = 32 << 10;

/// A client of Slack's Web API with one token. Clones share connections and the token.
#[derive(Clone, Debug)]
pub struct WebApi {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: Url,
    token: RwLock<Token>,
    /// How often the token was set.
    version: AtomicU64,
    http: reqwest::Client,
    clock: SlackClock,
    /// How many calls failed in a way that may befall all calls.
    failures: watch::Sender<u64>,
    /// When a call last succeeded.
    succeeded: RwLock<Option<Instant>>,
}

impl WebApi {
    /// A client for the API at `base`, for example [`SLACK_API_URL`].
    ///
    /// Certificates are the machine's own, or those of `SSL_CERT_FILE`. `HTTPS_PROXY` and its like are obeyed, but not
    /// for a `base` on this very machine.
    ///
    /// # Errors
    /// A [`SetupError`] where the URL, the certificates or the HTTP client's settings can't be used.
    pub fn new(base: Url, token: Token) -> Result<Self, SetupError> {
        WebApi::with_timeout(base, token, Duration::from_secs(30))
    }

    /// Like [`WebApi::new`], with another time within which a whole answer must have come.
    ///
    /// # Errors
    /// Those of [`WebApi::new`].
    pub fn with_timeout(
        mut base: Url,
        token: Token,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(SetupError::BaseUrl(base));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("djangobot/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(base.scheme() == "https")?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .tcp_nodelay(true);
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        Ok(WebApi {
            shared: Arc::new(Shared {
                base,
                token: RwLock::new(token),
                version: AtomicU64::new(0),
                http: http.build()?,
                clock: SlackClock::default(),
                failures: watch::Sender::new(0),
                succeeded: RwLock::default(),
            }),
        })
    }

    /// What kind of token the client has.
    pub fn token_kind(&self) -> TokenKind {
        self.token().kind()
    }

    /// The token that calls are made with now.
    pub fn current_token(&self) -> Token {
        self.token().clone()
    }

    /// Calls with another token from now on, in all clones. Calls that are under way go on with the old one.
    pub fn set_token(&self, token: Token) {
        *lock::write(&self.shared.token) = token;
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// How often [`WebApi::set_token`] was called: a caller that reads this before a call knows whether the token that
    /// Slack refused is still in use.
    pub fn token_version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    fn token(&self) -> RwLockReadGuard<'_, Token> {
        lock::read(&self.shared.token)
    }

    /// Where the client calls to.
    pub fn base(&self) -> &Url {
        &self.shared.base
    }

    /// A moment of Slack's clock that lies before anything that begins now; `None` before the first answer. Jumps of
    /// this machine's clock do not show in it.
    pub fn slack_time(&self) -> Option<Ts> {
        self.shared.clock.now()
    }

    /// Counts calls that failed in a way that may concern all calls: no connection, a proxy's answer, a workspace that
    /// is being moved, a token that has expired. One of them alone may have failed for its own sake.
    pub fn failures(&self) -> watch::Receiver<u64> {
        self.shared.failures.subscribe()
    }

    /// When a call last succeeded, whichever it was.
    pub fn last_success(&self) -> Option<Instant> {
        *lock::read(&self.shared.succeeded)
    }

    /// Calls a method once and gives Slack's whole answer, an object with `"ok": true`.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn call(&self, method: &str, args: &Map<String, Value>) -> Result<Value, ApiError> {
        self.call_as(method, args).await
    }

    /// Like [`WebApi::call`], with the answer read into a type of its own.
    ///
    /// # Errors
    /// Those of [`WebApi::call`], and [`Failure::Unreadable`] if the answer does not have the type's form.
    pub async fn call_as<T: DeserializeOwned>(
        &self,
        method: &str,
        args: &Map<String, Value>,
    ) -> Result<T, ApiError> {
        let (_, body) = self.attempt(method, args).await?;
        read(&body).map_err(|failure| error(method, args, failure))
    }

    /// Asks for the identity of the token.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn auth_test(&self) -> Result<Identity, ApiError> {
        let args = Map::new();
        let (headers, body) = self.attempt("auth.test", &args).await?;
        let mut identity: Identity =
            read(&body).map_err(|failure| error("auth.test", &args, failure))?;
        if let Some(scopes) = headers
            .get("x-oauth-scopes")
            .and_then(|value| value.to_str().ok())
        {
            identity.scopes = scopes
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(String::from)
                .collect();
        }
        Ok(identity)
    }

    /// Asks for an RTM connection's URL.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn rtm_connect(&self) -> Result<RtmSession, ApiError> {
        self.call_as("rtm.connect", &Map::new()).await
    }

    /// Asks for a Socket Mode connection's URL, with an app-level token.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn connections_open(&self) -> Result<Url, ApiError> {
        #[derive(Deserialize)]
        struct Opened {
            url: Url,
        }
        let opened: Opened = self.call_as("apps.connections.open", &Map::new()).await?;
        Ok(opened.url)
    }

    /// Uploads the content of a file to the place that `files.getUploadURLExternal` gave for it, in one attempt.
    ///
    /// The place has a secret of its own, and gets no token. One that is on another machine has to be reached by TLS.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn upload(&self, place: &str, content: Bytes) -> Result<(), ApiError> {
        let fail = |failure| error("file upload", &Map::new(), failure);
        let is_fit = |url: &Url| match url.scheme() {
            "https" => true,
            "http" => is_loopback(url) && is_loopback(&self.shared.base),
            _ => false,
        };
        let url = Url::parse(place).ok().filter(is_fit).ok_or_else(|| {
            let why = "the place that Slack gave for the file is not an https:// URL";
            fail(Failure::Unreadable(why.into()))
        })?;
        let length = content.len() as u64;
        let response = self
            .shared
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .timeout(UPLOAD_PATIENCE + Duration::from_secs(length / SLOWEST_UPLOAD))
            .body(content)
            .send()
            .await
            .map_err(|why| fail(not_sent(&why)))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err(fail(Failure::RateLimited {
                retry_after: DEFAULT_RETRY_AFTER,
            })),
            status => Err(fail(Failure::Status(status.as_u16()))),
        }
    }

    /// The HTTP client, for what shares its proxy and certificates: the WebSocket handshake.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.shared.http
    }

    /// Calls a method that takes secrets among its arguments and no token.
    pub(crate) async fn call_without_token<T: DeserializeOwned>(
        &self,
        method: &str,
        args: &Map<String, Value>,
    ) -> Result<T, ApiError> {
        let (_, body) = self.send(method, args, None).await?;
        read(&body).map_err(|failure| error(method, args, failure))
    }

    /// One attempt; `Ok` is an answer that says `"ok": true`.
    async fn attempt(
        &self,
        method: &str,
        args: &Map<String, Value>,
    ) -> Result<(HeaderMap, Bytes), ApiError> {
        let authorization = self.token().authorization();
        self.send(method, args, Some(authorization)).await
    }

    async fn send(
        &self,
        method: &str,
        args: &Map<String, Value>,
        authorization: Option<HeaderValue>,
    ) -> Result<(HeaderMap, Bytes), ApiError> {
        let answer = self.send_once(method, args, authorization).await;
        if let Err(error) = &answer
            && matches!(
                error.class(),
                Class::Retry | Class::Ambiguous | Class::Refresh
            )
        {
            self.shared.failures.send_modify(|failures| *failures += 1);
        }
        answer
    }

    async fn send_once(
        &self,
        method: &str,
        args: &Map<String, Value>,
        authorization: Option<HeaderValue>,
    ) -> Result<(HeaderMap, Bytes), ApiError> {
        let fail = |failure| error(method, args, failure);
        let url = self.url(method).map_err(fail)?;
        let mut request = self.shared.http.post(url);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = if method::get(method).is_some_and(|method| method.json && !method.get) {
            let body = serde_json::to_vec(args)
                .map_err(|why| fail(Failure::Unsendable(why.to_string())))?;
            request
                .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
                .body(body)
        } else {
            request.form(&form(args))
        };
        let mut response = request.send().await.map_err(|why| fail(not_sent(&why)))?;
        self.shared.clock.note(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|why| fail(Failure::Interrupted(in_words(&why))))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(fail(Failure::Unreadable(format!(
                    "it is longer than {MAX_ANSWER} bytes"
                ))));
            }
        }
        judge(response.status(), response.headers(), &body).map_err(fail)?;
        *lock::write(&self.shared.succeeded) = Some(Instant::now());
        Ok((std::mem::take(response.headers_mut()), Bytes::from(body)))
    }

    /// A method's name becomes a piece of the URL, and comes from outside: only letters, digits, dots and underscores.
    fn url(&self, method: &str) -> Result<Url, Failure> {
        let is_name = !method.is_empty()
            && !method.starts_with('.')
            && method
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
        match self.shared.base.join(method) {
            Ok(url) if is_name => Ok(url),
            _ => Err(Failure::Unsendable(
                "a method's name has letters, digits, dots and underscores only".into(),
            )),
        }
    }
}

/// Arguments as a form: texts as they are, the rest as JSON (Slack's rule for `blocks` and the like), null left out.
fn form(args: &Map<String, Value>) -> Vec<(&str, Cow<'_, str>)> {
    args.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match value {
            Value::String(text) => (key.as_str(), Cow::Borrowed(text.as_str())),
            other => (key.as_str(), Cow::Owned(other.to_string())),
        })
        .collect()
}

fn error(method: &str, args: &Map<String, Value>, failure: Failure) -> ApiError {
    let channel = args
        .get("channel")
        .and_then(Value::as_str)
        .map(String::from);
    ApiError {
        method: method.to_owned(),
        channel,
        failure,
    }
}

fn not_sent(why: &reqwest::Error) -> Failure {
    if why.is_connect() {
        Failure::Unreachable(in_words(why))
    } else if why.is_builder() {
        Failure::Unsendable(in_words(why))
    } else {
        Failure::Interrupted(in_words(why))
    }
}

#[cfg(test)]
mod tests;
