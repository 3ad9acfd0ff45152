//! One host at a time serves an app: the lease in the channel layer that says which, and what waits for it.

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

/// How long a lease lasts that is not renewed: so long a host that was killed keeps the next one waiting.
const LASTS: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEWED: Duration = Duration::from_secs(4);
/// How often a host that stands by, or that could not ask, asks again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long giving it back may take at a stop.
const GIVEN_BACK: Duration = Duration::from_secs(2);

/// The name of the lease of an app in a team: the bot's user is the app's own, and every transport knows it before
/// events flow.
pub(crate) fn name_of(team_id: &str, user_id: &str) -> String {
    format!("{team_id}:{user_id}")
}

/// Another host serves the app.
#[derive(Debug, Clone, Error)]
pub(crate) enum HostLeaseError {
    /// And this one was told not to wait.
    #[error("the host {0} serves this app already, and --no-standby says not to wait for its end")]
    Held(String),
    /// It took the lease while this one was not heard of.
    #[error(
        "the host {0} serves this app now: this one had not renewed its lease in time, so it has stopped forwarding and sending"
    )]
    Lost(String),
}

/// Whether this host may forward and send.
#[derive(Debug, Clone)]
enum Standing {
    /// Nobody knows yet which app it is.
    Unnamed,
    /// Since then at least, unless the lease ended.
    Ours(Instant),
    /// The layer has no leases for us, so nobody is kept away.
    Free,
    /// The layer can't be asked.
    Away(LayerError),
    Theirs(String),
}

/// This host's part in the lease of its app.
pub(crate) struct HostLease {
    layer: Arc<dyn ChannelLayer>,
    holder: Holder,
    standby: bool,
    name: OnceLock<String>,
    named: Notify,
    /// Whether events may have come to us since we were let in.
    serves: AtomicBool,
    /// Whether this process has had the lease.
    has_held: AtomicBool,
    /// Asks for a renewal at once.
    renew: Notify,
    standing: watch::Sender<Standing>,
    /// Knows up to when the app's events were listened to.
    ledger: Ledger,
    readiness: Arc<Readiness>,
    metrics: Metrics,
}

impl HostLease {
    /// Not asked for yet. `host_id` is what outlives the process.
    pub(crate) fn new(
        layer: Arc<dyn ChannelLayer>,
        host_id: &str,
        standby: bool,
        ledger: Ledger,
        (readiness, metrics): (Arc<Readiness>, Metrics),
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
            standing: watch::Sender::new(Standing::Unnamed),
            ledger,
            readiness,
            metrics,
        })
    }

    /// Waits until this host may serve the app of `session`. `None` when that is no longer wanted.
    pub(crate) async fn acquire(
        &self,
        session: &Session,
        cancel: &CancellationToken,
    ) -> Result<Option<()>, HostLeaseError> {
        let name = name_of(&session.team_id, &session.self_id);
        // Where it is known already, this is the same app, connected again.
        let _ = self.name.set(name);
        self.named.notify_one();
        let mut standing = self.standing.subscribe();
        let mut told = false;
        loop {
            match &*standing.borrow_and_update() {
                // While it can't be asked, events are kept on the disk, and nothing goes to the layer.
                Standing::Ours(_) | Standing::Free | Standing::Away(_) => {
                    if told {
                        // The other host listened until its lease was not renewed any more: what it forwarded is not
                        // read from history a second time.
                        self.ledger.start_listening(ts_now().saturating_sub(LASTS));
                    }
                    self.serves.store(true, Ordering::Relaxed);
                    return Ok(Some(()));
                }
                Standing::Theirs(holder) if !self.standby => {
                    return Err(HostLeaseError::Held(holder.clone()));
                }
                Standing::Theirs(holder) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(
                        %holder,
                        "the host {holder} serves this app already; this one stands by until it is gone"
                    );
                }
                Standing::Theirs(_) | Standing::Unnamed => {}
            }
            match cancel.run_until_cancelled(standing.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// Takes the lease and renews it, until `stop`; fails when it is lost. Gives it back at the end.
    pub(crate) async fn keep(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Result<(), HostLeaseError> {
        let Some(()) = stop.run_until_cancelled(self.named.notified()).await else {
            return Ok(());
        };
        let mut takes_over = true;
        loop {
            let asked = Instant::now();
            let claim = Claim {
                name: self.name.get().cloned().unwrap_or_default(),
                holder: self.holder.clone(),
                time: LASTS,
                takes_over,
            };
            match self.layer.claim(&claim).await {
                Ok(lease) => {
                    takes_over = false;
                    self.heard(&lease, asked);
                    if !lease.is_ours && self.serves.load(Ordering::Relaxed) {
                        return Err(HostLeaseError::Lost(lease.holder));
                    }
                }
                Err(error) if error.is_temporary() => self.not_heard(error),
                Err(LayerError::Closed) => return Ok(()),
                Err(error) => {
                    tracing::warn!(
                        "{error}; so no lease can say which host serves this app: see to it that only one runs"
                    );
                    self.standing.send_replace(Standing::Free);
                    self.readiness.set_host(None);
                    stop.cancelled().await;
                    return Ok(());
                }
            }
            let pause = match &*self.standing.borrow() {
                Standing::Ours(_) => RENEWED,
                _ => AGAIN,
            };
            // A wish for a renewal that came meanwhile is of before the answer.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
                () = self.renew.notified() => {}
            }
        }
    }

    /// Gives the lease back, so that the next host need not wait for its end.
    pub(crate) async fn give_back(&self) {
        let (Some(name), Standing::Ours(_)) = (self.name.get(), &*self.standing.borrow()) else {
            return;
        };
        let released = self.layer.release(name, &self.holder);
        match tokio::time::timeout(GIVEN_BACK, released).await {
            Ok(Ok(())) => tracing::debug!("the lease is given back"),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lease could not be given back; it ends by itself")
            }
            Err(_) => {
                tracing::debug!("the lease could not be given back in time; it ends by itself")
            }
        }
    }

    /// Takes note of an answer.
    fn heard(&self, lease: &Lease, asked: Instant) {
        let was = match &*self.standing.borrow() {
            Standing::Ours(_) => None,
            Standing::Theirs(holder) => Some(holder.clone()),
            _ => Some(String::new()),
        };
        let standing = match lease.is_ours {
            true => Standing::Ours(asked),
            false => Standing::Theirs(lease.holder.clone()),
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
        self.standing.send_replace(standing);
        let other = (!lease.is_ours).then(|| lease.holder.clone());
        self.readiness.set_host(other);
        self.metrics.lease_held().set(f64::from(lease.is_ours));
        self.metrics.lease_number().set(lease.number as f64);
        self.metrics.lease_holder(&lease.holder, was.as_deref());
    }

    /// Nobody can take a lease that did not end; after that it is not known to be ours.
    fn not_heard(&self, error: LayerError) {
        self.standing.send_if_modified(|standing| {
            let is_sure = matches!(standing, Standing::Ours(since) if since.elapsed() < LASTS);
            if !is_sure && !matches!(standing, Standing::Theirs(_)) {
                *standing = Standing::Away(error);
                return true;
            }
            false
        });
    }

    /// How it stands now. Where the server has not been asked for long, as after this machine stood still, it is asked
    /// first.
    async fn settled(&self) -> Standing {
        let mut standing = self.standing.subscribe();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Unnamed => {}
                Standing::Ours(since) if since.elapsed() >= LASTS => self.renew.notify_one(),
                known => return known.clone(),
            }
            // The sender is ours, and so is there.
            let _ = standing.changed().await;
        }
    }

    /// Whether this host may put something on the layer now.
    async fn may_forward(&self) -> Result<(), LayerError> {
        match self.settled().await {
            Standing::Away(error) => Err(error),
            Standing::Theirs(holder) => Err(LayerError::Unavailable {
                address: self.layer.describe(),
                reason: format!("the host {holder} has the lease of this app"),
            }),
            Standing::Unnamed | Standing::Ours(_) | Standing::Free => Ok(()),
        }
    }

    /// Waits until this host may call Slack for the app. Where the layer can't be asked any more, a host that had the
    /// lease goes on: what it has taken is in its own outbox alone. Where the lease is lost, the stop that follows ends
    /// all waiting.
    pub(crate) async fn may_send(&self) {
        let mut standing = self.standing.subscribe();
        loop {
            standing.mark_unchanged();
            match self.settled().await {
                Standing::Unnamed | Standing::Ours(_) | Standing::Free => return,
                Standing::Away(_) if self.has_held.load(Ordering::Relaxed) => return,
                Standing::Away(_) | Standing::Theirs(_) => {}
            }
            // The sender is ours, and so is there.
            let _ = standing.changed().await;
        }
    }
}

/// What this machine is called.
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
