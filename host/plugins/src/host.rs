//! The plugins of one host: events go through them, and they are loaded, replaced and removed while that happens.
//!
//! A change is prepared beside what runs: compiled in a child, started, tried on recent events. Only then the pipeline is
//! swapped, between two events, and the state handed over. What fails on the way changes nothing. A version that
//! is new is on trial for a while: should it fail where the one before did not, that one comes back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::digest::Digest;
use crate::load::{LoadError, Parts, Sample, Wanted};
use crate::pipeline::{Passed, Passing, Pipeline};
use crate::plugin::{Fate, Plugin};
use crate::roster::Direction;
use crate::status::Status;

/// Events of late that are kept for rehearsals.
const SAMPLES: usize = 32;
/// Larger events are not kept.
const MAX_SAMPLE: usize = 64 << 10;
/// One event of so many is kept.
const SAMPLE_EVERY: u64 = 16;
/// How long a new version is on trial.
const TRIAL: Duration = Duration::from_secs(60);
/// Failures in that time that are needed to judge.
const TRIAL_FAILURES: u64 = 3;
/// How often trials are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The plugins of one host. Clones share them.
#[derive(Clone)]
pub struct PluginHost {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    pipeline: RwLock<Arc<Pipeline>>,
    /// In the order of the config.
    entries: Mutex<Vec<Entry>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    seen: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

/// What became of one `[[plugin]]`.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) enabled: bool,
    /// The one that events meet.
    pub(crate) serving: Option<Arc<Plugin>>,
    /// Why what is wanted is not what serves.
    pub(crate) problem: Option<String>,
    /// The one before, for as long as the new one is on trial.
    pub(crate) trial: Option<Trial>,
    /// The component that was rolled back, which is not tried again unless the operator changes something.
    pub(crate) rejected: Option<Rejected>,
}

#[derive(Clone)]
pub(crate) struct Trial {
    before: Arc<Plugin>,
    until: Instant,
}

#[derive(Clone)]
pub(crate) struct Rejected {
    digest: Digest,
    config: crate::PluginConfig,
}

/// A `[[plugin]]` that can't even be tried.
#[derive(Clone, Debug)]
pub struct Unready {
    /// As the operator wrote it.
    pub config: crate::PluginConfig,
    /// A sentence.
    pub why: String,
}

impl PluginHost {
    /// A host without plugins.
    pub fn new(parts: Parts) -> Self {
        Self {
            shared: Arc::new(Shared {
                parts,
                pipeline: RwLock::default(),
                entries: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
                seen: AtomicU64::new(0),
                samples: Mutex::default(),
            }),
        }
    }

    /// One event's whole way through the plugins. `lane` is its conversation's number: events of one lane must not
    /// overlap, and always meet the same instances.
    pub async fn pass(&self, direction: Direction, passing: Passing, lane: u64) -> Passed {
        let pipeline = self.pipeline();
        if pipeline.is_idle(direction, &passing) {
            return Passed {
                events: vec![passing],
                ..Passed::default()
            };
        }
        self.sample(direction, &passing);
        pipeline.pass(direction, passing, lane).await
    }

    /// Whether an event's way may take time, so that it must not hold up other conversations.
    pub fn may_wait(&self, direction: Direction, passing: &Passing) -> bool {
        self.pipeline().may_wait(direction, passing)
    }

    /// Whether a plugin is called for an event.
    pub fn wants(&self, direction: Direction, passing: &Passing) -> bool {
        !self.pipeline().is_idle(direction, passing)
    }

    /// Whether a plugin that asks for names may be called for an event.
    pub fn needs_roster(&self, direction: Direction, passing: &Passing) -> bool {
        self.pipeline().needs_roster(direction, passing)
    }

    /// How each plugin is, in the order of the config.
    pub fn statuses(&self) -> Vec<Status> {
        self.entries().iter().map(Status::of).collect()
    }

    /// Makes the plugins those that are wanted, in that order. Returns when all is in place; [`PluginHost::statuses`]
    /// tells what became of each.
    pub async fn apply(&self, wanted: Vec<Result<Wanted, Unready>>) {
        let _one_at_a_time = self.shared.changing.lock().await;
        let before = self.entries().clone();
        let samples: Vec<Sample> = lock(&self.shared.samples).iter().cloned().collect();
        let mut entries = Vec::with_capacity(wanted.len());
        let mut changes = Vec::new();
        for wanted in wanted {
            let config = match &wanted {
                Ok(wanted) => &wanted.config,
                Err(unready) => &unready.config,
            };
            let old = before.iter().find(|entry| entry.name == config.name);
            let mut entry = Entry {
                name: config.name.clone(),
                source: config.source.clone(),
                enabled: config.enabled,
                serving: old.and_then(|old| old.serving.clone()),
                problem: None,
                trial: old.and_then(|old| old.trial.clone()),
                rejected: old.and_then(|old| old.rejected.clone()),
            };
            if !config.enabled {
                (entry.serving, entry.trial) = (None, None);
            } else {
                self.change(&mut entry, wanted, &samples, &mut changes)
                    .await;
            }
            entries.push(entry);
        }
        self.swap(before, entries, changes).await;
    }

    /// Prepares what is to change about one plugin.
    async fn change(
        &self,
        entry: &mut Entry,
        wanted: Result<Wanted, Unready>,
        samples: &[Sample],
        changes: &mut Vec<Change>,
    ) {
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(unready) => {
                self.refuse(entry, None, unready.why);
                return;
            }
        };
        if let Some(serving) = &entry.serving
            && serving.digest == wanted.digest
            && serving.config == wanted.config
        {
            return;
        }
        if let Some(rejected) = &entry.rejected
            && rejected.digest == wanted.digest
            && rejected.config == wanted.config
        {
            entry.problem = Some(format!(
                "version {} was rolled back and is not tried again; mend it, or change its config",
                wanted.manifest.version
            ));
            return;
        }
        entry.rejected = None;
        let version = wanted.manifest.version.to_string();
        match self.prepare(entry, wanted, samples).await {
            Ok(plugin) => changes.push(Change {
                name: entry.name.clone(),
                old: entry.serving.clone(),
                new: Arc::new(plugin),
            }),
            Err(error) => self.refuse(entry, Some(&version), error.to_string()),
        }
    }

    async fn prepare(
        &self,
        entry: &Entry,
        wanted: Wanted,
        samples: &[Sample],
    ) -> Result<Plugin, LoadError> {
        let candidate = self.shared.parts.candidate(wanted).await?;
        let serving = entry.serving.as_deref();
        let state = match serving {
            Some(serving) => state_of(serving, 0).await,
            None => None,
        };
        candidate
            .rehearse(state.as_deref(), samples, serving)
            .await?;
        let instances = candidate.start().await?;
        tracing::debug!(plugin = entry.name, version = %candidate.version(), "the plugin is ready");
        Ok(candidate.into_plugin(instances))
    }

    fn refuse(&self, entry: &mut Entry, version: Option<&str>, why: String) {
        let plugin = &entry.name;
        let which = version.map_or_else(String::new, |version| format!("version {version}: "));
        match &entry.serving {
            Some(serving) => {
                let serves = &serving.owner.manifest.version;
                tracing::error!(
                    plugin,
                    "the change of the plugin is refused, and version {serves} serves on: {which}{why}"
                );
            }
            None => tracing::error!(plugin, "the plugin is not loaded: {which}{why}"),
        }
        entry.problem = Some(format!("{which}{why}"));
    }

    /// Puts the new pipeline in place of the old, between two events, and hands states over.
    async fn swap(&self, before: Vec<Entry>, mut entries: Vec<Entry>, changes: Vec<Change>) {
        let mut made = Vec::new();
        for change in &changes {
            let Some(entry) = entries.iter_mut().find(|entry| entry.name == change.name) else {
                continue;
            };
            // Events of the old one wait from here to the end of the swap, and then go to the new one.
            let held = match &change.old {
                Some(old) if old.hands_state_on() => Some(old.lock().await),
                _ => None,
            };
            let mut held = held;
            if let Some(slots) = &mut held
                && let Err(failure) = change.new.take_over(slots).await
            {
                self.refuse(entry, None, LoadError::Restore(failure).to_string());
                continue;
            }
            entry.trial = change.old.clone().map(|before| Trial {
                before,
                until: Instant::now() + TRIAL,
            });
            entry.serving = Some(change.new.clone());
            entry.problem = None;
            made.push((change, held));
        }
        *self.entries() = entries.clone();
        self.install(&entries);
        for (change, held) in made {
            if let Some(old) = &change.old {
                old.fate.send_replace(Fate::Replaced(change.new.clone()));
            }
            drop(held);
            let (plugin, version) = (&change.name, &change.new.owner.manifest.version);
            match &change.old {
                Some(old) => {
                    tracing::info!(plugin, %version, before = %old.owner.manifest.version, "the plugin was replaced")
                }
                None => tracing::info!(plugin, %version, "the plugin is loaded"),
            }
        }
        for gone in &before {
            let stays = entries
                .iter()
                .any(|entry| entry.name == gone.name && entry.serving.is_some());
            if let (Some(plugin), false) = (&gone.serving, stays) {
                plugin.fate.send_replace(Fate::Removed);
                tracing::info!(plugin = gone.name, "the plugin is removed");
            }
        }
    }

    fn install(&self, entries: &[Entry]) {
        let plugins = entries
            .iter()
            .filter_map(|entry| entry.serving.clone())
            .collect();
        let pipeline = Arc::new(Pipeline { plugins });
        *self
            .shared
            .pipeline
            .write()
            .unwrap_or_else(PoisonError::into_inner) = pipeline;
    }

    /// Watches new versions for as long as they are on trial, until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.judge().await;
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Rolls back what fails on trial, and ends trials.
    async fn judge(&self) {
        if !self.entries().iter().any(|entry| entry.trial.is_some()) {
            return;
        }
        let _one_at_a_time = self.shared.changing.lock().await;
        let mut entries = self.entries().clone();
        let mut rolled_back = Vec::new();
        for entry in &mut entries {
            let (Some(trial), Some(serving)) = (&entry.trial, &entry.serving) else {
                continue;
            };
            if let Some(why) = worse(serving, &trial.before) {
                let (bad, good) = (serving.clone(), trial.before.clone());
                let version = &bad.owner.manifest.version;
                tracing::error!(
                    plugin = entry.name, %version,
                    "the plugin is rolled back to version {}: {why}", good.owner.manifest.version
                );
                entry.problem = Some(format!("version {version} was rolled back: {why}"));
                entry.rejected = Some(Rejected {
                    digest: bad.digest,
                    config: bad.config.clone(),
                });
                // It serves again, and whoever waits for its successor is sent back.
                good.fate.send_replace(Fate::Serving);
                entry.serving = Some(good.clone());
                entry.trial = None;
                rolled_back.push((bad, good));
            } else if Instant::now() >= trial.until {
                entry.trial = None;
            }
        }
        *self.entries() = entries.clone();
        if !rolled_back.is_empty() {
            self.install(&entries);
        }
        for (bad, good) in rolled_back {
            bad.fate.send_replace(Fate::Replaced(good));
        }
    }

    /// Keeps an event for rehearsals, now and then.
    fn sample(&self, direction: Direction, passing: &Passing) {
        let seen = self.shared.seen.fetch_add(1, Relaxed);
        if (seen >= SAMPLES as u64 && !seen.is_multiple_of(SAMPLE_EVERY))
            || passing.event.raw().len() > MAX_SAMPLE
        {
            return;
        }
        let mut samples = lock(&self.shared.samples);
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample {
            direction,
            passing: passing.clone(),
        });
    }

    fn pipeline(&self) -> Arc<Pipeline> {
        self.shared
            .pipeline
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.shared.entries)
    }
}

/// A plugin that is ready to serve, and the one that it takes the place of.
struct Change {
    name: String,
    old: Option<Arc<Plugin>>,
    new: Arc<Plugin>,
}

/// The state of one instance, for a rehearsal.
async fn state_of(plugin: &Plugin, slot: usize) -> Option<Vec<u8>> {
    if !plugin.hands_state_on() {
        return None;
    }
    let mut slots = plugin.lock().await;
    slots.get_mut(slot)?.snapshot().await.ok()?
}

/// Why a new version is worse than the one before, if it is.
fn worse(new: &Plugin, before: &Plugin) -> Option<String> {
    let rate = |plugin: &Plugin| {
        let calls = plugin.stats.calls.load(Relaxed).max(1);
        plugin.stats.failures() as f64 / calls as f64
    };
    let (failures, calls) = (new.stats.failures(), new.stats.calls.load(Relaxed));
    let is_worse = failures >= TRIAL_FAILURES && rate(new) > (2.0 * rate(before)).max(0.1);
    is_worse.then(|| {
        let last = new.last_failure().unwrap_or_default();
        format!("it failed on {failures} of {calls} events, the last time since {last}")
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in here by a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
