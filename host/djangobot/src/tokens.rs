//! The tokens of a running bridge: renewed where they rotate, and read again on SIGHUP.

use djangobot_slack::http_events::SigningSecrets;
use djangobot_slack::rotation::{self, Client, Pair, PairError, Rotation};
use djangobot_slack::{Fatal, RefreshToken, Token, TokenError, WebApi};
use miette::Diagnostic;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{HostArgs, SlackArgs, TargetArgs};
use crate::config::{ConfigError, RotationSettings, Settings};
use crate::failure::Failure;
use crate::fingerprint::fingerprint;
use crate::state::{State, StateError};

/// Where settings came from, to read them again.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) target: TargetArgs,
    pub(crate) slack: SlackArgs,
    pub(crate) host: HostArgs,
}

/// What holds tokens and secrets that may change.
#[derive(Debug, Clone)]
pub(crate) struct Holders {
    /// The bot's own.
    pub(crate) api: WebApi,
    /// Of Socket Mode.
    pub(crate) app: Option<WebApi>,
    /// Of the HTTP transport.
    pub(crate) signing_secrets: SigningSecrets,
}

/// The holders of tokens, and where new ones come from.
pub(crate) struct Tokens {
    holders: Holders,
    rotation: Option<Rotation>,
    origin: Option<Origin>,
    hangups: Option<Signal>,
}

/// Why there are no tokens.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum TokensError {
    #[error("the refresh token can't be used: {0}")]
    #[diagnostic(help("refresh-token below [slack] is the one that begins with xoxe-"))]
    Refresh(TokenError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    #[diagnostic(help(
        "install the app again, and write the new token and refresh-token into the config"
    ))]
    Kept(#[from] PairError),
}

/// The newest pair, as it lies in the state.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Tells from which refresh token of the config it came: a new one there begins anew.
    first: u64,
    pair: String,
}

impl Tokens {
    /// Takes care of the tokens of `holders`.
    pub(crate) fn open(
        settings: &Settings,
        holders: Holders,
        state: &State,
        origin: Option<Origin>,
    ) -> Result<Self, Failure> {
        let rotation = match &settings.slack.rotation {
            Some(settings) => {
                Some(rotation(&holders.api, settings, state).map_err(Failure::failed)?)
            }
            None => None,
        };
        // From here on, a hang-up is no longer the end.
        let hangups = match origin {
            Some(_) => Some(signal(SignalKind::hangup()).map_err(Failure::plain)?),
            None => None,
        };
        Ok(Self {
            holders,
            rotation,
            origin,
            hangups,
        })
    }

    /// Whom to ask for a token in place of one that has expired.
    pub(crate) fn rotation(&self) -> Option<Rotation> {
        self.rotation.clone()
    }

    /// Renews and rereads until `cancel`; an error where no token can be had any more.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), Fatal> {
        let rotation = self.rotation.clone();
        let rotating = async {
            match &rotation {
                Some(rotation) => rotation.run(cancel.clone()).await,
                None => {
                    cancel.cancelled().await;
                    Ok(())
                }
            }
        };
        let rereading = async {
            if let Some(hangups) = &mut self.hangups {
                while hangups.recv().await.is_some() {
                    match reread(self.origin.as_ref(), &self.holders, rotation.is_some()) {
                        Ok(what) => tracing::info!("read again on SIGHUP: {what}"),
                        Err(error) => tracing::error!(
                            "the tokens can't be read again, and the old ones stay: {error}"
                        ),
                    }
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = rotating => outcome,
            () = rereading => Ok(()),
        }
    }
}

/// Sets the tokens that config, files and environment hold now; says which.
fn reread(
    origin: Option<&Origin>,
    holders: &Holders,
    rotates: bool,
) -> Result<&'static str, String> {
    let Some(origin) = origin else {
        return Ok("nothing");
    };
    let settings = Settings::read(&origin.target, &origin.slack, &origin.host)
        .map_err(|error: ConfigError| error.to_string())?;
    if let Some(misplaced) = settings.slack.misplaced().first() {
        return Err(misplaced.to_string());
    }
    let token = |which: &str, text: &Option<secrecy::SecretString>| {
        text.as_ref()
            .map(|text| {
                Token::new(text.expose_secret()).map_err(|error| format!("{which}: {error}"))
            })
            .transpose()
    };
    let (bot, of_app) = (
        token("the bot's token", &settings.slack.token)?,
        token("the app-level token", &settings.slack.app_token)?,
    );
    if let (Some(app), Some(token)) = (&holders.app, of_app) {
        app.set_token(token);
    }
    if let Some(secret) = settings.slack.signing_secret {
        holders.signing_secrets.set(vec![secret]);
    }
    if rotates {
        return Ok("the app-level token and the signing secret; the bot's token rotates");
    }
    if let Some(token) = bot {
        holders.api.set_token(token);
    }
    Ok("the tokens and the signing secret, which the next calls and connections use")
}

/// The newest pair that came of what the config has, if there was any.
pub(crate) fn kept(
    settings: &RotationSettings,
    state: &State,
) -> Result<Option<Pair>, TokensError> {
    let kept: Option<Kept> = state
        .fact(&key_of(settings))?
        .and_then(|kept| serde_json::from_slice(&kept).ok());
    let kept = kept.filter(|kept| kept.first == first_of(settings));
    Ok(kept.map(|kept| Pair::from_json(&kept.pair)).transpose()?)
}

fn key_of(settings: &RotationSettings) -> String {
    format!("tokens/{}", settings.client_id)
}

fn first_of(settings: &RotationSettings) -> u64 {
    fingerprint(settings.refresh_token.expose_secret().as_bytes())
}

fn rotation(
    api: &WebApi,
    settings: &RotationSettings,
    state: &State,
) -> Result<Rotation, TokensError> {
    let refresh = settings.refresh_token.expose_secret();
    let (key, first) = (key_of(settings), first_of(settings));
    let pair = match kept(settings, state)? {
        Some(pair) => pair,
        None => Pair {
            access: api.current_token(),
            refresh: RefreshToken::new(refresh).map_err(TokensError::Refresh)?,
            // Who knows for how long it has lain there.
            expires_at: std::time::UNIX_EPOCH,
        },
    };
    let client = Client {
        id: settings.client_id.clone(),
        secret: settings.client_secret.clone(),
    };
    let journal = state.journal()?;
    let keep: Box<rotation::Keep> = Box::new(move |pair: Pair| {
        let (journal, key) = (journal.clone(), key.clone());
        Box::pin(async move {
            let kept = serde_json::to_vec(&Kept {
                first,
                pair: pair.to_json().expose_secret().to_owned(),
            })?;
            journal
                .write(move |database| crate::state::put_fact(database, &key, &kept))
                .await?;
            Ok(())
        })
    });
    Ok(Rotation::new(
        api.clone(),
        client,
        pair,
        rotation::Config::default(),
        keep,
    ))
}
