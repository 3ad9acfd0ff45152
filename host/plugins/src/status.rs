//! How a plugin is, for people and for `--json`.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::entry::Entry;

/// How one plugin is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// As in the config.
    pub name: String,
    /// As in the config.
    pub source: String,
    /// Of the one that serves.
    pub version: Option<String>,
    /// What it is up to.
    pub state: State,
    /// A sentence, where there is something to say.
    pub why: Option<String>,
    /// Of the component that serves.
    pub sha256: Option<String>,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Events that went on unchanged.
    pub kept: u64,
    /// Events that it edited.
    pub modified: u64,
    /// Events that it dropped.
    pub dropped: u64,
    /// Events that it put others in place of.
    pub replaced: u64,
    /// Events that it made beside the one at hand.
    pub emitted: u64,
    /// Calls that returned an error.
    pub errors: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that took too long.
    pub timeouts: u64,
    /// Calls whose answer was refused.
    pub bad_answers: u64,
    /// Calls that went over a limit: memory, calls of the host, what the host has to do for them.
    pub over_budget: u64,
    /// Events that it was not called for, since it was quarantined.
    pub bypassed: u64,
    /// Half of the calls took less, in microseconds.
    pub p50_us: Option<f64>,
    /// Of a hundred calls 99 took less, in microseconds.
    pub p99_us: Option<f64>,
    /// Bytes of memory of all instances.
    pub memory_bytes: u64,
    /// How many instances it has.
    pub instances: usize,
}

/// What a plugin is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Events meet it.
    Running,
    /// Events meet it, and the version before comes back should it fail.
    OnTrial,
    /// It keeps failing, and is left alone for a while.
    Quarantined,
    /// It is being loaded, and its events wait for it.
    Loading,
    /// It could not be loaded.
    Refused,
    /// The operator switched it off.
    Disabled,
    /// No host runs, so that nobody knows.
    Unknown,
}

impl State {
    /// Whether events meet the plugin.
    pub fn serves(self) -> bool {
        matches!(self, Self::Running | Self::OnTrial | Self::Quarantined)
    }

    /// As `--json` has it.
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
    /// Calls that came to nothing, of whatever kind.
    pub fn failures(&self) -> u64 {
        self.errors + self.traps + self.timeouts + self.bad_answers + self.over_budget
    }

    /// The status of a plugin that nothing is known of.
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

    pub(crate) fn of(entry: &Entry) -> Self {
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
