//! The lease of an app in the channel layer, by which one host at a time serves the app and others stand by.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use djangobot_channels::{
    ChannelLayer, ChannelName, Claim, Guard, Holder, LayerError, Lease, Member,
};
use djangobot_slack::Session;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::custody::Ledger;
use crate::bridge::moment::ts_now;
use crate::listener::Readiness;
use crate::metrics::Metrics;

/// How long a lease lasts that is not renewed. After a kill of its host, the next one waits for as long.
const LIFETIME: Duration = Duration::from_secs(15);
/// How often the lease is renewed: three times within its lifetime, so that one failure does not lose it.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often a host tries to take the lease while it stands by, or while the layer fails. It is also how soon it hears
/// that the other host has given it back.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How long a stop waits for giving the lease back.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(2);

/// The name of the lease of an app in a team. It has the bot's user, which is the app's own, and which each transport
/// knows before events come.
pub(crate) fn name_of(team_id: &str, user_id: &str) -> String {
    format!("{team_id}:{user_id}")
}

/// The error of a host that may not serve the app, since another one does.
#[derive(Debug, Clone, Error)]
pub(crate) enum HostLeaseError {
    /// The lease is another host's, and this one does not wait.
    #[error(
        "the host {0} serves this app already, and --no-standby says not to wait; stop that host, or start this one without --no-standby"
    )]
    Held(String),
    /// Another host took the lease after this one had not renewed it in time.
    #[error(
        "the host {0} serves this app now: this one had not renewed its lease in time, so it has stopped forwarding and sending"
    )]
    Lost(String),
}

/// Whether this host may forward and send.
#[derive(Debug, Clone)]
enum LeaseState {
    /// The app is not known yet, and so the lease's name is not either.
    Unnamed,
    /// The lease is ours. It was taken or renewed by a call that began at this moment, so it lasts [`LIFETIME`] from
    /// then on.
    Ours(Instant),
    /// The layer can't keep leases, so no host is kept away.
    Free,
    /// The layer does not answer, and our lease may have ended.
    Away(LayerError),
    /// The lease is that of the named host.
    Theirs(String),
}

/// The end of the wait for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquisition {
    /// This host may serve the app.
    Serving,
    /// The bridge stops.
    Cancelled,
}

/// This host's part in the lease of its app.
pub(crate) struct HostLease {
    layer: Arc<dyn ChannelLayer>,
    holder: Holder,
    standby: bool,
    name: OnceLock<String>,
    named: Notify,
    /// Whether this host has begun to serve the app.
    serves: AtomicBool,
    /// Whether this process has had the lease.
    has_held: AtomicBool,
    /// Asks for a renewal at once.
    renew: Notify,
    state: watch::Sender<LeaseState>,
    /// Told when this host begins to listen in the place of another one.
    ledger: Ledger,
    readiness: Arc<Readiness>,
    metrics: Metrics,
}

impl HostLease {
    /// A lease that is not taken yet. `host_id` is the state's id of this host, which is the same after a restart.
    pub(crate) fn new(
        layer: Arc<dyn ChannelLayer>,
        host_id: &str,
        standby: bool,
        ledger: Ledger,
        readiness: Arc<Readiness>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let process = std::process::id();
        let unique = uuid::Uuid::new_v4().simple();
        Arc::new(Self {
            layer,
            holder: Holder {
                id: format!("{host_id}/{unique}").into(),
                name: format!("{} (process {process})", host_name()).into(),
            },
            standby,
            name: OnceLock::new(),
            named: Notify::new(),
            serves: AtomicBool::new(false),
            has_held: AtomicBool::new(false),
            renew: Notify::new(),
            state: watch::Sender::new(LeaseState::Unnamed),
            ledger,
            readiness,
            metrics,
        })
    }

    /// Waits until this host may serve the app of `session`, or until `cancel`.
    ///
    /// # Errors
    ///
    /// Fails if the lease is another host's, and this one does not stand by.
    pub(crate) async fn acquire(
        &self,
        session: &Session,
        cancel: &CancellationToken,
    ) -> Result<Acquisition, HostLeaseError> {
        let name = name_of(&session.team_id, &session.self_id);
        // If the name is set already, this is the same app, connected again.
        let _ = self.name.set(name);
        self.named.notify_one();
        let mut state = self.state.subscribe();
        let mut has_waited = false;
        loop {
            match &*state.borrow_and_update() {
                // While the layer does not answer, events wait on the disk, and none goes to the layer.
                LeaseState::Ours(_) | LeaseState::Free | LeaseState::Away(_) => {
                    if has_waited {
                        // The other host listened until its lease was not renewed any more: what it forwarded is not
                        // read from history a second time.
                        self.ledger
                            .start_listening(ts_now().saturating_sub(LIFETIME));
                    }
                    self.serves.store(true, Ordering::Relaxed);
                    return Ok(Acquisition::Serving);
                }
                LeaseState::Theirs(holder) if !self.standby => {
                    return Err(HostLeaseError::Held(holder.clone()));
                }
                LeaseState::Theirs(holder) if !std::mem::replace(&mut has_waited, true) => {
                    tracing::warn!(
                        %holder,
                        "the host {holder} serves this app already; this one stands by until it is gone"
                    );
                }
                LeaseState::Theirs(_) | LeaseState::Unnamed => {}
            }
            match cancel.run_until_cancelled(state.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return Ok(Acquisition::Cancelled),
            }
        }
    }

    /// Takes the lease and renews it, until `stop`.
    ///
    /// # Errors
    ///
    /// Fails if the lease is lost to another host.
    pub(crate) async fn keep(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Result<(), HostLeaseError> {
        let Some(()) = stop.run_until_cancelled(self.named.notified()).await else {
            return Ok(());
        };
        // Only the first claim may take over from an earlier process of this host, which is gone, since this one has
        // the state folder. After that, another process of this host that has the lease is a later one.
        let mut takes_over = true;
        loop {
            // Before the call: the lease may have begun at any moment of it, and must not be believed in for too long.
            let asked = Instant::now();
            let claim = Claim {
                name: self.name.get().cloned().unwrap_or_default(),
                holder: self.holder.clone(),
                time: LIFETIME,
                takes_over,
            };
            match self.layer.claim(&claim).await {
                Ok(lease) => {
                    takes_over = false;
                    self.note_answer(&lease, asked);
                    if !lease.is_ours && self.serves.load(Ordering::Relaxed) {
                        return Err(HostLeaseError::Lost(lease.holder));
                    }
                }
                Err(error) if error.is_temporary() => self.note_failure(error),
                Err(LayerError::Closed) => return Ok(()),
                Err(error) => {
                    tracing::warn!(
                        "the channel layer can't keep a lease: {error}; run only one host for this app, since nothing keeps a second one away"
                    );
                    self.state.send_replace(LeaseState::Free);
                    self.readiness.set_host(None);
                    stop.cancelled().await;
                    return Ok(());
                }
            }
            let pause = match &*self.state.borrow() {
                LeaseState::Ours(_) => RENEW_EVERY,
                _ => TRY_EVERY,
            };
            // A request for a renewal that came before the answer is served by it, and does no harm.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
                () = self.renew.notified() => {}
            }
        }
    }

    /// Gives the lease back, so that the next host does not have to wait for its end.
    pub(crate) async fn give_back(&self) {
        let (Some(name), LeaseState::Ours(_)) = (self.name.get(), &*self.state.borrow()) else {
            return;
        };
        let released = self.layer.release(name, &self.holder);
        match tokio::time::timeout(GIVE_BACK_TIMEOUT, released).await {
            Ok(Ok(())) => tracing::debug!("the lease was given back"),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lease was not given back; it ends by itself")
            }
            Err(_) => {
                tracing::debug!("the lease could not be given back in time; it ends by itself")
            }
        }
    }

    /// Notes an answer of the layer to a call that began at `asked`.
    fn note_answer(&self, lease: &Lease, asked: Instant) {
        let was = match &*self.state.borrow() {
            LeaseState::Ours(_) => None,
            LeaseState::Theirs(holder) => Some(holder.clone()),
            _ => Some(String::new()),
        };
        let state = match lease.is_ours {
            true => LeaseState::Ours(asked),
            false => LeaseState::Theirs(lease.holder.clone()),
        };
        self.has_held.fetch_or(lease.is_ours, Ordering::Relaxed);
        if let (true, Some(before)) = (lease.is_ours, &was) {
            match before.is_empty() {
                true => tracing::info!(number = lease.number, "this host serves the app"),
                false => tracing::info!(
                    number = lease.number,
                    "the host {before} is gone; this one serves the app now"
                ),
            }
        }
        self.state.send_replace(state);
        let other = (!lease.is_ours).then(|| lease.holder.clone());
        self.readiness.set_host(other);
        self.metrics.lease_held().set(f64::from(lease.is_ours));
        self.metrics.lease_number().set(lease.number as f64);
        self.metrics.lease_holder(&lease.holder, was.as_deref());
    }

    /// Notes that the layer did not answer. Nobody can take a lease that has not ended. After its end it may be
    /// another's.
    fn note_failure(&self, error: LayerError) {
        self.state.send_if_modified(|state| {
            let is_sure = matches!(state, LeaseState::Ours(since) if since.elapsed() < LIFETIME);
            if !is_sure && !matches!(state, LeaseState::Theirs(_)) {
                *state = LeaseState::Away(error);
                return true;
            }
            false
        });
    }

    /// The state of the lease now. If it was not renewed for long, for example because this machine stood still, it
    /// waits for a renewal first.
    async fn current(&self) -> LeaseState {
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                LeaseState::Unnamed => {}
                LeaseState::Ours(since) if since.elapsed() >= LIFETIME => self.renew.notify_one(),
                known => return known.clone(),
            }
            // This can't fail: the sender is our own.
            let _ = state.changed().await;
        }
    }

    /// Checks whether this host may put messages on the layer now.
    ///
    /// # Errors
    ///
    /// Fails if the lease is another host's, or may be.
    async fn may_forward(&self) -> Result<(), LayerError> {
        match self.current().await {
            LeaseState::Away(error) => Err(error),
            LeaseState::Theirs(holder) => Err(LayerError::Unavailable {
                address: self.layer.describe(),
                reason: format!("the host {holder} has the lease of this app"),
            }),
            LeaseState::Unnamed | LeaseState::Ours(_) | LeaseState::Free => Ok(()),
        }
    }

    /// Waits until this host may call Slack for the app. If the layer does not answer any more, a host that had the
    /// lease goes on, because the messages that it has taken are in its own outbox alone. If the lease is lost, the
    /// stop that follows ends all waiting.
    pub(crate) async fn may_send(&self) {
        let mut state = self.state.subscribe();
        loop {
            // Before it is read, so that a change in between is not missed below.
            state.mark_unchanged();
            match self.current().await {
                LeaseState::Unnamed | LeaseState::Ours(_) | LeaseState::Free => return,
                LeaseState::Away(_) if self.has_held.load(Ordering::Relaxed) => return,
                LeaseState::Away(_) | LeaseState::Theirs(_) => {}
            }
            // This can't fail: the sender is our own.
            let _ = state.changed().await;
        }
    }
}

/// The name of this machine.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name
            .chars()
            .filter(|it| !it.is_control())
            .take(64)
            .collect(),
    }
}

/// The layer takes messages from the host that has the lease, and from no other.
#[async_trait]
impl Guard for HostLease {
    async fn admit(&self, _: &ChannelName, _: &[Member]) -> Result<(), LayerError> {
        self.may_forward().await
    }

    async fn admit_others(&self) -> Result<(), LayerError> {
        self.may_forward().await
    }
}
