//! A change of the plugins: the values that its steps hand on to each other.

use std::sync::Arc;

use crate::config::PluginConfig;
use crate::entry::Predecessor;
use crate::runtime::load::PluginSpec;
use crate::runtime::plugin::Plugin;
use crate::runtime::vacancy::{LoadState, VacancyState};

/// A `[[plugin]]` whose component can't be had, with the reason.
#[derive(Clone, Debug)]
pub struct ResolveError {
    /// As the operator wrote it.
    pub config: PluginConfig,
    /// A clause for people, with the cure.
    pub why: String,
}

/// A plugin that is ready to serve, and the one that it replaces.
pub(super) struct Change {
    pub(super) name: String,
    /// The one that serves now.
    pub(super) old: Option<Arc<Plugin>>,
    pub(super) new: Arc<Plugin>,
    /// The version to roll back to: `old`, or the one of an earlier process.
    pub(super) before: Option<Predecessor>,
    /// Why another version serves than the lock pins.
    pub(super) note: Option<String>,
}

impl VacancyState {
    pub(super) fn loading(wanted: &PluginSpec) -> Self {
        Self {
            subscribe: Some(wanted.manifest.subscribe.clone()),
            uses_roster: wanted.uses_roster,
            outlook: LoadState::Loading,
        }
    }
}

pub(super) fn config_of(wanted: &Result<PluginSpec, ResolveError>) -> &PluginConfig {
    match wanted {
        Ok(wanted) => &wanted.config,
        Err(unready) => &unready.config,
    }
}

/// The state of one instance, for a rehearsal. `None` where the plugin hands no state on or fails to give it.
pub(super) async fn state_of(plugin: &Plugin, slot: usize) -> Option<Vec<u8>> {
    if !plugin.hands_state_on() {
        return None;
    }
    let mut slots = plugin.lock().await;
    slots.get_mut(slot)?.snapshot().await.ok()?
}
