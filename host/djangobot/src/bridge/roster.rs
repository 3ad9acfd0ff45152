//! The upkeep of the roster: it is restored from the state at a start, loaded from Slack in the background, updated by
//! events, and written to the state.

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
use listing::{ListAnswer, Listing, Pauses};

/// How often the roster is written to the state while it changes.
const SAVE: Duration = Duration::from_secs(60);

/// The places of conversations' ids in events.
const CONVERSATIONS_AT: [&str; 4] = ["/channel", "/channel/id", "/channel_id", "/item/channel"];
/// The places of users' ids in events.
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
    /// Whether there is a roster: an old one from the state, or a new one from Slack.
    ready: watch::Sender<bool>,
    /// The state of each list, in the order of [`List::ALL`], so that `list as usize` is the place of a list. A search
    /// that misses a name asks for a load here.
    listings: watch::Sender<[Listing; 3]>,
    /// Whether no list is loaded any more.
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

    /// How long a call waits for a name if it is possible without it.
    pub(crate) fn patience(&self) -> Duration {
        self.wait
    }

    /// Updates the roster by an event, and asks Slack for users and conversations in it that are not known.
    pub(crate) fn apply(&self, event: &Event) {
        if self.roster.apply(event) {
            self.changed.store(true, Ordering::Relaxed);
        }
        // Before a list is loaded, all its ids are unknown, and it brings most of them.
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

    /// Notes that a session began, or that a connection was replaced: changes in between may have been missed.
    pub(crate) fn session_began(&self) {
        let now = Instant::now();
        self.listings.send_modify(|listings| {
            listings.iter_mut().for_each(|it| it.session_began(now));
        });
    }

    /// Waits until there is a roster, for as long as the config allows. Only a first start has to wait.
    pub(crate) async fn ready(&self) {
        if *self.ready.borrow() {
            return;
        }
        let mut ready = self.ready.subscribe();
        if tokio::time::timeout(self.wait, ready.wait_for(|ready| *ready))
            .await
            .is_err()
        {
            tracing::warn!(waited = ?self.wait, "the roster is not loaded yet; names stay unknown until it is");
            // Later calls do not have to wait as long again.
            self.ready.send_replace(true);
        }
    }

    /// Searches the roster with `look`. If it finds nothing, Slack is asked for the list again before the answer is no:
    /// once for all that wait, and not more often than [`Pauses`] allows.
    pub(crate) async fn search<T>(
        &self,
        list: List,
        look: impl Fn(&Roster) -> Option<T>,
    ) -> Search<T> {
        // In this order: a load that ends after the look is noticed, because it was subscribed to before, and one that
        // began before `asked` is not taken for an answer.
        let asked = Instant::now();
        let mut listings = self.listings.subscribe();
        if let Some(found) = look(&self.roster) {
            return Search::Found(found);
        }
        self.listings
            .send_modify(|listings| listings[list as usize].want(asked));
        loop {
            // The answer is read before the roster, so that a roster without the name is at least as new as the list.
            let answer = listings.borrow_and_update()[list as usize].answer(asked);
            if let Some(found) = look(&self.roster) {
                return Search::Found(found);
            }
            match answer {
                ListAnswer::Whole => return Search::Absent,
                ListAnswer::Lacking(why) => return Search::Unlisted(why),
                ListAnswer::NotLoaded if self.is_over.load(Ordering::Relaxed) => {
                    return Search::Unlisted("djangobot stops".to_owned());
                }
                // This can't fail: the sender is our own.
                ListAnswer::NotLoaded => drop(listings.changed().await),
            }
        }
    }

    /// Loads the lists once the workspace is known, and again as [`Listing::due`] says, and writes them to the state,
    /// until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut session: watch::Receiver<Option<Session>>,
        stop: CancellationToken,
    ) {
        // When this ends, for whatever reason, all that wait for the roster are released: nothing comes any more.
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
                self.refresh(&key, &stop).await;
                self.update_gauges();
                self.save(&key);
            },
            self.roster.fetch(&self.api, &self.pacer, stop.clone())
        );
    }

    /// Loads lists when they are due; this is the one place that does so. Saves the roster regularly.
    async fn refresh(&self, key: &str, stop: &CancellationToken) {
        let mut lacking = self.roster.lacking();
        let mut listings = self.listings.subscribe();
        let mut saves = interval_at(Instant::now() + SAVE, SAVE);
        saves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (list, due) = self.next(&listings.borrow_and_update());
            // In this order: a stop goes first, and news about the lists before a load that they may bring forward.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = lacking.changed() => {
                    let lacking = *lacking.borrow_and_update();
                    self.listings.send_modify(|listings| {
                        for (listing, at) in listings.iter_mut().zip(lacking) {
                            at.into_iter().for_each(|at| listing.note_lack(at));
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
                    self.update_gauges();
                    self.save(key);
                }
            }
        }
    }

    /// The list that is to be loaded next, and the time for it.
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

    /// Restores the roster of the last run.
    fn restore(&self, key: &str) {
        match self.state.fact(key) {
            Ok(Some(snapshot)) => match self.roster.restore(&snapshot) {
                Ok(()) => {
                    self.ready.send_replace(true);
                    tracing::debug!(
                        users = self.roster.len().users,
                        "the roster of the last run was restored"
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

    /// Loads one list. A failure does not hold up the others: the list is tried again later.
    async fn load(&self, list: List) {
        let began = Instant::now();
        // The first load is shown to people who wait for the start. Later ones are not.
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
            .send_modify(|listings| listings[list as usize].note_load(list, began, loaded));
        self.changed.store(true, Ordering::Relaxed);
        self.update_gauges();
        let listings = self.listings.borrow().clone();
        if is_first && listings.iter().all(Listing::has_ended) {
            self.log_first_load(&listings);
            self.ready.send_replace(true);
        }
    }

    /// Logs the result of the first load of all lists.
    fn log_first_load(&self, listings: &[Listing; 3]) {
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
                "the roster is loaded in part; names of {missing} stay unknown"
            );
        }
    }

    /// Writes the roster to the state if it has changed. If that fails, it waits for the next change: a start without
    /// it only takes longer.
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
                "the roster was not written to the state; the next start loads it again"
            );
        }
    }

    /// Updates the gauges.
    fn update_gauges(&self) {
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

/// Releases all that wait for the roster, when it is dropped.
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
