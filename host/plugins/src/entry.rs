//! One `[[plugin]]` of the config, as the host has it: what serves, what was before, and why.

use std::sync::Arc;
use std::time::Instant;

use crate::config::PluginConfig;
use crate::runtime::load::Wanted;
use crate::runtime::pipeline::Seat;
use crate::runtime::plugin::Plugin;
use crate::runtime::vacancy::Vacancy;

/// What became of one `[[plugin]]`.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) enabled: bool,
    /// The one that events meet.
    pub(crate) serving: Option<Arc<Plugin>>,
    /// Where the events of one that is wanted and does not serve come to.
    pub(crate) vacancy: Option<Arc<Vacancy>>,
    /// Why what is wanted is not what serves.
    pub(crate) problem: Option<String>,
    /// The one before, for as long as the new one is on trial.
    pub(crate) before: Option<Before>,
    /// When the one that serves is past its trial.
    pub(crate) settles: Option<Instant>,
}

/// The version that comes back, should the one on trial fail.
#[derive(Clone)]
pub(crate) enum Before {
    /// It served until then.
    Served(Arc<Plugin>),
    /// It served in a process before this one, and is not loaded here unless it is needed.
    Pinned(Box<Wanted>),
}

impl Entry {
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

    pub(crate) fn seat(&self) -> Option<Seat> {
        let taken = self.serving.clone().map(Seat::Taken);
        taken.or_else(|| self.vacancy.clone().map(Seat::Vacant))
    }
}
