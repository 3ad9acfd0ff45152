//! The plugins of one host: events go through them, and they are loaded, replaced and removed while that happens.
//!
//! A change is prepared beside what runs: compiled in a child, started, tried on recent events. Only then the pipeline is
//! swapped, between two events, and the state handed over. What fails on the way changes nothing. A version that
//! is new is on trial for a while: should it fail where the one before did not, that one comes back.
//!
//! A plugin that is wanted and does not serve has a vacancy in the pipeline, unless its operator lets events pass without it:
//! what is decided is decided by what is wanted, not by what could be loaded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use djangobot_event::lock::{self, lock};
use tokio_util::sync::CancellationToken;

use crate::config::{OnError, PluginConfig};
use crate::digest::Digest;
use crate::entry::{Before, Entry};
use crate::install::lock::Locked;
use crate::manifest::Manifest;
use crate::passing::{Passed, Passing};
use crate::runtime::load::{LoadError, Parts, Wanted};
use crate::runtime::pipeline::Pipeline;
use crate::runtime::plugin::{Fate, Plugin};
use crate::runtime::rehearsal::Sample;
use crate::runtime::vacancy::{Outlook, Standing, Vacancy};
use crate::services::roster::Direction;
use crate::status::Status;
use crate::versions::RollBack;

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
    /// Plugins were loaded once: from then on, those that are added hold up no event that may pass without them.
    has_begun: AtomicBool,
    seen: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

/// What became of a trial.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// The version before serves again.
    RolledBack(Box<RollBack>),
    /// The version with this component stays.
    Settled(String, Digest),
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
                has_begun: AtomicBool::new(false),
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

    /// Whether an event comes to a plugin, or to the place of one.
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

    /// Makes places for plugins that are wanted and about to be loaded. Events wait there; those of a plugin that they may
    /// pass without wait only at the start.
    pub async fn expect(&self, configs: &[PluginConfig]) {
        let _one_at_a_time = self.shared.changing.lock().await;
        let is_start = !self.shared.has_begun.load(Relaxed);
        let before = self.entries().clone();
        let mut entries = Vec::with_capacity(configs.len());
        for config in configs {
            let mut entry = match before.iter().find(|entry| entry.name == config.name) {
                Some(old) => old.clone(),
                None => Entry::new(config),
            };
            if let Some(serving) = &entry.serving {
                serving.follow(config);
            } else if entry.vacancy.is_none() && config.enabled && (is_start || config.is_guard()) {
                entry.vacancy = Some(Arc::new(Vacancy::new(
                    &config.name,
                    Standing {
                        subscribe: None,
                        uses_roster: false,
                        outlook: Outlook::Loading,
                    },
                )));
            }
            entries.push(entry);
        }
        // What is to be removed stays where it is until then.
        for (at, old) in before.into_iter().enumerate() {
            if configs.iter().all(|config| config.name != old.name) {
                entries.insert(at.min(entries.len()), old);
            }
        }
        *self.entries() = entries.clone();
        self.install(&entries);
    }

    /// Makes the plugins those that are wanted, in that order. Returns when all is in place; [`PluginHost::statuses`]
    /// tells what became of each. Gives what was replaced by another component.
    pub async fn apply(&self, wanted: Vec<Result<Wanted, Unready>>) -> Vec<Locked> {
        let configs: Vec<_> = wanted.iter().map(|it| config_of(it).clone()).collect();
        self.expect(&configs).await;
        let _one_at_a_time = self.shared.changing.lock().await;
        let before = self.entries().clone();
        let samples: Vec<Sample> = lock(&self.shared.samples).iter().cloned().collect();
        let mut entries = Vec::with_capacity(wanted.len());
        let mut changes = Vec::new();
        for (config, wanted) in configs.iter().zip(wanted) {
            let mut entry = match before.iter().find(|entry| entry.name == config.name) {
                Some(old) => old.clone(),
                None => Entry::new(config),
            };
            entry.source.clone_from(&config.source);
            entry.enabled = config.enabled;
            entry.problem = None;
            if config.enabled {
                self.change(&mut entry, wanted, &samples, &mut changes)
                    .await;
            } else {
                entry = Entry::new(config);
            }
            entries.push(entry);
        }
        keep_what_may_be_meant(&configs, &before, &mut entries);
        let replaced = self.swap(before, entries, changes).await;
        self.shared.has_begun.store(true, Relaxed);
        replaced
    }

    /// Prepares what is to change about one plugin.
    async fn change(
        &self,
        entry: &mut Entry,
        wanted: Result<Wanted, Unready>,
        samples: &[Sample],
        changes: &mut Vec<Change>,
    ) {
        let mut wanted = match wanted {
            Ok(wanted) => wanted,
            Err(Unready { config, why }) => {
                self.refuse(entry, &config, None, why);
                return;
            }
        };
        if let Some(serving) = &entry.serving
            && serving.digest == wanted.digest
            && serving.config == wanted.config
        {
            entry.problem = wanted.note;
            return;
        }
        if let Some(vacancy) = &entry.vacancy {
            vacancy.becomes(Standing::loading(&wanted));
        }
        let (config, manifest) = (wanted.config.clone(), wanted.manifest.clone());
        let note = wanted.note.clone();
        let pinned = wanted.before.take().map(Before::Pinned);
        let before = entry.serving.clone().map(Before::Served).or(pinned);
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

    /// What is wanted can't be had: what serves goes on, and where nothing does, events go by the operator's word.
    fn refuse(
        &self,
        entry: &mut Entry,
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
                    "the change of the plugin is refused, and version {serves} serves on: {why}"
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
                let standing = Standing {
                    subscribe: manifest.map(|it| it.subscribe.clone()),
                    uses_roster: false,
                    outlook: Outlook::Refused(on_error, why.clone()),
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

    /// Puts the new pipeline in place of the old, between two events, and hands states over. Gives what was replaced.
    async fn swap(
        &self,
        before: Vec<Entry>,
        mut entries: Vec<Entry>,
        changes: Vec<Change>,
    ) -> Vec<Locked> {
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
                Some(Before::Served(old)) => {
                    tracing::info!(plugin, %version, before = %old.owner.manifest.version, "the plugin was replaced")
                }
                Some(Before::Pinned(old)) => {
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

    fn install(&self, entries: &[Entry]) {
        let seats = entries.iter().filter_map(Entry::seat).collect();
        let pipeline = Arc::new(Pipeline { seats });
        *lock::write(&self.shared.pipeline) = pipeline;
    }

    /// Watches new versions for as long as they are on trial, until `cancel`, and gives `told` what becomes of them.
    pub async fn run(&self, cancel: CancellationToken, told: impl Fn(Ruling)) {
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.judge().await.into_iter().for_each(&told);
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Rolls back what fails on trial, and ends trials.
    async fn judge(&self) -> Vec<Ruling> {
        if !self.entries().iter().any(|entry| entry.settles.is_some()) {
            return Vec::new();
        }
        let _one_at_a_time = self.shared.changing.lock().await;
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
                let good = match self.bring_back(before).await {
                    Ok(good) => good,
                    Err(error) => {
                        let problem = format!(
                            "version {version} fails on trial, and the version before can't come back: {error}; it failed so: {why}"
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
                // It serves again, and whoever waits for its successor is sent back.
                good.fate.send_replace(Fate::Serving);
                entry.serving = Some(good.clone());
                (entry.before, entry.settles) = (None, None);
                rulings.push(Ruling::RolledBack(Box::new(RollBack {
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
                rulings.push(Ruling::Settled(entry.name.clone(), serving.digest));
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

    async fn bring_back(&self, before: Before) -> Result<Arc<Plugin>, LoadError> {
        let wanted = match before {
            Before::Served(plugin) => return Ok(plugin),
            Before::Pinned(wanted) => wanted,
        };
        let candidate = self.shared.parts.candidate(*wanted).await?;
        candidate.rehearse(None, &[], None).await?;
        let instances = candidate.start().await?;
        Ok(Arc::new(candidate.into_plugin(instances)))
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
        lock::read(&self.shared.pipeline).clone()
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
    before: Option<Before>,
    /// Why it is not what was asked for.
    note: Option<String>,
}

impl Standing {
    fn loading(wanted: &Wanted) -> Self {
        Self {
            subscribe: Some(wanted.manifest.subscribe.clone()),
            uses_roster: wanted.uses_roster,
            outlook: Outlook::Loading,
        }
    }
}

fn config_of(wanted: &Result<Wanted, Unready>) -> &PluginConfig {
    match wanted {
        Ok(wanted) => &wanted.config,
        Err(unready) => &unready.config,
    }
}

/// Where the name of a `[[plugin]]` can't be read, it may be that of any plugin which the config does not name any more: so
/// they all serve on, and no place is kept for the one without a name.
fn keep_what_may_be_meant(configs: &[PluginConfig], before: &[Entry], entries: &mut Vec<Entry>) {
    let Some(nameless) = configs.iter().find(|config| !config.is_named()) else {
        return;
    };
    let why = nameless.mistake.clone().unwrap_or_default();
    let mut any = false;
    for (at, old) in before.iter().enumerate() {
        if old.serving.is_some() && entries.iter().all(|entry| entry.name != old.name) {
            let mut old = old.clone();
            old.problem = Some(format!(
                "the config does not name it any more, and it serves on, since a [[plugin]] there has no name that can be read: {why}"
            ));
            entries.insert(at.min(entries.len()), old);
            any = true;
        }
    }
    if any {
        for entry in entries.iter_mut() {
            let is_nameless =
                |config: &&PluginConfig| config.name == entry.name && !config.is_named();
            if configs.iter().any(|config| is_nameless(&config)) {
                entry.vacancy = None;
            }
        }
    }
}

/// The state of one instance, for a rehearsal.
async fn state_of(plugin: &Plugin, slot: usize) -> Option<Vec<u8>> {
    if !plugin.hands_state_on() {
        return None;
    }
    let mut slots = plugin.lock().await;
    slots.get_mut(slot)?.snapshot().await.ok()?
}

/// Why a new version is worse than the one before, if it is. Of one that served in an earlier process nothing is known, and
/// the best is thought.
fn worse(new: &Plugin, before: &Before) -> Option<String> {
    let rate = |plugin: &Plugin| {
        let calls = plugin.stats.calls.load(Relaxed).max(1);
        plugin.stats.failures() as f64 / calls as f64
    };
    let rate_before = match before {
        Before::Served(plugin) => rate(plugin),
        Before::Pinned(_) => 0.0,
    };
    let (failures, calls) = (new.stats.failures(), new.stats.calls.load(Relaxed));
    let is_worse = failures >= TRIAL_FAILURES && rate(new) > (2.0 * rate_before).max(0.1);
    is_worse.then(|| {
        let last = new.last_failure().unwrap_or_default();
        format!("it failed on {failures} of {calls} events, the last time since {last}")
    })
}
