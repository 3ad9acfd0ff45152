//! The tokens of a running bridge: they are renewed if they rotate, and read again on SIGHUP.

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

/// The arguments that settings were read with, to read them again.
#[derive(Debug, Clone)]
pub(crate) struct SettingsArgs {
    pub(crate) target: TargetArgs,
    pub(crate) slack: SlackArgs,
    pub(crate) host: HostArgs,
}

/// The clients and checks that use tokens and secrets. Each can be given a new one while the bridge runs.
#[derive(Debug, Clone)]
pub(crate) struct TokenHolders {
    /// The client with the bot's token.
    pub(crate) api: WebApi,
    /// The client with the app-level token, which opens Socket Mode.
    pub(crate) app: Option<WebApi>,
    /// The secrets that the HTTP transport checks signatures with.
    pub(crate) signing_secrets: SigningSecrets,
}

/// The holders of tokens, and the sources of new tokens.
pub(crate) struct Tokens {
    holders: TokenHolders,
    rotation: Option<Rotation>,
    /// `None` in `djangobot dev`, whose tokens are its own.
    args: Option<SettingsArgs>,
    hangups: Option<Signal>,
}

/// The rotating tokens can't be used.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum TokensError {
    #[error("the refresh token can't be used: {0}")]
    #[diagnostic(help(
        "set refresh-token below [slack] to the token that begins with xoxe-, of the app's page \"OAuth & Permissions\""
    ))]
    Refresh(TokenError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    #[diagnostic(help(
        "install the app again, and write the new token and refresh-token into the config"
    ))]
    StoredPair(#[from] PairError),
}

/// The newest pair of access token and refresh token, as the state has it.
#[derive(Serialize, Deserialize)]
struct StoredPair {
    /// The fingerprint of the config's refresh token from which the pair came. If the config has a new one, the pair is
    /// out of date, and rotation begins with the config's.
    first: u64,
    pair: String,
}

impl Tokens {
    /// Prepares the upkeep of the tokens of `holders`; [`Tokens::run`] does it.
    pub(crate) fn open(
        settings: &Settings,
        holders: TokenHolders,
        state: &State,
        args: Option<SettingsArgs>,
    ) -> Result<Self, Failure> {
        let rotation = match &settings.slack.rotation {
            Some(settings) => {
                Some(rotation(&holders.api, settings, state).map_err(Failure::failed)?)
            }
            None => None,
        };
        // From here on, SIGHUP no longer ends the process.
        let hangups = match args {
            Some(_) => Some(signal(SignalKind::hangup()).map_err(Failure::plain)?),
            None => None,
        };
        Ok(Self {
            holders,
            rotation,
            args,
            hangups,
        })
    }

    /// The source of a new token when one has expired.
    pub(crate) fn rotation(&self) -> Option<Rotation> {
        self.rotation.clone()
    }

    /// Renews tokens and reads them again until `cancel`.
    ///
    /// # Errors
    /// Slack gives no new token any more; a person has to install the app again.
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
                    match reread(self.args.as_ref(), &self.holders, rotation.is_some()) {
                        Ok(tokens) => tracing::info!("read again on SIGHUP: {tokens}"),
                        Err(error) => tracing::error!(
                            "the tokens can't be read again on SIGHUP: {error}; the old ones stay in use"
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

/// Sets the tokens that config, files and environment hold now, and returns which ones, for the log.
fn reread(
    args: Option<&SettingsArgs>,
    holders: &TokenHolders,
    rotates: bool,
) -> Result<&'static str, String> {
    let Some(args) = args else {
        return Ok("nothing");
    };
    let settings = Settings::read(&args.target, &args.slack, &args.host)
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
    // Both are parsed before either is set: a mistake in one must not leave a mix of old and new tokens.
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

/// Reads the newest pair from the state, if it came from the config's refresh token.
pub(crate) fn stored_pair(
    settings: &RotationSettings,
    state: &State,
) -> Result<Option<Pair>, TokensError> {
    let stored: Option<StoredPair> = state
        .fact(&key_of(settings))?
        .and_then(|stored| serde_json::from_slice(&stored).ok());
    let stored = stored.filter(|stored| stored.first == first_of(settings));
    let pair = stored.map(|stored| Pair::from_json(&stored.pair));
    Ok(pair.transpose()?)
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
    let pair = match stored_pair(settings, state)? {
        Some(pair) => pair,
        None => Pair {
            access: api.current_token(),
            refresh: RefreshToken::new(refresh).map_err(TokensError::Refresh)?,
            // Nobody knows how old the config's token is, so it is renewed at once.
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
            let stored = serde_json::to_vec(&StoredPair {
                first,
                pair: pair.to_json().expose_secret().to_owned(),
            })?;
            journal
                .write(move |database| crate::state::put_fact(database, &key, &stored))
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
