//! Keeps the roster: from the state at once, from Slack in the background, current by events, back to the state at the end.

mod listing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use djangobot_event::Event;
use djangobot_slack::roster::{List, Progress};
use djangobot_slack::{Pacer, Roster, Session, WebApi};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::state::State;
use crate::team::Team;
use crate::telemetry::Terminal;
pub(crate) use listing::Search;
use listing::{Listing, Pauses};

/// How often the roster goes to the state while it changes.
const SAVE: Duration = Duration::from_secs(60);

/// Where events have ids of conversations, and of users.
const CONVERSATIONS_AT: [&str; 4] = ["/channel", "/channel/id", "/channel_id", "/item/channel"];
const USERS_AT: [&str; 6] = [
    "/user",
    "/user/id",
    "/user_id",
    "/item_user",
    "/inviter",
    "/message/user",
];

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
    pauses: Pauses,
    /// Whether there is a roster: an old one of the state, or a new one of Slack's.
    ready: watch::Sender<bool>,
    /// How each list stands, in the order of [`List::ALL`]; whoever misses a name asks for a list here.
    listings: watch::Sender<[Listing; 3]>,
    /// Nothing is loaded any more.
    is_over: AtomicBool,
    changed: AtomicBool,
}

impl RosterKeeper {
    pub(crate) fn new(
        team: &Team,
        api: WebApi,
        pacer: Pacer,
        state: State,
        metrics: Metrics,
        terminal: Terminal,
        wait: Duration,
    ) -> Self {
        Self {
            roster: team.roster().clone(),
            api,
            pacer,
            state,
            metrics,
            terminal,
            wait,
            pauses: Pauses::default(),
            ready: watch::Sender::new(false),
            listings: watch::Sender::default(),
            is_over: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// How long what needs a name waits, where it can do without.
    pub(crate) fn patience(&self) -> Duration {
        self.wait
    }

    /// Follows an event: what it says of users and conversations, and whom it mentions that nobody knows.
    pub(crate) fn apply(&self, event: &Event) {
        if self.roster.apply(event) {
            self.changed.store(true, Ordering::Relaxed);
        }
        // Before there are lists, all ids are unknown.
        let listings = self.listings.borrow();
        for (list, pointers) in [
            (List::Conversations, &CONVERSATIONS_AT[..]),
            (List::Users, &USERS_AT[..]),
        ] {
            if listings[list as usize].is_whole() {
                for id in pointers.iter().filter_map(|pointer| event.text(pointer)) {
                    self.roster.want(&id);
                }
            }
        }
    }

    /// A session began, or a connection took the place of another one.
    pub(crate) fn session_began(&self) {
        let now = Instant::now();
        self.listings.send_modify(|listings| {
            listings.iter_mut().for_each(|it| it.session_began(now));
        });
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

    /// Looks for what the roster may know. Where it does not, Slack is asked for the list again before the answer is no:
    /// once for all that wait, and not more often than [`Pauses`] allows.
    pub(crate) async fn search<T>(
        &self,
        list: List,
        look: impl Fn(&Roster) -> Option<T>,
    ) -> Search<T> {
        let asked = Instant::now();
        let mut listings = self.listings.subscribe();
        if let Some(found) = look(&self.roster) {
            return Search::Found(found);
        }
        self.listings
            .send_modify(|listings| listings[list as usize].want(asked));
        loop {
            let answer = listings.borrow_and_update()[list as usize].answer(asked);
            if let Some(found) = look(&self.roster) {
                return Search::Found(found);
            }
            match answer {
                Some(Ok(())) => return Search::Absent,
                Some(Err(why)) => return Search::Unlisted(why),
                None if self.is_over.load(Ordering::Relaxed) => {
                    return Search::Unlisted("djangobot stops".to_owned());
                }
                // The sender is ours, so that it is there for as long as we wait.
                None => drop(listings.changed().await),
            }
        }
    }

    /// Loads the lists once the workspace is known, and again as [`Listing::due`] says; keeps them in the state, until
    /// `stop`.
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
                self.keep(&key, &stop).await;
                self.gauges();
                self.save(&key);
            },
            self.roster.fetch(&self.api, &self.pacer, stop.clone())
        );
    }

    /// The one place that loads lists. Brings what changed to the state now and then.
    async fn keep(&self, key: &str, stop: &CancellationToken) {
        let mut lacking = self.roster.lacking();
        let mut listings = self.listings.subscribe();
        let mut saves = interval_at(Instant::now() + SAVE, SAVE);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (list, due) = self.next(&listings.borrow_and_update());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = lacking.changed() => {
                    let lacking = *lacking.borrow_and_update();
                    self.listings.send_modify(|listings| {
                        for (listing, at) in listings.iter_mut().zip(lacking) {
                            at.into_iter().for_each(|at| listing.lacked(at));
                        }
                    });
                }
                Ok(()) = listings.changed() => {}
                () = sleep_until(due) => {
                    if stop.run_until_cancelled(self.load(list)).await.is_none() {
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

    /// The list that is to be loaded next, and when.
    fn next(&self, listings: &[Listing; 3]) -> (List, Instant) {
        let due = |list| (listings[list as usize].due(&self.pauses), list);
        let [first, others @ ..] = List::ALL;
        let (mut at, mut next) = due(first);
        for (other, list) in others.map(due) {
            if other < at {
                (at, next) = (other, list);
            }
        }
        (next, at)
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
                    tracing::warn!(%error, "the roster of the last run can't be read; it is loaded again")
                }
            },
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the roster of the last run can't be read; it is loaded again")
            }
        }
    }

    /// Loads one list. The others do not wait for one that fails: it is tried again later.
    async fn load(&self, list: List) {
        let began = Instant::now();
        let is_first = !self.listings.borrow()[list as usize].has_ended();
        let bar = is_first.then(|| self.terminal.bar("roster"));
        let progress = |progress: Progress| {
            if let Some(bar) = &bar {
                bar.set_position(progress.read as u64);
            }
        };
        let loaded = self
            .roster
            .load(list, &self.api, &self.pacer, &progress)
            .await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.listings
            .send_modify(|listings| listings[list as usize].ended(list, began, loaded));
        self.changed.store(true, Ordering::Relaxed);
        self.gauges();
        let listings = self.listings.borrow().clone();
        if is_first && listings.iter().all(Listing::has_ended) {
            self.tell_first(&listings);
            self.ready.send_replace(true);
        }
    }

    /// Says what there is, and what there is not.
    fn tell_first(&self, listings: &[Listing; 3]) {
        let known = self.roster.len();
        let missing = List::ALL
            .into_iter()
            .filter(|list| !listings[*list as usize].is_whole())
            .map(List::name);
        let missing = missing.collect::<Vec<_>>().join(", ");
        if missing.is_empty() {
            tracing::info!(
                users = known.users,
                conversations = known.conversations,
                "the roster is loaded"
            );
        } else {
            tracing::warn!(
                users = known.users,
                conversations = known.conversations,
                missing,
                "the roster is loaded in part; names of what is missing stay unknown"
            );
        }
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
                "the roster can't be kept; the next start loads it again"
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
        self.0.is_over.store(true, Ordering::Relaxed);
        self.0.ready.send_replace(true);
        self.0.listings.send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests;
