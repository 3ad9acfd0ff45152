//! The transport that the settings name, run until it is cancelled or fails for good.

use std::sync::Arc;
use std::time::Duration;

use djangobot_slack::rotation::RefreshError;
use djangobot_slack::socket_mode::Health;
use djangobot_slack::{
    ApiError, Backoff, Class, Fatal, Frame, Identity, Incoming, Rotation, Session, WebApi,
    http_events, rtm, socket_mode,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bridge::host_lease::{Acquisition, HostLease, HostLeaseError};
use crate::metrics::Metrics;
use crate::state::State;

/// The reason for which no more events come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error(transparent)]
    Lease(#[from] HostLeaseError),
}

/// The source of Slack's events.
pub(crate) enum Source {
    /// The bot's own token opens the connection.
    Rtm,
    /// A client with the app-level token opens one connection or several.
    SocketMode {
        app: WebApi,
        connections: usize,
        health: Arc<Health>,
    },
    /// Slack calls the listener.
    Http {
        /// The requests that the listener accepted.
        requests: mpsc::Receiver<Incoming>,
        counts: Arc<http_events::Counts>,
        /// The key of the state's fact with the team of the app's requests.
        fact: String,
    },
}

/// The figures that a transport counts by itself.
pub(crate) enum SourceCounts {
    Rtm,
    SocketMode(Arc<Health>),
    Http(Arc<http_events::Counts>),
}

impl SourceCounts {
    /// Copies the figures to the metrics.
    pub(crate) fn show(&self, metrics: &Metrics) {
        match self {
            Self::Rtm => {}
            Self::SocketMode(health) => {
                metrics.connections().set(f64::from(health.open()));
                metrics
                    .strange_connections()
                    .set(f64::from(health.strangers()));
            }
            Self::Http(counts) => {
                for outcome in http_events::Outcome::ALL {
                    let counter = metrics.http_requests(outcome.name());
                    counter.absolute(counts.of(outcome));
                }
            }
        }
    }
}

impl Source {
    pub(crate) fn counts(&self) -> SourceCounts {
        match self {
            Self::Rtm => SourceCounts::Rtm,
            Self::SocketMode { health, .. } => SourceCounts::SocketMode(health.clone()),
            Self::Http { counts, .. } => SourceCounts::Http(counts.clone()),
        }
    }

    /// Runs the transport, which hands everything over to `out`, until `cancel`.
    ///
    /// # Errors
    ///
    /// Fails if no further attempt can help, or if another host has the lease.
    pub(crate) async fn run(
        self,
        api: WebApi,
        rotation: Option<Rotation>,
        state: State,
        out: mpsc::Sender<Incoming>,
        lease: Arc<HostLease>,
        cancel: CancellationToken,
    ) -> Result<(), SourceError> {
        // A token that has expired is renewed before the first call, which would fail otherwise.
        if let Some(rotation) = &rotation {
            match cancel.run_until_cancelled(rotation.ready()).await {
                Some(Ok(())) => {}
                Some(Err(RefreshError::Refused(error))) => return Err(Fatal(error).into()),
                Some(Err(RefreshError::Stopped)) | None => return Ok(()),
            }
        }
        match self {
            Self::Rtm => {
                let Some(session) = session(&api, rotation.as_ref(), &out, &cancel).await? else {
                    return Ok(());
                };
                if lease.acquire(&session, &cancel).await? == Acquisition::Cancelled {
                    return Ok(());
                }
                // A token that expires ends the session. With a new one another session begins, in which the gap
                // between the two is read from history.
                loop {
                    let seen = api.token_version();
                    let config = rtm::Config::default();
                    match rtm::run(api.clone(), config, out.clone(), cancel.clone()).await {
                        Err(Fatal(error)) if renewed(&error, rotation.as_ref(), seen).await => {}
                        outcome => return Ok(outcome?),
                    }
                }
            }
            Self::SocketMode {
                app,
                connections,
                health,
            } => {
                let Some(session) = session(&api, rotation.as_ref(), &out, &cancel).await? else {
                    return Ok(());
                };
                if lease.acquire(&session, &cancel).await? == Acquisition::Cancelled {
                    return Ok(());
                }
                let config = socket_mode::Config {
                    connections,
                    health,
                    ..socket_mode::Config::default()
                };
                Ok(socket_mode::run(app, session, config, out, cancel).await?)
            }
            Self::Http {
                mut requests, fact, ..
            } => {
                // Slack calls us from the first moment, and waits 3 seconds for each answer.
                let known = known_session(&state, &fact);
                let is_known = known.is_some();
                if let Some(known) = known {
                    if lease.acquire(&known, &cancel).await? == Acquisition::Cancelled {
                        return Ok(());
                    }
                    if out.send(Incoming::Expected(known)).await.is_err() {
                        return Ok(());
                    }
                }
                let asking = session(&api, rotation.as_ref(), &out, &cancel);
                tokio::pin!(asking);
                let session = loop {
                    tokio::select! {
                        session = &mut asking => break session?,
                        // The team is known from an earlier run, so that requests do not have to wait for the Web API.
                        Some(request) = requests.recv(), if is_known => {
                            if out.send(request).await.is_err() {
                                return Ok(());
                            }
                        }
                    }
                };
                let Some(session) = session else {
                    return Ok(());
                };
                keep_session(&state, &fact, &session);
                if lease.acquire(&session, &cancel).await? == Acquisition::Cancelled {
                    return Ok(());
                }
                tracing::info!(
                    team = session.team_name,
                    user = session.self_name,
                    "ready for Slack's requests"
                );
                // HTTP has neither a connection nor a hello of Slack's. The app gets one as on the other transports.
                for incoming in [
                    Incoming::Connected(session),
                    Incoming::Frame(Frame::hello(None)),
                ] {
                    if out.send(incoming).await.is_err() {
                        return Ok(());
                    }
                }
                // While the way in takes no frames, requests wait. Slack sends those again that wait for too long.
                while let Some(Some(incoming)) = cancel.run_until_cancelled(requests.recv()).await {
                    if out.send(incoming).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The session that the state knows, from an earlier run.
fn known_session(state: &State, fact: &str) -> Option<Session> {
    let kept = state.fact(fact).ok()??;
    serde_json::from_slice(&kept).ok()
}

/// Stores the session in the state, for a start at which the Web API does not answer.
fn keep_session(state: &State, fact: &str, session: &Session) {
    if known_session(state, fact).as_ref() == Some(session) {
        return;
    }
    let kept = serde_json::to_vec(session).map_err(|error| error.to_string());
    let kept = kept.and_then(|kept| {
        state
            .set_fact(fact, &kept)
            .map_err(|error| error.to_string())
    });
    if let Err(error) = kept {
        tracing::warn!(
            error,
            "the team was not written to the state; a start takes no requests before Slack's Web API answers"
        );
    }
}

/// Asks Slack for the session of the bot's token, until it answers. Gives `None` if `cancel` comes first. Each failure
/// is reported as a lost connection, so that readiness and metrics show it.
///
/// # Errors
///
/// Fails if Slack refuses the token for good.
async fn session(
    api: &WebApi,
    rotation: Option<&Rotation>,
    out: &mpsc::Sender<Incoming>,
    cancel: &CancellationToken,
) -> Result<Option<Session>, Fatal> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        let seen = api.token_version();
        let Some(answer) = cancel.run_until_cancelled(api.auth_test()).await else {
            return Ok(None);
        };
        let error = match answer {
            Ok(identity) => return Ok(Some(session_of(identity))),
            Err(error) => error,
        };
        // With the new token it is tried again at once.
        if renewed(&error, rotation, seen).await {
            continue;
        }
        let retry_in = match error.class() {
            Class::Fatal | Class::Refresh => return Err(Fatal(error)),
            Class::RateLimited { retry_after } => retry_after,
            _ => backoff.failed(),
        };
        tracing::warn!(
            retry_in_ms = retry_in.as_millis() as u64,
            "Slack can't be asked who we are: {error}"
        );
        let told = out.send(Incoming::Disconnected {
            reason: error.to_string(),
            retry_in,
        });
        if told.await.is_err() {
            return Ok(None);
        }
        let wait = cancel.run_until_cancelled(tokio::time::sleep(retry_in));
        if wait.await.is_none() {
            return Ok(None);
        }
    }
}

/// Whether `error` says that the token of version `seen` has expired, and there is another one now.
pub(super) async fn renewed(error: &ApiError, rotation: Option<&Rotation>, seen: u64) -> bool {
    match (error.class(), rotation) {
        (Class::Refresh, Some(rotation)) => rotation.renew(seen).await.is_ok(),
        _ => false,
    }
}

fn session_of(identity: Identity) -> Session {
    let domain = identity
        .url
        .trim_start_matches("https://")
        .split('.')
        .next()
        .unwrap_or_default();
    Session {
        team_domain: domain.to_owned(),
        self_id: identity.user_id,
        self_name: identity.user,
        team_id: identity.team_id,
        team_name: identity.team,
    }
}
