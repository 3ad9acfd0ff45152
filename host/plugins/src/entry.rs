//! The host's record of one `[[plugin]]`: which version serves, which one served before, and what is wrong.

use std::sync::Arc;
use std::time::Instant;

use crate::config::PluginConfig;
use crate::runtime::load::PluginSpec;
use crate::runtime::pipeline::Seat;
use crate::runtime::plugin::Plugin;
use crate::runtime::vacancy::Vacancy;

/// The host's record of one `[[plugin]]`.
///
/// At most one of `serving` and `vacancy` stands in the pipeline, and `serving` goes first. `before` is there only
/// while `settles` is: a version without a predecessor is on trial too, but nothing can be rolled back.
#[derive(Clone)]
pub(crate) struct PluginEntry {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) enabled: bool,
    /// The plugin that events meet.
    pub(crate) serving: Option<Arc<Plugin>>,
    /// The place where events wait, or end, while the plugin does not serve.
    pub(crate) vacancy: Option<Arc<Vacancy>>,
    /// Why the configured version does not serve: a clause.
    pub(crate) problem: Option<String>,
    /// The version before, for as long as the new one is on trial.
    pub(crate) before: Option<Predecessor>,
    /// When the trial of the version that serves is over.
    pub(crate) settles: Option<Instant>,
}

/// The version that comes back if the one on trial fails.
#[derive(Clone)]
pub(crate) enum Predecessor {
    /// It served in this process until the trial began, and its instances are still warm.
    Served(Arc<Plugin>),
    /// It served in an earlier process, and is loaded only for a roll-back.
    Pinned(Box<PluginSpec>),
}

impl PluginEntry {
    pub(crate) fn new(config: &PluginConfig) -> Self {
        Self {
            name: config.name.clone(),
            source: config.source.clone(),
            enabled: config.enabled,
            serving: None,
            vacancy: None,
            problem: None,
            before: None,
            settles: None,
        }
    }

    /// The entry's place in the pipeline; `None` where events pass without it.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let taken = self.serving.clone().map(Seat::Taken);
        taken.or_else(|| self.vacancy.clone().map(Seat::Vacant))
    }
}

/// Keeps plugins that the config seems to have lost while the name of some `[[plugin]]` can't be read: that table may
/// be meant for any of them. They all go on serving, and the table without a name gets no vacancy.
pub(crate) fn keep_those_possibly_meant(
    configs: &[PluginConfig],
    before: &[PluginEntry],
    entries: &mut Vec<PluginEntry>,
) {
    let Some(nameless) = configs.iter().find(|config| !config.is_named()) else {
        return;
    };
    let why = nameless.mistake.clone().unwrap_or_default();
    let mut any = false;
    for (at, old) in before.iter().enumerate() {
        if old.serving.is_some() && entries.iter().all(|entry| entry.name != old.name) {
            let mut old = old.clone();
            old.problem = Some(format!(
                "the config no longer names it, but it goes on serving, because the name of a [[plugin]] there can't be read: {why}"
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
