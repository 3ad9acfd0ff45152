//! How fast Slack may be called: a budget for each method and channel, and the pauses that Slack asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use djangobot_event::lock;
use tokio::time::Instant;

use crate::api::{MAX_RETRY_AFTER, method};

/// Above this many entries, those that no longer delay anything are removed.
const SWEEP_ABOVE: usize = 1024;

/// `chat.postMessage` and its kin: about one a second for each channel, and a few at once after a rest.
const POSTS: Budget = Budget {
    every: Duration::from_secs(1),
    burst: 3,
};

/// All posts of a workspace together: Slack documents "several hundred a minute".
const WORKSPACE: Budget = Budget {
    every: Duration::from_millis(200),
    burst: 60,
};

/// Where the posts of a workspace are counted: no method is called so, and Slack never limits it by a 429 of its own.
const ALL_POSTS: &str = "posts";

/// The methods that read conversations: apps that are distributed outside of Slack's Marketplace may call each of these
/// once a minute, for 15 messages
/// (<https://docs.slack.dev/apis/web-api/rate-limits/#rate-limits-for-non-marketplace-apps>).
const HISTORY: [&str; 2] = ["conversations.history", "conversations.replies"];

/// An app that gets a 429 after so few calls in a minute, far below the tier, falls under that rule.
const FEW: usize = 10;

/// The longest time between two calls that this rule is known to ask for.
const HISTORY_EVERY: Duration = Duration::from_secs(60);

/// When the rule was noticed this long ago, it may no longer hold, and one call finds out.
const NOTICED: Duration = Duration::from_secs(3600);

/// Lets calls through at the rate that Slack's tiers allow, and stops where Slack said that we are too fast.
///
/// A budget is held for each method; for methods that post there is one for each channel too, and one for the
/// workspace. Clones share it.
#[derive(Clone, Debug)]
pub struct Pacer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    speed: f64,
    lanes: Mutex<HashMap<Lane, State>>,
    history: Mutex<HistoryLimit>,
}

/// Observations about the rule for [`HISTORY`].
#[derive(Debug, Default)]
struct HistoryLimit {
    /// When the latest calls of each method went out, at most [`FEW`].
    calls: [VecDeque<Instant>; HISTORY.len()],
    /// How long one call has to wait for another, and when that was noticed last.
    every: Option<(Duration, Instant)>,
}

/// A method and, where that has limits of its own, a channel.
type Lane = (String, Option<String>);

/// A token bucket: one call becomes free `every` so often, and at most `burst` wait to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Budget {
    every: Duration,
    burst: u32,
}

/// A bucket as one instant (the generic cell rate algorithm): it is full again at `full_at`.
#[derive(Clone, Copy, Debug)]
struct State {
    full_at: Instant,
    paused_until: Instant,
}

impl Default for Pacer {
    fn default() -> Self {
        Pacer::new(1.0)
    }
}

impl Pacer {
    /// A pacer at `speed` times Slack's documented rates: 1 for Slack, more for a workspace whose limits were raised,
    /// infinity for a local Slack. Pauses that Slack asks for are kept at any speed.
    pub fn new(speed: f64) -> Self {
        Pacer {
            shared: Arc::new(Shared {
                speed,
                lanes: Mutex::default(),
                history: Mutex::default(),
            }),
        }
    }

    /// Waits until a call may go out, and counts it as gone out.
    ///
    /// Dropping the future before it is ready leaves all as it was.
    pub async fn ready(&self, method: &str, channel: Option<&str>) {
        while let Err(free_at) = self.try_take(method, channel) {
            tokio::time::sleep_until(free_at).await;
        }
    }

    /// Notes that Slack answered a call with 429: the same method (and channel, where it has limits for each) waits.
    ///
    /// No pause is longer than an hour.
    pub fn limited(&self, method: &str, channel: Option<&str>, retry_after: Duration) {
        let now = Instant::now();
        self.history().limited(method, now, retry_after);
        let lane = (
            method.to_owned(),
            channel.filter(|_| posts(method)).map(String::from),
        );
        let mut lanes = self.lanes();
        let state = lanes.entry(lane).or_insert(State {
            full_at: now,
            paused_until: now,
        });
        state.paused_until = state
            .paused_until
            .max(now + retry_after.min(MAX_RETRY_AFTER));
    }

    /// How long one call that reads a conversation has to wait for the one before, where Slack lets this app make about
    /// one a minute; `None` where it was not seen to. Such a call gets 15 messages at most.
    pub fn history_every(&self) -> Option<Duration> {
        self.history().every(Instant::now())
    }

    /// Whether a call would have to wait now because Slack asked for a pause.
    pub fn is_paused(&self, method: &str, channel: Option<&str>) -> bool {
        let now = Instant::now();
        let budgets = self.budgets(method, channel, now);
        let lanes = self.lanes();
        budgets
            .into_iter()
            .filter_map(|(lane, _)| lanes.get(&lane))
            .any(|state| state.paused_until > now)
    }

    /// How long a call would have to wait now; nothing is counted.
    pub fn wait(&self, method: &str, channel: Option<&str>) -> Duration {
        let now = Instant::now();
        let budgets = self.budgets(method, channel, now);
        let lanes = self.lanes();
        let free_at = budgets
            .into_iter()
            .map(|(lane, budget)| lanes.get(&lane).map_or(now, |state| state.free_at(budget)))
            .max();
        free_at.map_or(Duration::ZERO, |free_at| {
            free_at.saturating_duration_since(now)
        })
    }

    /// Takes a call from all its budgets, or from none and says when to come again.
    fn try_take(&self, method: &str, channel: Option<&str>) -> Result<(), Instant> {
        let now = Instant::now();
        let budgets = self.budgets(method, channel, now);
        let mut lanes = self.lanes();
        if lanes.len() > SWEEP_ABOVE {
            lanes.retain(|_, state| state.full_at > now || state.paused_until > now);
        }
        let mut free_at = now;
        for (lane, budget) in &budgets {
            free_at = lanes
                .get(lane)
                .map_or(free_at, |state| free_at.max(state.free_at(*budget)));
        }
        if free_at > now {
            return Err(free_at);
        }
        for (lane, budget) in budgets {
            if let Some(budget) = budget {
                let state = lanes.entry(lane).or_insert(State {
                    full_at: now,
                    paused_until: now,
                });
                state.full_at = state.full_at.max(now) + budget.every;
            }
        }
        drop(lanes);
        self.history().went_out(method, now);
        Ok(())
    }

    /// The budgets that a call is counted in now.
    fn budgets(
        &self,
        method: &str,
        channel: Option<&str>,
        now: Instant,
    ) -> Vec<(Lane, Option<Budget>)> {
        if HISTORY.contains(&method)
            && let Some(every) = self.history().every(now)
        {
            let budget = Budget { every, burst: 1 };
            return vec![((method.to_owned(), None), Some(budget))];
        }
        budgets(method, channel, self.shared.speed).collect()
    }

    fn history(&self) -> MutexGuard<'_, HistoryLimit> {
        lock::lock(&self.shared.history)
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, State>> {
        lock::lock(&self.shared.lanes)
    }
}

impl HistoryLimit {
    fn calls(&mut self, method: &str) -> Option<&mut VecDeque<Instant>> {
        let at = HISTORY.iter().position(|it| *it == method)?;
        self.calls.get_mut(at)
    }

    fn went_out(&mut self, method: &str, now: Instant) {
        if let Some(calls) = self.calls(method) {
            calls.push_back(now);
            if calls.len() > FEW {
                calls.pop_front();
            }
        }
    }

    /// A call was answered with 429.
    fn limited(&mut self, method: &str, now: Instant, retry_after: Duration) {
        let Some(calls) = self.calls(method) else {
            return;
        };
        let lately = calls
            .iter()
            .filter(|at| now.duration_since(**at) < HISTORY_EVERY);
        if lately.count() < FEW {
            let every = self.every(now).unwrap_or_default();
            let every = every.max(retry_after.min(HISTORY_EVERY));
            self.every = Some((every, now));
        }
    }

    fn every(&self, now: Instant) -> Option<Duration> {
        let (every, noticed) = self.every?;
        (now.duration_since(noticed) < NOTICED).then_some(every)
    }
}

impl State {
    fn free_at(&self, budget: Option<Budget>) -> Instant {
        let by_budget = budget.map(|Budget { every, burst }| {
            let slack = every * burst.saturating_sub(1);
            self.full_at.checked_sub(slack).unwrap_or(self.full_at)
        });
        by_budget.map_or(self.paused_until, |at| at.max(self.paused_until))
    }
}

/// Whether a method is limited for each channel.
fn posts(method: &str) -> bool {
    matches!(
        method,
        "chat.postMessage" | "chat.postEphemeral" | "chat.meMessage" | "chat.scheduleMessage"
    )
}

/// The budgets that a call is counted in: the method's, and where it posts the channel's and the workspace's.
fn budgets(
    method: &str,
    channel: Option<&str>,
    speed: f64,
) -> impl Iterator<Item = (Lane, Option<Budget>)> {
    let per_minute = method::get(method).and_then(|method| method.tier.per_minute());
    let tier = per_minute.map(|calls| Budget {
        every: Duration::from_secs(60) / calls,
        burst: calls,
    });
    let whole = (
        (method.to_owned(), None),
        tier.and_then(|budget| budget.at(speed)),
    );
    let each = channel.filter(|_| posts(method)).map(|channel| {
        (
            (method.to_owned(), Some(channel.to_owned())),
            POSTS.at(speed),
        )
    });
    let all = posts(method).then(|| ((ALL_POSTS.to_owned(), None), WORKSPACE.at(speed)));
    std::iter::once(whole).chain(each).chain(all)
}

impl Budget {
    /// The budget at a multiple of its rate; `None` when the multiple is so large that nothing is limited.
    fn at(self, speed: f64) -> Option<Self> {
        let every =
            Duration::try_from_secs_f64(self.every.as_secs_f64() / speed).unwrap_or(self.every);
        (!every.is_zero()).then_some(Budget { every, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `calls` calls and gives when each went out, in milliseconds of the paused clock.
    async fn times(pacer: &Pacer, method: &str, channel: Option<&str>, calls: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..calls {
            pacer.ready(method, channel).await;
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_gets_a_burst_and_then_one_post_a_second() {
        let pacer = Pacer::default();
        assert_eq!(
            times(&pacer, "chat.postMessage", Some("C1"), 5).await,
            [0, 0, 0, 1000, 2000]
        );
        assert_eq!(
            times(&pacer, "chat.postMessage", Some("C2"), 2).await,
            [0, 0],
            "another channel waits for none"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_is_a_budget_for_a_minute() {
        let times = times(&Pacer::default(), "users.list", None, 22).await;
        assert_eq!((times[19], times[20], times[21]), (0, 3000, 6000));
    }

    #[tokio::test(start_paused = true)]
    async fn posts_to_many_channels_share_the_workspaces_budget() {
        let pacer = Pacer::default();
        let start = Instant::now();
        for channel in 0..360 {
            let channel = format!("C{channel}");
            pacer.ready("chat.postMessage", Some(&channel)).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(60), "300 a minute");
        assert_eq!(
            times(&pacer, "reactions.add", Some("C1"), 1).await,
            [0],
            "what does not post does not wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_its_own_method_and_channel_only() {
        let pacer = Pacer::new(f64::INFINITY);
        pacer.limited("chat.postMessage", Some("C1"), Duration::from_secs(7));
        pacer.limited("users.list", None, Duration::from_secs(2));
        assert_eq!(
            times(&pacer, "chat.postMessage", Some("C2"), 2).await,
            [0, 0]
        );
        assert_eq!(times(&pacer, "users.info", None, 2).await, [0, 0]);
        assert_eq!(pacer.wait("users.list", None), Duration::from_secs(2));
        assert!(pacer.is_paused("users.list", None) && !pacer.is_paused("users.info", None));
        assert!(pacer.is_paused("chat.postMessage", Some("C1")));
        assert!(!pacer.is_paused("chat.postMessage", Some("C2")));
        assert_eq!(times(&pacer, "users.list", None, 2).await, [2000, 2000]);
        assert_eq!(
            times(&pacer, "chat.postMessage", Some("C1"), 2).await,
            [5000, 5000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_without_a_channel_holds_the_whole_method() {
        let pacer = Pacer::default();
        pacer.limited("chat.postMessage", None, Duration::from_secs(4));
        assert_eq!(
            times(&pacer, "chat.postMessage", Some("C9"), 1).await,
            [4000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_may_read_history_once_a_minute_is_known_by_a_429_after_few_calls() {
        let (minute, history) = (Duration::from_secs(60), "conversations.history");
        let pacer = Pacer::default();
        assert_eq!(times(&pacer, history, None, 2).await, [0, 0]);
        assert_eq!(pacer.history_every(), None);
        pacer.limited(history, None, minute);
        assert_eq!(pacer.history_every(), Some(minute));
        assert_eq!(
            times(&pacer, history, None, 3).await,
            [60_000, 120_000, 180_000]
        );
        tokio::time::advance(NOTICED).await;
        assert_eq!(pacer.history_every(), None, "it may have been lifted");

        // A limit after many calls only says that there were too many.
        let pacer = Pacer::default();
        times(&pacer, history, None, FEW).await;
        pacer.limited(history, None, Duration::from_secs(1));
        assert_eq!(pacer.history_every(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_without_end_is_one_of_an_hour() {
        let pacer = Pacer::new(f64::INFINITY);
        pacer.limited("users.list", None, Duration::MAX);
        assert_eq!(times(&pacer, "users.list", None, 1).await, [3_600_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn channels_at_rest_are_forgotten() {
        let pacer = Pacer::default();
        for channel in 0..4 * SWEEP_ABOVE {
            let channel = channel.to_string();
            pacer.ready("chat.postMessage", Some(&channel)).await;
            assert!(pacer.lanes().len() <= SWEEP_ABOVE + 2);
        }
    }
}
