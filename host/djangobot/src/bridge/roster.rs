//! Keeps the roster: from the state at once, from Slack in the background, current by events, back to the state at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use djangobot_event::Event;
use djangobot_slack::roster::Progress;
use djangobot_slack::{Class, Pacer, Roster, Session, WebApi};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Bridge;
use crate::metrics::Metrics;
use crate::state::State;
use crate::telemetry::Terminal;
use djangobot_slack::Backoff;

/// How often the roster goes to the state while it changes.
const SAVE: Duration = Duration::from_secs(60);
/// Loads begin no closer to each other than this, however often the connection is made anew.
const BETWEEN_LOADS: Duration = Duration::from_secs(300);

/// The roster of one workspace, and its upkeep.
pub(crate) struct RosterKeeper {
    roster: Roster,
    api: WebApi,
    pacer: Pacer,
    state: State,
    metrics: Metrics,
    terminal: Terminal,
    /// How long [`RosterKeeper::ready`] waits, at most.
    wait: Duration,
    /// From the beginning of one load to that of the next, at least.
    between_loads: Duration,
    /// Whether there is a roster: an old one of the state, or a new one of Slack's.
    ready: watch::Sender<bool>,
    /// Whether a load is under way, or the first one still to come.
    loading: watch::Sender<bool>,
    /// Whether Slack let us list conversations, so that a name that is not in the roster is not in Slack.
    complete: AtomicBool,
    changed: AtomicBool,
}

impl RosterKeeper {
    pub(crate) fn new(bridge: &Bridge, pacer: Pacer) -> Self {
        Self {
            roster: bridge.team.roster().clone(),
            api: bridge.api.clone(),
            pacer,
            state: bridge.state.clone(),
            metrics: bridge.metrics.clone(),
            terminal: bridge.terminal.clone(),
            wait: bridge.settings.slack.roster_wait,
            between_loads: BETWEEN_LOADS,
            ready: watch::Sender::new(false),
            loading: watch::Sender::new(true),
            complete: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Follows an event that says something of users or conversations.
    pub(crate) fn apply(&self, event: &Event) {
        if self.roster.apply(event) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until there is a roster, for no longer than the config allows, and only on a first start.
    pub(crate) async fn ready(&self) {
        if *self.ready.borrow() {
            return;
        }
        let mut ready = self.ready.subscribe();
        if tokio::time::timeout(self.wait, ready.wait_for(|ready| *ready))
            .await
            .is_err()
        {
            tracing::warn!(waited = ?self.wait, "the roster is not there yet; names stay unknown until it is");
            // Who came after this one need not wait as long again.
            self.ready.send_replace(true);
        }
    }

    /// Waits until the load under way has ended, well or badly, or there is none: what the roster does not know then, it
    /// won't know soon.
    pub(crate) async fn loaded(&self) {
        // The sender is ours, so that it is there for as long as we wait.
        let _ = self.loading.subscribe().wait_for(|loading| !loading).await;
    }

    /// Whether a conversation that the roster does not know is not there at all.
    pub(crate) fn knows_conversations(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Loads the roster once the workspace is known and again after each reconnect, keeps it in the state, until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut session: watch::Receiver<Option<Session>>,
        stop: CancellationToken,
    ) {
        // However this ends, nobody need wait for a roster any longer.
        let _waiters = Release(&self);
        let connected = stop
            .run_until_cancelled(session.wait_for(Option::is_some))
            .await;
        let Some(Ok(Some(Session {
            team_id, self_id, ..
        }))) = connected.map(|found| found.map(|session| session.clone()))
        else {
            return;
        };
        self.roster.set_self(&self_id);
        let key = format!("roster/{team_id}");
        self.restore(&key);
        tokio::join!(
            async {
                self.keep(&key, session, &stop).await;
                self.gauges();
                self.save(&key);
            },
            self.roster.fetch(&self.api, &self.pacer, stop.clone())
        );
    }

    /// Loads the roster, and again when a later session begins: what happened between two sessions, Slack does not tell.
    /// Brings what changed to the state now and then.
    async fn keep(
        &self,
        key: &str,
        mut session: watch::Receiver<Option<Session>>,
        stop: &CancellationToken,
    ) {
        let mut load_at = Some(Instant::now());
        let mut may_load_at = Instant::now();
        let mut saves = interval_at(Instant::now() + SAVE, SAVE);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = session.changed() => {
                    self.complete.store(false, Ordering::Relaxed);
                    load_at.get_or_insert(may_load_at);
                }
                () = sleep_until(load_at.unwrap_or(may_load_at)), if load_at.is_some() => {
                    load_at = None;
                    may_load_at = Instant::now() + self.between_loads;
                    if stop.run_until_cancelled(self.load()).await.is_none() {
                        return;
                    }
                }
                _ = saves.tick() => {
                    self.gauges();
                    self.save(key);
                }
            }
        }
    }

    fn restore(&self, key: &str) {
        match self.state.fact(key) {
            Ok(Some(snapshot)) => match self.roster.restore(&snapshot) {
                Ok(()) => {
                    self.ready.send_replace(true);
                    tracing::debug!(
                        users = self.roster.len().users,
                        "the roster of the last run is there"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "the roster of the last run can't be read; it is loaded anew")
                }
            },
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the roster of the last run can't be read; it is loaded anew")
            }
        }
    }

    async fn load(&self) {
        self.loading.send_replace(true);
        let bar = self.terminal.bar("roster");
        let progress =
            |progress: Progress| bar.set_position((progress.users + progress.conversations) as u64);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            match self.roster.load(&self.api, &self.pacer, &progress).await {
                Ok(loaded) => {
                    for warning in &loaded.warnings {
                        tracing::warn!("{warning}");
                    }
                    let complete = !loaded
                        .warnings
                        .iter()
                        .any(|warning| warning.what.ends_with("channels"));
                    self.complete.store(complete, Ordering::Relaxed);
                    break;
                }
                Err(error) if matches!(error.class(), Class::Fatal | Class::Permanent) => {
                    tracing::warn!("the roster can't be loaded: {error}; names stay unknown");
                    break;
                }
                Err(error) => {
                    tracing::warn!("the roster can't be loaded now: {error}; trying again");
                    // Slack may be unwell for hours; whoever waits gets an answer out of what is known.
                    self.loading.send_replace(false);
                    backoff.wait().await;
                    self.loading.send_replace(true);
                }
            }
        }
        bar.finish_and_clear();
        self.ready.send_replace(true);
        self.loading.send_replace(false);
        self.changed.store(true, Ordering::Relaxed);
        self.gauges();
        let known = self.roster.len();
        tracing::info!(
            users = known.users,
            conversations = known.conversations,
            "the roster is loaded"
        );
    }

    /// Brings what changed to the state.
    fn save(&self, key: &str) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let kept = match self.roster.snapshot() {
            Ok(snapshot) => self
                .state
                .set_fact(key, &snapshot)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = kept {
            tracing::warn!(
                error,
                "the roster can't be kept; the next start loads it anew"
            );
        }
    }

    fn gauges(&self) {
        let known = self.roster.len();
        self.metrics.roster("users").set(known.users as f64);
        self.metrics
            .roster("conversations")
            .set(known.conversations as f64);
        self.metrics
            .roster("usergroups")
            .set(known.usergroups as f64);
        if let Ok(letters) = self.state.dead_letter_count() {
            self.metrics.dead_letters().set(letters as f64);
        }
    }
}

/// Lets all go on that wait for the roster, once dropped.
struct Release<'a>(&'a RosterKeeper);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.ready.send_replace(true);
        self.0.loading.send_replace(false);
    }
}

#[cfg(test)]
mod tests;
