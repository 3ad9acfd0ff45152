//! The place in the pipeline of a plugin that is configured and does not serve. Events that it subscribes to wait here
//! for it, or end here, as its `on-error` says.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::OnError;
use crate::manifest::Subscriptions;
use crate::plugin_event::PluginEvent;
use crate::runtime::plugin::Plugin;
use crate::services::roster::Direction;

/// The place of a plugin that does not serve. It ends when the plugin serves, or when the config no longer wants it.
///
/// Events wait at the vacancy itself, also when the pipeline has been swapped meanwhile: so its last state must be
/// `Filled` or `Closed`, and whoever takes it out of the pipeline calls [`Vacancy::ends`].
#[derive(Debug)]
pub(crate) struct Vacancy {
    name: String,
    standing: watch::Sender<VacancyState>,
}

/// The state of a vacancy.
#[derive(Clone, Debug)]
pub(crate) struct VacancyState {
    /// The events that the plugin subscribes to. `None` before its manifest is known: it may then be any event.
    pub(crate) subscribe: Option<Subscriptions>,
    /// Whether the plugin uses the roster.
    pub(crate) uses_roster: bool,
    pub(crate) outlook: LoadState,
}

/// How far the loading of a vacancy's plugin is.
#[derive(Clone, Debug)]
pub(crate) enum LoadState {
    /// The plugin is being loaded, and events wait for it.
    Loading,
    /// It can't be loaded, for this reason, and events do as its `on-error` says.
    Refused(OnError, String),
    /// It serves now, and gets the events that waited.
    Filled(Arc<Plugin>),
    /// The config no longer wants it, and events go on without it.
    Closed,
}

/// A vacancy's decision about an event.
pub(crate) enum Admission {
    /// This plugin gets the event.
    To(Arc<Plugin>),
    /// The event goes on without the plugin.
    Past,
    /// The event ends here, for this reason.
    Nowhere(String),
}

impl Vacancy {
    pub(crate) fn new(name: &str, standing: VacancyState) -> Self {
        Self {
            name: name.to_owned(),
            standing: watch::Sender::new(standing),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sets the state, and wakes the events that wait.
    pub(crate) fn becomes(&self, standing: VacancyState) {
        self.standing.send_replace(standing);
    }

    /// Ends the vacancy: the plugin serves, or is not wanted any more.
    pub(crate) fn ends(&self, filled: Option<Arc<Plugin>>) {
        self.standing.send_modify(|standing| {
            standing.outlook = filled.map_or(LoadState::Closed, LoadState::Filled);
        });
    }

    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.standing.borrow().outlook, LoadState::Loading)
    }

    pub(crate) fn wants(&self, direction: Direction, event: &PluginEvent) -> bool {
        let subscribe = &self.standing.borrow().subscribe;
        subscribe
            .as_ref()
            .is_none_or(|it| it.covers(direction, &event.kind, &event.body))
    }

    pub(crate) fn uses_roster(&self) -> bool {
        self.standing.borrow().uses_roster
    }

    /// Waits until the vacancy can decide about an event. Cancel safe.
    pub(crate) async fn admit(&self, direction: Direction, event: &PluginEvent) -> Admission {
        let mut standing = self.standing.subscribe();
        loop {
            // The manifest may have become known meanwhile, and with it that this event is not among the subscribed
            // ones.
            if !self.wants(direction, event) {
                return Admission::Past;
            }
            match &standing.borrow_and_update().outlook {
                LoadState::Filled(plugin) => return Admission::To(plugin.clone()),
                LoadState::Closed | LoadState::Refused(OnError::Pass, _) => return Admission::Past,
                LoadState::Refused(OnError::Drop, why) => {
                    return Admission::Nowhere(format!("the plugin is not loaded: {why}"));
                }
                LoadState::Loading | LoadState::Refused(OnError::Hold, _) => {}
            }
            if standing.changed().await.is_err() {
                // Not reached: the vacancy holds the sender, and is borrowed here.
                return Admission::Nowhere("the plugin is not configured any more".into());
            }
        }
    }
}
