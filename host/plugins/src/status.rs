//! The status of a plugin, as `djangobot plugin list` shows it and `--json` prints it.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::entry::PluginEntry;

/// The status of one plugin. Counts begin when its version is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name in the config.
    pub name: String,
    /// Its source in the config.
    pub source: String,
    /// The version that serves.
    pub version: Option<String>,
    /// Whether it serves.
    pub state: State,
    /// Why it does not serve as configured: a clause.
    pub why: Option<String>,
    /// The digest of the component that serves.
    pub sha256: Option<String>,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Events that went on unchanged.
    pub kept: u64,
    /// Events that it edited.
    pub modified: u64,
    /// Events that it dropped.
    pub dropped: u64,
    /// Events that it replaced by others.
    pub replaced: u64,
    /// Events that it answered itself.
    pub answered: u64,
    /// Calls after which it gets the event again later.
    pub deferred: u64,
    /// Events that it made in addition to the current one.
    pub emitted: u64,
    /// Instances that were replaced because their memory was nearly full.
    pub retired: u64,
    /// Calls that returned an error.
    pub errors: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that took too long.
    pub timeouts: u64,
    /// Calls whose answer was refused.
    pub bad_answers: u64,
    /// Calls that went over a limit: memory, the number of calls of the host, or the host's work for them.
    pub over_budget: u64,
    /// Events for which it was not called, because it was quarantined.
    pub bypassed: u64,
    /// The time that half of the calls stayed below, in microseconds.
    pub p50_us: Option<f64>,
    /// The time that 99 of 100 calls stayed below, in microseconds.
    pub p99_us: Option<f64>,
    /// The memory of all instances, in bytes.
    pub memory_bytes: u64,
    /// The number of instances.
    pub instances: usize,
}

/// Whether a plugin serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Events go through it.
    Running,
    /// Events go through it, and the version before comes back if it fails.
    OnTrial,
    /// It keeps failing, and is not called for a while.
    Quarantined,
    /// It is being loaded, and its events wait for it.
    Loading,
    /// It could not be loaded.
    Refused,
    /// The operator switched it off.
    Disabled,
    /// No host runs, which would know.
    Unknown,
}

impl State {
    /// Whether a version of the plugin is loaded.
    pub fn serves(self) -> bool {
        matches!(self, Self::Running | Self::OnTrial | Self::Quarantined)
    }

    /// Its name in the output of `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::OnTrial => "on-trial",
            Self::Quarantined => "quarantined",
            Self::Loading => "loading",
            Self::Refused => "refused",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

impl Status {
    /// Calls that failed, of whatever kind.
    pub fn failures(&self) -> u64 {
        self.errors + self.traps + self.timeouts + self.bad_answers + self.over_budget
    }

    /// The status of a plugin of which nothing but its config is known.
    pub fn new(name: &str, source: &str, state: State) -> Self {
        Self {
            name: name.to_owned(),
            source: source.to_owned(),
            version: None,
            state,
            why: None,
            sha256: None,
            calls: 0,
            kept: 0,
            modified: 0,
            dropped: 0,
            replaced: 0,
            answered: 0,
            deferred: 0,
            retired: 0,
            emitted: 0,
            errors: 0,
            traps: 0,
            timeouts: 0,
            bad_answers: 0,
            over_budget: 0,
            bypassed: 0,
            p50_us: None,
            p99_us: None,
            memory_bytes: 0,
            instances: 0,
        }
    }

    pub(crate) fn of(entry: &PluginEntry) -> Self {
        let is_loading = entry.vacancy.as_ref().is_some_and(|it| it.is_loading());
        let state = match (entry.enabled, is_loading) {
            (false, _) => State::Disabled,
            (true, true) => State::Loading,
            (true, false) => State::Refused,
        };
        let mut status = Self::new(&entry.name, &entry.source, state);
        status.why.clone_from(&entry.problem);
        let Some(plugin) = &entry.serving else {
            return status;
        };
        status.state = match (plugin.quarantined_until(), &entry.before) {
            (Some(_), _) => State::Quarantined,
            (None, Some(_)) => State::OnTrial,
            (None, None) => State::Running,
        };
        if let (Some(until), None) = (plugin.quarantined_until(), &status.why) {
            let left = until.saturating_duration_since(std::time::Instant::now());
            let last = plugin.last_failure().unwrap_or_default();
            status.why = Some(format!(
                "it keeps failing ({last}); it is tried again in {} s",
                left.as_secs() + 1
            ));
        }
        let stats = &plugin.stats;
        let micros = |share| {
            stats
                .time
                .quantile(share)
                .map(|time| time.as_nanos() as f64 / 1e3)
        };
        Self {
            version: Some(plugin.owner.manifest.version.to_string()),
            sha256: Some(plugin.digest.to_string()),
            calls: stats.calls.load(Relaxed),
            kept: stats.kept.load(Relaxed),
            modified: stats.modified.load(Relaxed),
            dropped: stats.dropped.load(Relaxed),
            replaced: stats.replaced.load(Relaxed),
            answered: stats.answered.load(Relaxed),
            deferred: stats.deferred.load(Relaxed),
            retired: stats.retired.load(Relaxed),
            emitted: stats.emitted.load(Relaxed),
            errors: stats.errors.load(Relaxed),
            traps: stats.traps.load(Relaxed),
            timeouts: stats.timeouts.load(Relaxed),
            bad_answers: stats.bad_answers.load(Relaxed),
            over_budget: stats.over_budget.load(Relaxed),
            bypassed: stats.bypassed.load(Relaxed),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            memory_bytes: stats.memory.load(Relaxed),
            instances: plugin.instances(),
            ..status
        }
    }
}
