//! One loaded plugin: its instances, how it is doing, and what it makes of an event.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;
use djangobot_event::{CleanText, Event, Reminder};
use tokio::sync::watch;

use crate::config::{OnError, PluginConfig};
use crate::digest::Digest;
use crate::install::lock::Locked;
use crate::passing::Passing;
use crate::runtime::breaker::{Breaker, Judgement};
use crate::runtime::guest::Call;
use crate::runtime::instance::{Instance, Prepared};
use crate::runtime::owner::Owner;
use crate::runtime::rehearsal::{Sample, replay};
use crate::runtime::stats::Stats;
use crate::services::roster::Direction;
use crate::verdict::{Effects, Failure, Verdict};

/// A plugin that events can meet.
pub(crate) struct Plugin {
    pub(crate) owner: Arc<Owner>,
    /// As the operator wrote it when it was loaded.
    pub(crate) config: PluginConfig,
    /// What the operator says now of events that it fails on, also where a change of its config is refused.
    on_error: AtomicU8,
    /// Of the component.
    pub(crate) digest: Digest,
    /// Of what it was built from.
    sources: Option<Digest>,
    /// Calls may wait for something outside, so that they must not hold up other conversations.
    pub(crate) may_wait: bool,
    /// It asks for names.
    pub(crate) uses_roster: bool,
    pub(crate) stats: Stats,
    prepared: Prepared,
    /// A conversation always meets the same one.
    slots: Box<[tokio::sync::Mutex<Slot>]>,
    breaker: Mutex<Breaker>,
    /// What has become of this plugin as a whole.
    pub(crate) fate: watch::Sender<Fate>,
    reminder: Mutex<Reminder>,
    last_failure: Mutex<Option<Failure>>,
}

/// Place for an instance; empty after a failure, until the next event.
#[derive(Default)]
pub(crate) struct Slot {
    instance: Option<Instance>,
    /// What the instance was last counted with.
    memory: u64,
}

/// Whether a plugin is still the one to ask.
#[derive(Clone, Default)]
pub(crate) enum Fate {
    #[default]
    Serving,
    /// Ask this one.
    Replaced(Arc<Plugin>),
    /// Nobody is to be asked any more.
    Removed,
}

/// What a plugin made of an event.
pub(crate) enum Handled {
    /// It goes on, perhaps edited, with what the plugin did beside that.
    On(Passing, Effects),
    /// It ends here.
    Dropped(CleanText, Effects),
    /// These go on in its place.
    Replaced(Vec<crate::verdict::Emission>, Effects),
    /// The plugin failed, or is quarantined; the event is as it was.
    Failed(Passing, CleanText),
}

/// How often failures of one plugin are logged, at most: a plugin that fails at each event must not fill the log.
const REMINDER: Duration = Duration::from_secs(10);

impl Plugin {
    pub(crate) fn new(
        owner: Arc<Owner>,
        config: PluginConfig,
        (digest, sources): (Digest, Option<Digest>),
        prepared: Prepared,
        (may_wait, uses_roster): (bool, bool),
        first: Vec<Instance>,
    ) -> Self {
        let stats = Stats::default();
        let slots = first.into_iter().map(|instance| {
            let memory = instance.memory() as u64;
            stats.memory.fetch_add(memory, Relaxed);
            tokio::sync::Mutex::new(Slot {
                instance: Some(instance),
                memory,
            })
        });
        Self {
            slots: slots.collect(),
            owner,
            on_error: AtomicU8::new(config.on_error as u8),
            config,
            digest,
            sources,
            may_wait,
            uses_roster,
            stats,
            prepared,
            breaker: Mutex::new(Breaker::new()),
            fate: watch::Sender::new(Fate::Serving),
            reminder: Mutex::new(Reminder::new(REMINDER)),
            last_failure: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.owner.manifest.name
    }

    pub(crate) fn wants(&self, direction: Direction, passing: &Passing) -> bool {
        self.owner
            .manifest
            .wants(direction, &passing.kind, &passing.event)
    }

    /// What becomes of an event that it fails on.
    pub(crate) fn on_error(&self) -> OnError {
        match self.on_error.load(Relaxed) {
            mode if mode == OnError::Drop as u8 => OnError::Drop,
            mode if mode == OnError::Hold as u8 => OnError::Hold,
            _ => OnError::Pass,
        }
    }

    /// Takes the operator's word on that.
    pub(crate) fn follow(&self, config: &PluginConfig) {
        // Where the config is mistaken, what it does not say is no word for letting events pass.
        if config.mistake.is_none() || config.on_error != OnError::Pass {
            self.on_error.store(config.on_error as u8, Relaxed);
        }
    }

    /// Takes over what the operator said of another one.
    pub(crate) fn on_error_of(&self, other: &Self) {
        self.on_error.store(other.on_error() as u8, Relaxed);
    }

    /// What a lock would pin it as.
    pub(crate) fn locked(&self) -> Locked {
        Locked {
            name: self.config.name.clone(),
            source: self.config.source.clone(),
            version: self.owner.manifest.version.clone(),
            sha256: self.digest,
            sources: self.sources,
            grants: self.config.grants.clone(),
        }
    }

    /// Whether an event of this plugin may have to wait.
    pub(crate) fn may_hold_up(&self) -> bool {
        self.may_wait || self.on_error() == OnError::Hold
    }

    /// All slots, in order, for whoever hands the state over; events wait as long.
    pub(crate) async fn lock(&self) -> Vec<tokio::sync::MutexGuard<'_, Slot>> {
        let mut slots = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            slots.push(slot.lock().await);
        }
        slots
    }

    /// How the last call that failed did.
    pub(crate) fn last_failure(&self) -> Option<String> {
        let last = lock(&self.last_failure);
        last.as_ref().map(ToString::to_string)
    }

    /// Whether it has the optional export.
    pub(crate) fn hands_state_on(&self) -> bool {
        self.prepared.has_lifecycle()
    }

    /// Gives the state of the old instances to the new ones, which nobody calls yet.
    pub(crate) async fn take_over(
        &self,
        old: &mut [tokio::sync::MutexGuard<'_, Slot>],
    ) -> Result<(), Failure> {
        for (old, new) in old.iter_mut().zip(&self.slots) {
            let state = match old.snapshot().await {
                Ok(Some(state)) => state,
                Ok(None) => continue,
                Err(failure) => {
                    // An old version that can't even tell its state must not keep the new one out.
                    tracing::warn!(
                        plugin = self.name(),
                        "the old version did not hand its state on: {failure}"
                    );
                    continue;
                }
            };
            if let Some(instance) = &mut new.lock().await.instance {
                instance.restore(&state).await?;
            }
        }
        Ok(())
    }

    /// When a quarantine ends, if there is one.
    pub(crate) fn quarantined_until(&self) -> Option<Instant> {
        self.breaker().opens_at().filter(|at| *at > Instant::now())
    }

    /// How many instances it has.
    pub(crate) fn instances(&self) -> usize {
        self.slots.len()
    }

    /// What it makes of an event. Says who was asked: another one, where this was replaced while the event waited.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        passing: Passing,
        direction: Direction,
        lane: u64,
    ) -> (Arc<Self>, Handled) {
        let mut asked = self.clone();
        loop {
            let Some(slot) = asked.slots.get(lane as usize % asked.slots.len().max(1)) else {
                let why = "it has no instances".into();
                return (asked, Handled::Failed(passing, why));
            };
            let mut slot = slot.lock().await;
            // Whoever replaced it has its state, and this event is for that one.
            let fate = asked.fate.borrow().clone();
            match fate {
                Fate::Serving => {
                    let handled = asked.call(&mut slot, passing, direction).await;
                    drop(slot);
                    return (asked, handled);
                }
                Fate::Removed => {
                    drop(slot);
                    return (asked, Handled::On(passing, Effects::default()));
                }
                Fate::Replaced(next) => {
                    drop(slot);
                    asked = next;
                    if !asked.wants(direction, &passing) {
                        return (asked, Handled::On(passing, Effects::default()));
                    }
                }
            }
        }
    }

    /// Whether it too fails on an event of late, where nobody sees it.
    pub(crate) async fn fails_on(&self, sample: &Sample) -> bool {
        match self.prepared.start(true).await {
            Ok(mut instance) => replay(&mut instance, &self.owner, sample).await.is_some(),
            Err(_) => true,
        }
    }

    async fn call(&self, slot: &mut Slot, mut passing: Passing, direction: Direction) -> Handled {
        let started = Instant::now();
        if !self.breaker().admits(started) {
            self.stats.bypassed.fetch_add(1, Relaxed);
            return Handled::Failed(passing, "it is quarantined".into());
        }
        // A stop may end this at any time it waits; then the breaker must not wait for a decision that never comes.
        let mut trial = Trial(Some(self));
        let (effects, edited, outcome) = self.ask(slot, &passing, direction).await;
        trial.0 = None;
        if let (Ok(Verdict::Modify(_)), Some(edited)) = (&outcome, edited) {
            passing.event = edited;
        }
        self.stats.ended(&outcome, started.elapsed());
        self.account(slot);
        match outcome {
            Ok(verdict) => {
                if self.breaker().succeeded() {
                    tracing::info!(
                        plugin = self.name(),
                        "the plugin works again; its quarantine is over"
                    );
                }
                self.stats
                    .emitted
                    .fetch_add(effects.emissions.len() as u64, Relaxed);
                match verdict {
                    Verdict::Keep | Verdict::Modify(_) => Handled::On(passing, effects),
                    Verdict::Drop(reason) => Handled::Dropped(reason, effects),
                    Verdict::Replace(emissions) => Handled::Replaced(emissions, effects),
                }
            }
            Err(failure) => {
                let judgement = self.breaker().failed(Instant::now());
                *lock(&self.last_failure) = Some(failure.clone());
                self.tell(&failure, &passing, &judgement);
                Handled::Failed(passing, failure.to_string().into())
            }
        }
    }

    /// Calls the instance, after starting one where there is none. Gives the event as the verdict edits it, too.
    async fn ask(
        &self,
        slot: &mut Slot,
        passing: &Passing,
        direction: Direction,
    ) -> (Effects, Option<Event>, Result<Verdict, Failure>) {
        // Out of its place while it is called: a call that is cut off leaves an instance that can't be called again.
        let mut instance = match slot.instance.take() {
            Some(instance) => instance,
            None => match self.prepared.start(false).await {
                Ok(instance) => instance,
                Err(failure) => return (Effects::default(), None, Err(failure)),
            },
        };
        let call = Call {
            event: passing.event.clone(),
            id: passing.id.clone(),
            kind: passing.kind.clone(),
            direction,
            hops: passing.hops,
            effects: Effects::default(),
            output_left: self.owner.limits.output,
        };
        let (call, outcome) = instance.on_event(call).await;
        if !outcome.as_ref().is_err_and(Failure::costs_the_instance) {
            slot.instance = Some(instance);
        }
        let (effects, event) = match call {
            Some(call) => (call.effects, Some(call.event)),
            None => (Effects::default(), None),
        };
        (effects, event, outcome)
    }

    /// Keeps the books on memory; an instance that failed is gone.
    fn account(&self, slot: &mut Slot) {
        let memory = slot
            .instance
            .as_ref()
            .map_or(0, |instance| instance.memory() as u64);
        if memory != slot.memory {
            self.stats
                .memory
                .fetch_add(memory.wrapping_sub(slot.memory), Relaxed);
            slot.memory = memory;
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    fn tell(&self, failure: &Failure, passing: &Passing, judgement: &Judgement) {
        let plugin = self.name();
        let (id, kind) = (&*passing.id, &*passing.kind);
        if let Judgement::Quarantined(pause) = judgement {
            tracing::error!(
                plugin,
                id,
                r#type = kind,
                "the plugin keeps failing ({failure}); it is quarantined for {} s, and its events {}",
                pause.as_secs(),
                match self.on_error() {
                    OnError::Pass => "go on without it",
                    OnError::Drop => "are dropped (on-error = \"drop\")",
                    OnError::Hold => "wait (on-error = \"hold\")",
                }
            );
            return;
        }
        let Some(unsaid) = lock(&self.reminder).due() else {
            return;
        };
        tracing::warn!(
            plugin,
            id,
            r#type = kind,
            unsaid,
            "the plugin failed on an event: {failure}"
        );
    }
}

/// A call under way; dropped with something in it, it came to no end.
struct Trial<'a>(Option<&'a Plugin>);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(plugin) = self.0 {
            plugin.breaker().abandoned(Instant::now());
        }
    }
}

impl Slot {
    /// The state of the instance, for its successor.
    pub(crate) async fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match &mut self.instance {
            Some(instance) => {
                let outcome = instance.snapshot().await;
                if outcome.is_err() {
                    self.instance = None;
                }
                outcome
            }
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {})", self.name(), self.owner.manifest.version)
    }
}
