//! The plugins of one host: events go through them, and they are loaded, replaced and removed while that happens.
//!
//! A change is prepared while the old plugins go on: the component is compiled in a child, started and tried on recent
//! events. Only then the pipeline is swapped, between two events, and the state handed over. A failure on the way
//! changes nothing. A new version is on trial for a while: if it fails where the version before did not, that one comes
//! back.
//!
//! A plugin that is configured and does not serve has a vacancy in the pipeline, unless its operator lets events pass
//! without it: the config decides whether an event may pass, not which plugins could be loaded.

mod change;
mod samples;
mod timers;
mod trial;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use djangobot_event::lock::{self, lock};
use tokio_util::sync::CancellationToken;

use crate::config::{OnError, PluginConfig};
use crate::digest::Digest;
use crate::entry::{PluginEntry, Predecessor, keep_those_possibly_meant};
use crate::install::lock::LockEntry;
use crate::manifest::Manifest;
use crate::plugin_event::{PluginEvent, PluginOutput};
use crate::runtime::load::{LoadError, Parts, PluginSpec};
use crate::runtime::pipeline::Pipeline;
use crate::runtime::plugin::{Fate, Plugin};
use crate::runtime::rehearsal::Sample;
use crate::runtime::vacancy::{LoadState, Vacancy, VacancyState};
use crate::services::roster::Direction;
use crate::status::Status;
use crate::versions::Rollback;

use change::{Change, config_of, state_of};
use samples::Samples;
use timers::Timers;
use trial::{TRIAL, bring_back, worse};

pub use change::ResolveError;
pub use trial::TrialOutcome;

/// How often the versions on trial are judged.
const LOOK: Duration = Duration::from_millis(100);

/// The plugins of one host. Clones share them.
///
/// `entries` say what serves, and `pipeline` is made from them: whoever changes the entries installs a new pipeline
/// before it lets go of `changing`. Events read the pipeline alone and never wait for a change.
#[derive(Clone)]
pub struct PluginHost {
    state: Arc<HostState>,
}

struct HostState {
    parts: Parts,
    pipeline: RwLock<Arc<Pipeline>>,
    /// One for each `[[plugin]]`, in the order of the config.
    entries: Mutex<Vec<PluginEntry>>,
    /// Held during a change: changes go one after another, since each begins with the entries that the last one left.
    changing: tokio::sync::Mutex<()>,
    /// The plugins were loaded once: from then on, plugins that are added hold up no event that may pass without them.
    has_begun: AtomicBool,
    samples: Samples,
    timers: Timers,
}

impl PluginHost {
    /// A host without plugins.
    pub fn new(parts: Parts) -> Self {
        Self {
            state: Arc::new(HostState {
                parts,
                pipeline: RwLock::default(),
                entries: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
                has_begun: AtomicBool::new(false),
                samples: Samples::default(),
                timers: Timers::new(),
            }),
        }
    }

    /// Takes one event through all plugins that subscribe to it. `lane` is its conversation's number: events of one
    /// lane must not overlap, and always meet the same instances.
    pub async fn pass(&self, direction: Direction, event: PluginEvent, lane: u64) -> PluginOutput {
        let pipeline = self.pipeline();
        if pipeline.is_idle(direction, &event) {
            return PluginOutput {
                events: vec![event],
                ..PluginOutput::default()
            };
        }
        if event.recipient.is_none() {
            self.state.samples.note(direction, &event);
        }
        pipeline.pass(direction, event, lane).await
    }

    /// Whether the plugins of an event may wait for something, so that it must not hold up other conversations.
    pub fn may_wait(&self, direction: Direction, event: &PluginEvent) -> bool {
        self.pipeline().may_wait(direction, event)
    }

    /// Whether a plugin subscribes to an event, or may subscribe to it once it is loaded.
    pub fn wants(&self, direction: Direction, event: &PluginEvent) -> bool {
        !self.pipeline().is_idle(direction, event)
    }

    /// Whether a plugin that uses the roster may be called for an event.
    pub fn needs_roster(&self, direction: Direction, event: &PluginEvent) -> bool {
        self.pipeline().needs_roster(direction, event)
    }

    /// The event of the next timer that is due. A timer that was due several times since the last call, since the machine
    /// slept or nobody asked, gives one event. Cancel safe.
    pub async fn next_timer(&self) -> PluginEvent {
        self.state.timers.next(|| self.entries().clone()).await
    }

    /// The status of each plugin, in the order of the config.
    pub fn statuses(&self) -> Vec<Status> {
        self.entries().iter().map(Status::of).collect()
    }

    /// Whether the component with `digest` serves under a name, with this config.
    pub fn serves(&self, digest: &Digest, config: &PluginConfig) -> bool {
        self.entries().iter().any(|entry| {
            entry.name == config.name
                && entry
                    .serving
                    .as_ref()
                    .is_some_and(|it| it.digest == *digest && it.config == *config)
        })
    }

    /// Makes vacancies for configured plugins that are about to be loaded. Events wait there. Events that may pass
    /// without a plugin (`on-error = "pass"`) wait only at the start.
    pub async fn expect(&self, configs: &[PluginConfig]) {
        let _one_at_a_time = self.state.changing.lock().await;
        let is_start = !self.state.has_begun.load(Relaxed);
        let before = self.entries().clone();
        let mut entries = Vec::with_capacity(configs.len());
        for config in configs {
            let mut entry = match before.iter().find(|entry| entry.name == config.name) {
                Some(old) => old.clone(),
                None => PluginEntry::new(config),
            };
            if let Some(serving) = &entry.serving {
                serving.follow(config);
            } else if entry.vacancy.is_none() && config.enabled && (is_start || config.is_guard()) {
                entry.vacancy = Some(Arc::new(Vacancy::new(
                    &config.name,
                    VacancyState {
                        subscribe: None,
                        uses_roster: false,
                        outlook: LoadState::Loading,
                    },
                )));
            }
            entries.push(entry);
        }
        // Plugins that the config no longer names serve at their places until `apply` removes them.
        for (at, old) in before.into_iter().enumerate() {
            if configs.iter().all(|config| config.name != old.name) {
                entries.insert(at.min(entries.len()), old);
            }
        }
        *self.entries() = entries.clone();
        self.install(&entries);
    }

    /// Loads, replaces and removes plugins until they are those of `wanted`, in that order. Returns when all is in
    /// place, with the lock entries of the components that were replaced by others; [`PluginHost::statuses`] then shows
    /// the result of each.
    pub async fn apply(&self, wanted: Vec<Result<PluginSpec, ResolveError>>) -> Vec<LockEntry> {
        let configs: Vec<_> = wanted.iter().map(|it| config_of(it).clone()).collect();
        self.expect(&configs).await;
        let _one_at_a_time = self.state.changing.lock().await;
        let before = self.entries().clone();
        let samples = self.state.samples.all();
        let mut entries = Vec::with_capacity(wanted.len());
        let mut changes = Vec::new();
        for (config, wanted) in configs.iter().zip(wanted) {
            let mut entry = match before.iter().find(|entry| entry.name == config.name) {
                Some(old) => old.clone(),
                None => PluginEntry::new(config),
            };
            entry.source.clone_from(&config.source);
            entry.enabled = config.enabled;
            entry.problem = None;
            if config.enabled {
                self.change(&mut entry, wanted, &samples, &mut changes)
                    .await;
            } else {
                entry = PluginEntry::new(config);
            }
            entries.push(entry);
        }
        keep_those_possibly_meant(&configs, &before, &mut entries);
        let replaced = self.swap(before, entries, changes).await;
        self.state.has_begun.store(true, Relaxed);
        replaced
    }

    /// Prepares the change of one plugin and adds it to `changes`, or refuses it. Does nothing where the component and
    /// the config that are wanted serve already.
    async fn change(
        &self,
        entry: &mut PluginEntry,
        wanted: Result<PluginSpec, ResolveError>,
        samples: &[Sample],
        changes: &mut Vec<Change>,
    ) {
        let mut wanted = match wanted {
            Ok(wanted) => wanted,
            Err(ResolveError { config, why }) => {
                self.refuse(entry, &config, None, why);
                return;
            }
        };
        // A reload of the same component with the same config would only lose the instances' state.
        if let Some(serving) = &entry.serving
            && serving.digest == wanted.digest
            && serving.config == wanted.config
        {
            entry.problem = wanted.note;
            return;
        }
        // From here on the manifest is known, so that events which the plugin does not subscribe to need not wait for it.
        if let Some(vacancy) = &entry.vacancy {
            vacancy.becomes(VacancyState::loading(&wanted));
        }
        let (config, manifest) = (wanted.config.clone(), wanted.manifest.clone());
        let note = wanted.note.clone();
        let pinned = wanted.before.take().map(Predecessor::Pinned);
        let before = entry.serving.clone().map(Predecessor::Served).or(pinned);
        match self.prepare(entry, wanted, samples).await {
            Ok(plugin) => changes.push(Change {
                name: entry.name.clone(),
                old: entry.serving.clone(),
                new: Arc::new(plugin),
                before,
                note,
            }),
            Err(error) => self.refuse(entry, &config, Some(&manifest), error.to_string()),
        }
    }

    /// Compiles, rehearses and starts a plugin; events don't meet it yet.
    async fn prepare(
        &self,
        entry: &PluginEntry,
        wanted: PluginSpec,
        samples: &[Sample],
    ) -> Result<Plugin, LoadError> {
        let candidate = self.state.parts.candidate(wanted).await?;
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

    /// Notes that a plugin can't be loaded as configured. A version that serves goes on; where none does, the plugin's
    /// `on-error` decides about its events.
    fn refuse(
        &self,
        entry: &mut PluginEntry,
        config: &PluginConfig,
        manifest: Option<&Manifest>,
        why: String,
    ) {
        let plugin = &entry.name;
        let which = manifest.map_or_else(String::new, |it| format!("version {}: ", it.version));
        let why = format!("{which}{why}");
        match (&entry.serving, config.on_error) {
            (Some(serving), _) => {
                let serves = &serving.owner.manifest.version;
                tracing::error!(
                    plugin,
                    "the plugin's change is refused, and version {serves} goes on serving: {why}"
                );
            }
            (None, OnError::Pass) => {
                tracing::error!(plugin, "the plugin is not loaded: {why}");
            }
            (None, on_error) => {
                tracing::error!(
                    plugin,
                    "the plugin is not loaded, and its events {}: {why}",
                    match on_error {
                        OnError::Hold => "wait for it (on-error = \"hold\")",
                        _ => "are dropped (on-error = \"drop\")",
                    }
                );
                let standing = VacancyState {
                    subscribe: manifest.map(|it| it.subscribe.clone()),
                    uses_roster: false,
                    outlook: LoadState::Refused(on_error, why.clone()),
                };
                match &entry.vacancy {
                    Some(vacancy) => vacancy.becomes(standing),
                    None => entry.vacancy = Some(Arc::new(Vacancy::new(plugin, standing))),
                }
            }
        }
        if config.on_error == OnError::Pass {
            entry.vacancy = None;
        }
        entry.problem = Some(why);
    }

    /// Puts the new pipeline in place of the old, between two events, and hands states over. Returns the lock entries
    /// of the components that were replaced.
    ///
    /// The order is what keeps events whole: first the old plugin's slots are locked, then its state goes to the new
    /// one, then the pipeline is swapped, and only then the old one's fate sends the events that waited for it to the
    /// new one.
    async fn swap(
        &self,
        before: Vec<PluginEntry>,
        mut entries: Vec<PluginEntry>,
        changes: Vec<Change>,
    ) -> Vec<LockEntry> {
        let mut made = Vec::new();
        for change in &changes {
            let Some(entry) = entries.iter_mut().find(|entry| entry.name == change.name) else {
                continue;
            };
            // Events that come to the old plugin wait from here to the end of the swap, and then go to the new one.
            let held = match &change.old {
                Some(old) if old.hands_state_on() => Some(old.lock().await),
                _ => None,
            };
            let mut held = held;
            if let Some(slots) = &mut held
                && let Err(failure) = change.new.take_over(slots).await
            {
                let why = LoadError::Restore(failure).to_string();
                let new = &change.new;
                self.refuse(entry, &new.config, Some(&new.owner.manifest), why);
                continue;
            }
            entry.before.clone_from(&change.before);
            entry.settles = Some(Instant::now() + TRIAL);
            entry.serving = Some(change.new.clone());
            (entry.vacancy, entry.problem) = (None, change.note.clone());
            made.push((change, held));
        }
        *self.entries() = entries.clone();
        self.install(&entries);
        let mut replaced = Vec::new();
        for (change, held) in made {
            if let Some(old) = &change.old {
                old.fate.send_replace(Fate::Replaced(change.new.clone()));
                if old.digest != change.new.digest {
                    replaced.push(old.locked());
                }
            }
            drop(held);
            let (plugin, version) = (&change.name, &change.new.owner.manifest.version);
            match &change.before {
                Some(Predecessor::Served(old)) => {
                    tracing::info!(plugin, %version, before = %old.owner.manifest.version, "the plugin was replaced")
                }
                Some(Predecessor::Pinned(old)) => {
                    tracing::info!(plugin, %version, before = %old.manifest.version, "the plugin is loaded, and its trial begins again")
                }
                None => tracing::info!(plugin, %version, "the plugin is loaded"),
            }
        }
        for gone in &before {
            let now = entries.iter().find(|entry| entry.name == gone.name);
            let serving = now.and_then(|entry| entry.serving.clone());
            if let Some(vacancy) = &gone.vacancy
                && now.is_none_or(|entry| entry.vacancy.is_none())
            {
                vacancy.ends(serving.clone());
            }
            if let (Some(plugin), None) = (&gone.serving, serving) {
                plugin.fate.send_replace(Fate::Removed);
                tracing::info!(plugin = gone.name, "the plugin is removed");
            }
        }
        replaced
    }

    /// Makes the pipeline of these entries the one that events meet.
    fn install(&self, entries: &[PluginEntry]) {
        let seats = entries.iter().filter_map(PluginEntry::seat).collect();
        let pipeline = Arc::new(Pipeline { seats });
        *lock::write(&self.state.pipeline) = pipeline;
    }

    /// Watches new versions for as long as they are on trial, until `cancel`, and calls `report` with the result of
    /// each trial.
    pub async fn run(&self, cancel: CancellationToken, report: impl Fn(TrialOutcome)) {
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.judge().await.into_iter().for_each(&report);
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Rolls back versions that fail on trial, and ends the trials whose time is over.
    async fn judge(&self) -> Vec<TrialOutcome> {
        // Ten times a second, mostly for nothing: so the lock of changes is not taken unless some version is on trial.
        if !self.entries().iter().any(|entry| entry.settles.is_some()) {
            return Vec::new();
        }
        let _one_at_a_time = self.state.changing.lock().await;
        let mut entries = self.entries().clone();
        let (mut rolled_back, mut rulings) = (Vec::new(), Vec::new());
        for entry in &mut entries {
            let (Some(until), Some(serving)) = (entry.settles, entry.serving.clone()) else {
                continue;
            };
            let failing = entry
                .before
                .clone()
                .and_then(|before| Some((worse(&serving, &before)?, before)));
            if let Some((why, before)) = failing {
                let version = &serving.owner.manifest.version;
                let good = match bring_back(&self.state.parts, before).await {
                    Ok(good) => good,
                    Err(error) => {
                        let problem = format!(
                            "version {version} fails on trial ({why}), and the version before can't be loaded: {error}"
                        );
                        tracing::error!(plugin = entry.name, "the plugin's {problem}");
                        entry.problem = Some(problem);
                        (entry.before, entry.settles) = (None, None);
                        continue;
                    }
                };
                tracing::error!(
                    plugin = entry.name, %version,
                    "the plugin is rolled back to version {}: {why}", good.owner.manifest.version
                );
                entry.problem = Some(format!("version {version} was rolled back: {why}"));
                good.on_error_of(&serving);
                // It serves again. Calls that wait for its successor follow that one's fate, which leads back here.
                good.fate.send_replace(Fate::Serving);
                entry.serving = Some(good.clone());
                (entry.before, entry.settles) = (None, None);
                rulings.push(TrialOutcome::RolledBack(Box::new(Rollback {
                    name: entry.name.clone(),
                    bad: serving.digest,
                    version: version.clone(),
                    config: serving.config.clone(),
                    good: good.locked(),
                    why,
                })));
                rolled_back.push((serving, good));
            } else if Instant::now() >= until {
                (entry.before, entry.settles) = (None, None);
                rulings.push(TrialOutcome::Settled(entry.name.clone(), serving.digest));
            }
        }
        *self.entries() = entries.clone();
        if !rolled_back.is_empty() {
            self.install(&entries);
        }
        for (bad, good) in rolled_back {
            bad.fate.send_replace(Fate::Replaced(good));
        }
        rulings
    }

    fn pipeline(&self) -> Arc<Pipeline> {
        lock::read(&self.state.pipeline).clone()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<PluginEntry>> {
        lock(&self.state.entries)
    }
}
