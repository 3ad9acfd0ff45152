//! One loaded plugin: its instances, its breaker and counts, and the handling of one event.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;
use djangobot_event::{CleanText, Event, Reminder};
use tokio::sync::watch;

use crate::config::{OnError, PluginConfig};
use crate::digest::Digest;
use crate::install::lock::LockEntry;
use crate::plugin_event::PluginEvent;
use crate::runtime::breaker::{Breaker, Judgement};
use crate::runtime::guest::Call;
use crate::runtime::instance::{Instance, InstanceFactory};
use crate::runtime::owner::Owner;
use crate::runtime::rehearsal::{Sample, replay};
use crate::runtime::stats::Stats;
use crate::services::roster::Direction;
use crate::verdict::{Effects, Failure, Verdict};

/// A loaded plugin, which events can go through.
///
/// An event locks its slot first and reads `fate` then. So whoever has locked all slots, to hand their states on, knows
/// that no event is in the plugin, and that each event which waits for a slot will see the fate that is set before the
/// unlock.
pub(crate) struct Plugin {
    pub(crate) owner: Arc<Owner>,
    /// The config with which it was loaded.
    pub(crate) config: PluginConfig,
    /// The operator's current `on-error`, as its number: it applies at once, also where the rest of a change is
    /// refused.
    on_error: AtomicU8,
    /// The digest of the component.
    pub(crate) digest: Digest,
    /// The digest of the sources that the component was built from.
    sources: Option<Digest>,
    /// Whether calls may wait for something outside, so that they must not hold up other conversations.
    pub(crate) may_wait: bool,
    /// Whether it uses the roster.
    pub(crate) uses_roster: bool,
    pub(crate) stats: Stats,
    /// Starts new instances in the place of those that failed.
    factory: InstanceFactory,
    /// The slots of its instances, of which a conversation always meets the same one.
    slots: Box<[tokio::sync::Mutex<Slot>]>,
    breaker: Mutex<Breaker>,
    /// Whether it still serves.
    pub(crate) fate: watch::Sender<Fate>,
    reminder: Mutex<Reminder>,
    last_failure: Mutex<Option<Failure>>,
}

/// The parts of which a plugin is made.
pub(crate) struct PluginParts {
    pub(crate) owner: Arc<Owner>,
    pub(crate) config: PluginConfig,
    pub(crate) digest: Digest,
    pub(crate) sources: Option<Digest>,
    pub(crate) factory: InstanceFactory,
    pub(crate) may_wait: bool,
    pub(crate) uses_roster: bool,
}

/// The place of an instance. It is empty after a failure, until the next event starts a new instance.
pub(crate) struct Slot {
    /// The number of the slot, from 0.
    number: u32,
    instance: Option<Instance>,
    /// The bytes with which the instance is counted in the plugin's `stats.memory`.
    memory: u64,
    /// The bytes that the instance had when it began. An instance that begins large is not retired for that alone.
    baseline: u64,
}

/// Whether a plugin still serves.
#[derive(Clone, Default)]
pub(crate) enum Fate {
    #[default]
    Serving,
    /// This one serves in its place, and gets its events.
    Replaced(Arc<Plugin>),
    /// No plugin serves in its place, and events go on without.
    Removed,
}

/// The result of giving an event to a plugin.
pub(crate) enum EventOutcome {
    /// The event goes on, perhaps edited.
    On(PluginEvent, Effects),
    /// The event ends here, for this reason.
    Dropped(CleanText, Effects),
    /// These events go on in its place.
    Replaced(Vec<crate::verdict::Emission>, Effects),
    /// The event ends here with this answer.
    Answered(Event, Effects),
    /// The plugin gets the event again after this time.
    Deferred(PluginEvent, Duration),
    /// The plugin failed, or is quarantined; the event is unchanged.
    Failed(PluginEvent, CleanText),
}

/// The least time between two log lines about failures of one plugin: one that fails on each event must not fill the
/// log.
const REMINDER: Duration = Duration::from_secs(10);

impl Plugin {
    /// A plugin with the instances that were started for it.
    pub(crate) fn new(parts: PluginParts, first: Vec<Instance>) -> Self {
        let PluginParts {
            owner,
            config,
            digest,
            sources,
            factory,
            may_wait,
            uses_roster,
        } = parts;
        let stats = Stats::default();
        let slots = (0..).zip(first).map(|(number, instance)| {
            let memory = instance.memory() as u64;
            stats.memory.fetch_add(memory, Relaxed);
            tokio::sync::Mutex::new(Slot {
                number,
                instance: Some(instance),
                memory,
                baseline: memory,
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
            factory,
            breaker: Mutex::new(Breaker::new()),
            fate: watch::Sender::new(Fate::Serving),
            reminder: Mutex::new(Reminder::new(REMINDER)),
            last_failure: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.owner.manifest.name
    }

    pub(crate) fn wants(&self, direction: Direction, event: &PluginEvent) -> bool {
        event.may_meet(&self.owner.name)
            && self
                .owner
                .manifest
                .wants(direction, &event.kind, &event.body)
    }

    /// The operator's decision about events that it fails on.
    pub(crate) fn on_error(&self) -> OnError {
        match self.on_error.load(Relaxed) {
            mode if mode == OnError::Drop as u8 => OnError::Drop,
            mode if mode == OnError::Hold as u8 => OnError::Hold,
            _ => OnError::Pass,
        }
    }

    /// Takes `on-error` from the config as it is now.
    pub(crate) fn follow(&self, config: &PluginConfig) {
        // Where the config has a mistake, `pass` may be only the default of a key that could not be read: a guard must
        // not let events pass because of a typing error.
        if config.mistake.is_none() || config.on_error != OnError::Pass {
            self.on_error.store(config.on_error as u8, Relaxed);
        }
    }

    /// Takes `on-error` from another version of this plugin.
    pub(crate) fn on_error_of(&self, other: &Self) {
        self.on_error.store(other.on_error() as u8, Relaxed);
    }

    /// Its entry in a lock.
    pub(crate) fn locked(&self) -> LockEntry {
        LockEntry {
            name: self.config.name.clone(),
            source: self.config.source.clone(),
            version: self.owner.manifest.version.clone(),
            sha256: self.digest,
            sources: self.sources,
            grants: self.config.grants.clone(),
        }
    }

    /// Whether an event may have to wait in this plugin.
    pub(crate) fn may_hold_up(&self) -> bool {
        self.may_wait || self.on_error() == OnError::Hold
    }

    /// Locks all slots, in order, to hand their states over. Events wait until they are unlocked.
    pub(crate) async fn lock(&self) -> Vec<tokio::sync::MutexGuard<'_, Slot>> {
        let mut slots = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            slots.push(slot.lock().await);
        }
        slots
    }

    /// The failure of the last call that failed.
    pub(crate) fn last_failure(&self) -> Option<String> {
        let last = lock(&self.last_failure);
        last.as_ref().map(ToString::to_string)
    }

    /// Whether it has the optional export `lifecycle`, which gives and takes state.
    pub(crate) fn hands_state_on(&self) -> bool {
        self.factory.has_lifecycle()
    }

    /// Gives the states of the old instances to this plugin's instances, which get no events yet.
    pub(crate) async fn take_over(
        &self,
        old: &mut [tokio::sync::MutexGuard<'_, Slot>],
    ) -> Result<(), Failure> {
        for (old, new) in old.iter_mut().zip(&self.slots) {
            let state = match old.snapshot().await {
                Ok(Some(state)) => state,
                Ok(None) => continue,
                Err(failure) => {
                    // An old version that fails to give its state must not keep the new one from serving.
                    tracing::warn!(
                        plugin = self.name(),
                        "the new version begins without the state of the old one, which failed to give it: {failure}"
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

    /// The end of its quarantine, if it is in one.
    pub(crate) fn quarantined_until(&self) -> Option<Instant> {
        self.breaker().opens_at().filter(|at| *at > Instant::now())
    }

    /// The number of its instances.
    pub(crate) fn instances(&self) -> usize {
        self.slots.len()
    }

    /// Gives an event to the plugin, and returns the result with the plugin that handled it: its successor, if it was
    /// replaced while the event waited.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        event: PluginEvent,
        direction: Direction,
        lane: u64,
    ) -> (Arc<Self>, EventOutcome) {
        let mut asked = self.clone();
        loop {
            let Some(slot) = asked.slots.get(lane as usize % asked.slots.len().max(1)) else {
                let why = "it has no instances".into();
                return (asked, EventOutcome::Failed(event, why));
            };
            let mut slot = slot.lock().await;
            // Read only now, after the lock: a successor that took over this slot's state while the event waited must
            // get the event too.
            let fate = asked.fate.borrow().clone();
            match fate {
                Fate::Serving => {
                    let handled = asked.call(&mut slot, event, direction).await;
                    drop(slot);
                    return (asked, handled);
                }
                Fate::Removed => {
                    drop(slot);
                    return (asked, EventOutcome::On(event, Effects::default()));
                }
                Fate::Replaced(next) => {
                    drop(slot);
                    asked = next;
                    if !asked.wants(direction, &event) {
                        return (asked, EventOutcome::On(event, Effects::default()));
                    }
                }
            }
        }
    }

    /// Whether it fails on a recent event as well, tried on an instance that has no effect outside.
    pub(crate) async fn fails_on(&self, sample: &Sample) -> bool {
        match self.factory.start_shadow().await {
            Ok(mut instance) => replay(&mut instance, &self.owner, sample).await.is_some(),
            Err(_) => true,
        }
    }

    /// Calls the instance of a slot, and counts and logs the result.
    async fn call(
        &self,
        slot: &mut Slot,
        mut event: PluginEvent,
        direction: Direction,
    ) -> EventOutcome {
        let started = Instant::now();
        if !self.breaker().admits(started) {
            self.stats.bypassed.fetch_add(1, Relaxed);
            return EventOutcome::Failed(event, "it is quarantined".into());
        }
        // A stop may cancel this future while the call waits. The breaker may be waiting for the result of just this
        // call, and has to hear that there will be none.
        let mut trial = UndecidedCall(Some(self));
        let (effects, edited, outcome) = self.ask(slot, &event, direction).await;
        trial.0 = None;
        if let (Ok(Verdict::Modify(_)), Some(edited)) = (&outcome, edited) {
            event.body = edited;
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
                if !matches!(verdict, Verdict::Defer(_)) {
                    let emitted = effects.emissions.len() as u64;
                    self.stats.emitted.fetch_add(emitted, Relaxed);
                }
                match verdict {
                    Verdict::Keep | Verdict::Modify(_) => EventOutcome::On(event, effects),
                    Verdict::Drop(reason) => EventOutcome::Dropped(reason, effects),
                    Verdict::Replace(emissions) => EventOutcome::Replaced(emissions, effects),
                    Verdict::Answer(answer) => EventOutcome::Answered(answer, effects),
                    Verdict::Defer(pause) => EventOutcome::Deferred(event, pause),
                }
            }
            Err(failure) => {
                let judgement = self.breaker().failed(Instant::now());
                *lock(&self.last_failure) = Some(failure.clone());
                self.tell(&failure, &event, &judgement);
                EventOutcome::Failed(event, failure.to_string().into())
            }
        }
    }

    /// Calls the instance, after starting one if there is none. Returns the event as well, with the edits of the
    /// verdict.
    async fn ask(
        &self,
        slot: &mut Slot,
        event: &PluginEvent,
        direction: Direction,
    ) -> (Effects, Option<Event>, Result<Verdict, Failure>) {
        // The instance is out of its place during the call: a call that is cut off leaves an instance which must not be
        // called again, and is then dropped with this future.
        if self.is_nearly_full(slot) {
            self.retire(slot).await;
        }
        let mut instance = match slot.instance.take() {
            Some(instance) => instance,
            None => match self.factory.start(slot.number).await {
                Ok(instance) => {
                    slot.baseline = instance.memory() as u64;
                    instance
                }
                Err(failure) => return (Effects::default(), None, Err(failure)),
            },
        };
        let call = Call::of(event, direction, self.owner.limits.output);
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

    /// Whether the instance of a slot has used up most of its memory, and has grown since it began. Languages whose
    /// runtime leaks would otherwise fail on some event.
    fn is_nearly_full(&self, slot: &Slot) -> bool {
        let limit = self.owner.limits.memory as u64;
        slot.memory > limit / 4 * 3 && slot.memory - slot.baseline.min(slot.memory) > limit / 8
    }

    /// Puts a new instance in the place of one that is nearly full, and hands its state on. Where the new one does not
    /// take the state, the old one goes on.
    async fn retire(&self, slot: &mut Slot) {
        let (plugin, memory) = (self.name(), slot.memory);
        let begun = async {
            let state = slot.snapshot().await?;
            let mut new = self.factory.start(slot.number).await?;
            if let Some(state) = state {
                new.restore(&state).await?;
            }
            Ok::<_, Failure>(new)
        };
        match begun.await {
            Ok(new) => {
                slot.baseline = new.memory() as u64;
                slot.instance = Some(new);
                self.stats.retired.fetch_add(1, Relaxed);
                tracing::debug!(
                    plugin,
                    memory,
                    "an instance was replaced by a new one, because its memory was nearly full (limits.memory-mib)"
                );
            }
            Err(failure) => {
                // It is tried again after the instance has grown further.
                slot.baseline = memory;
                if let Some(unsaid) = lock(&self.reminder).due() {
                    tracing::warn!(
                        plugin,
                        memory,
                        unsaid,
                        "an instance whose memory is nearly full could not be replaced by a new one: {failure}"
                    );
                }
            }
        }
    }

    /// Brings the count of memory up to date. A slot whose instance failed has none.
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

    /// Logs a failure: each one that opens the breaker, and of the others one in a while.
    fn tell(&self, failure: &Failure, event: &PluginEvent, judgement: &Judgement) {
        let plugin = self.name();
        let (id, kind) = (&*event.id, &*event.kind);
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

/// A call that is under way. If it is dropped before it is emptied, the call was cut off, and the breaker hears so.
struct UndecidedCall<'a>(Option<&'a Plugin>);

impl Drop for UndecidedCall<'_> {
    fn drop(&mut self) {
        if let Some(plugin) = self.0 {
            plugin.breaker().abandoned(Instant::now());
        }
    }
}

impl Slot {
    /// The state of the instance, for its successor. An instance that fails at this is dropped.
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
