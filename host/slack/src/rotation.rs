//! Token rotation: an access token (`xoxe.`) lives for 12 hours, and a refresh token buys the next pair, once.
//!
//! One task ([`Rotation::run`]) does all refreshing, so that no two spend the same refresh token, and no refresh is
//! ever cut off between Slack's answer and the disk: a pair that is lost there can't be recovered. Others ask it
//! ([`Rotation::renew`]) and wait.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::{ApiError, Class, Failure, WebApi};
use crate::backoff::Backoff;
use crate::token::{RefreshToken, Token, TokenError};
use crate::transport::Fatal;

const METHOD: &str = "oauth.v2.access";

/// The clock may be set, and the machine may sleep: when a token is due is looked up at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The app, as which tokens are refreshed.
#[derive(Clone, Debug)]
pub struct Client {
    /// From the app's page "Basic Information".
    pub id: String,
    /// From there, too.
    pub secret: SecretString,
}

/// How tokens are refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long before its end a token is refreshed.
    pub ahead: Duration,
    /// The wait after a first failure; it doubles with each further one. Two refreshes are at least this far apart.
    pub backoff_first: Duration,
    /// The longest wait between two attempts; only Slack's own `Retry-After` can be longer.
    pub backoff_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ahead: Duration::from_secs(3600),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// An access token and the refresh token that renews it.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The token to call Slack with.
    pub access: Token,
    /// Good once.
    pub refresh: RefreshToken,
    /// When the access token's time is over. Where that is not known, [`UNIX_EPOCH`]: it is refreshed at once.
    pub expires_at: SystemTime,
}

/// The error of a text that is not a [`Pair`].
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// It is not a JSON object with the three keys.
    #[error("the stored tokens can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// One of the two is not a token.
    #[error("the stored tokens can't be read: {0}")]
    Token(#[from] TokenError),
}

/// Stores a new pair where the next start finds it. The pair is not used before the store has succeeded.
pub type Keep =
    dyn Fn(Pair) -> Pin<Box<dyn Future<Output = Result<(), KeepError>> + Send>> + Send + Sync;

/// Why a pair could not be stored, in words for people.
pub type KeepError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no new token: the refresh, or the whole rotation, has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// Slack refused for good.
    #[error("{0}")]
    Refused(ApiError),
    /// The task that refreshes has ended, or has not begun.
    #[error("tokens are no longer refreshed, because djangobot is stopping")]
    Stopped,
}

/// Refreshes a [`WebApi`]'s token. Clones are handles of the same rotation.
#[derive(Clone)]
pub struct Rotation {
    shared: Arc<Shared>,
}

struct Shared {
    api: WebApi,
    client: Client,
    config: Config,
    keep: Box<Keep>,
    /// The version of the newest token that was found to have expired.
    wanted: watch::Sender<Option<u64>>,
    state: watch::Sender<RotationState>,
}

/// The state that waiting tasks see.
#[derive(Clone, Debug)]
enum RotationState {
    /// The pair that is in use.
    InUse(Pair),
    Ended(RefreshError),
}

/// Slack's answer.
#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    refresh_token: SecretString,
    expires_in: u64,
}

impl Rotation {
    /// A rotation of `api`'s token, which is set to the pair's. It begins with [`Rotation::run`].
    pub fn new(api: WebApi, client: Client, pair: Pair, config: Config, keep: Box<Keep>) -> Self {
        api.set_token(pair.access.clone());
        Rotation {
            shared: Arc::new(Shared {
                api,
                client,
                config,
                keep,
                wanted: watch::Sender::new(None),
                state: watch::Sender::new(RotationState::InUse(pair)),
            }),
        }
    }

    /// Refreshes before the token's time is over, and when somebody asks, until `cancel`. A refresh under way is
    /// finished.
    ///
    /// # Errors
    /// A failure that no further attempt can heal, once the current token has expired as well.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), Fatal> {
        let result = self.cycle(&cancel).await;
        let ended = match &result {
            Ok(()) => RefreshError::Stopped,
            Err(Fatal(error)) => RefreshError::Refused(error.clone()),
        };
        self.shared.state.send_replace(RotationState::Ended(ended));
        result
    }

    /// Waits for another token than that of version `seen` (see [`WebApi::token_version`]), which Slack said has
    /// expired.
    ///
    /// One refresh is made, however many tasks ask for it.
    ///
    /// # Errors
    /// A [`RefreshError`], when [`Rotation::run`] has ended.
    pub async fn renew(&self, seen: u64) -> Result<(), RefreshError> {
        self.shared.wanted.send_if_modified(|wanted| {
            let is_news = wanted.is_none_or(|wanted| wanted < seen);
            if is_news {
                *wanted = Some(seen);
            }
            is_news
        });
        let mut state = self.shared.state.subscribe();
        loop {
            if self.shared.api.token_version() > seen {
                return Ok(());
            }
            if let RotationState::Ended(why) = &*state.borrow_and_update() {
                return Err(why.clone());
            }
            if state.changed().await.is_err() {
                return Err(RefreshError::Stopped);
            }
        }
    }

    /// Waits until the token in use has not expired by our clock. A start needs this, since hours may have passed since
    /// the last run.
    ///
    /// # Errors
    /// A [`RefreshError`], when [`Rotation::run`] has ended.
    pub async fn ready(&self) -> Result<(), RefreshError> {
        let seen = self.shared.api.token_version();
        let is_over = match &*self.shared.state.borrow() {
            RotationState::InUse(pair) => pair.expires_at <= SystemTime::now(),
            RotationState::Ended(why) => return Err(why.clone()),
        };
        if is_over {
            self.renew(seen).await
        } else {
            Ok(())
        }
    }

    async fn cycle(&self, cancel: &CancellationToken) -> Result<(), Fatal> {
        let shared = &*self.shared;
        let mut wanted = shared.wanted.subscribe();
        let mut backoff = Backoff::new(shared.config.backoff_first, shared.config.backoff_max);
        let RotationState::InUse(mut pair) = shared.state.borrow().clone() else {
            return Ok(());
        };
        loop {
            let is_wanted = wanted
                .borrow_and_update()
                .is_some_and(|seen| seen >= shared.api.token_version());
            let due_in = pair
                .expires_at
                .checked_sub(shared.config.ahead)
                .and_then(|due| due.duration_since(SystemTime::now()).ok())
                .unwrap_or_default();
            let wait = if is_wanted || due_in.is_zero() {
                match self.refresh(&pair, cancel).await {
                    Ok(Some(new)) => {
                        pair = new;
                        backoff.succeeded();
                        shared.config.backoff_first
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => self.failed(error, &pair, is_wanted, &mut backoff)?,
                }
            } else {
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    changed = wanted.changed() => if changed.is_err() {
                        return Ok(());
                    },
                    () = tokio::time::sleep(due_in.min(LOOK_EVERY)) => {}
                }
                continue;
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The wait after a failure; an error where waiting can't help.
    fn failed(
        &self,
        error: ApiError,
        pair: &Pair,
        has_expired: bool,
        backoff: &mut Backoff,
    ) -> Result<Duration, Fatal> {
        let has_expired = has_expired || pair.expires_at <= SystemTime::now();
        let wait = match error.class() {
            Class::RateLimited { retry_after } => backoff.failed().max(retry_after),
            Class::Retry | Class::Ambiguous => backoff.failed(),
            Class::Fatal if has_expired => return Err(Fatal(error)),
            // The token still works, or Slack's error may pass; and a person may still mend the app's settings.
            Class::Fatal | Class::Permanent | Class::Refresh | Class::AlreadyDone => {
                backoff.failed().max(self.shared.config.backoff_max)
            }
        };
        tracing::error!(%error, retry_in_ms = wait.as_millis() as u64, "Slack's token could not be refreshed");
        Ok(wait)
    }

    /// Buys a new pair, keeps it and begins to use it; `None` when it could not be kept and all is to end.
    async fn refresh(
        &self,
        pair: &Pair,
        cancel: &CancellationToken,
    ) -> Result<Option<Pair>, ApiError> {
        let shared = &*self.shared;
        let new = self.exchange(&pair.refresh).await?;
        let mut backoff = Backoff::new(shared.config.backoff_first, shared.config.backoff_max);
        while let Err(why) = (shared.keep)(new.clone()).await {
            if cancel.is_cancelled() {
                tracing::error!(%why, "Slack's new tokens could not be stored, and the old ones are void: install the app again");
                return Ok(None);
            }
            let wait = backoff.failed();
            tracing::error!(
                %why,
                retry_in_ms = wait.as_millis() as u64,
                "Slack's new tokens could not be stored; they are not used until they are"
            );
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        shared.api.set_token(new.access.clone());
        shared.state.send_replace(RotationState::InUse(new.clone()));
        tracing::info!("Slack's token was refreshed");
        Ok(Some(new))
    }

    async fn exchange(&self, refresh: &RefreshToken) -> Result<Pair, ApiError> {
        let client = &self.shared.client;
        let args = Map::from_iter(
            [
                ("client_id", client.id.as_str()),
                ("client_secret", client.secret.expose_secret()),
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh.expose()),
            ]
            .map(|(key, value)| (key.to_owned(), Value::from(value))),
        );
        let asked = SystemTime::now();
        let answer: Answer = self.shared.api.call_without_token(METHOD, &args).await?;
        let unreadable = |why: TokenError| ApiError {
            method: METHOD.into(),
            channel: None,
            failure: Failure::Unreadable(why.to_string()),
        };
        Ok(Pair {
            access: Token::new(answer.access_token.expose_secret()).map_err(unreadable)?,
            refresh: RefreshToken::new(answer.refresh_token.expose_secret()).map_err(unreadable)?,
            expires_at: asked
                .checked_add(Duration::from_secs(answer.expires_in))
                .unwrap_or(asked),
        })
    }
}

impl Pair {
    /// The pair as JSON, to be stored on disk.
    pub fn to_json(&self) -> SecretString {
        let expires_at = self
            .expires_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        SecretString::from(
            json!({
                "access_token": self.access.secret().expose_secret(),
                "refresh_token": self.refresh.secret().expose_secret(),
                "expires_at": expires_at.as_secs(),
            })
            .to_string(),
        )
    }

    /// Reads what [`Pair::to_json`] wrote.
    ///
    /// # Errors
    /// A [`PairError`] where the text is not such a pair.
    pub fn from_json(text: &str) -> Result<Self, PairError> {
        #[derive(Deserialize)]
        struct Kept {
            access_token: SecretString,
            refresh_token: SecretString,
            expires_at: u64,
        }
        let kept: Kept = serde_json::from_str(text)?;
        Ok(Pair {
            access: Token::new(kept.access_token.expose_secret())?,
            refresh: RefreshToken::new(kept.refresh_token.expose_secret())?,
            expires_at: UNIX_EPOCH
                .checked_add(Duration::from_secs(kept.expires_at))
                .unwrap_or(UNIX_EPOCH),
        })
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation")
            .field("client", &self.shared.client.id)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
