//! The place in the pipeline of a plugin that is configured and does not serve. Events that it subscribes to wait here
//! for it, or end here, as its `on-error` says.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::OnError;
use crate::manifest::Subscribe;
use crate::passing::Passing;
use crate::runtime::plugin::Plugin;
use crate::services::roster::Direction;

/// The place of a plugin that does not serve. It ends when the plugin serves, or when the config no longer wants it.
///
/// Events wait at the vacancy itself, also when the pipeline has been swapped meanwhile: so its last state must be
/// `Filled` or `Closed`, and whoever takes it out of the pipeline calls [`Vacancy::ends`].
#[derive(Debug)]
pub(crate) struct Vacancy {
    name: String,
    standing: watch::Sender<Standing>,
}

/// The state of a vacancy.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The events that the plugin subscribes to. `None` before its manifest is known: it may then be any event.
    pub(crate) subscribe: Option<Subscribe>,
    /// Whether the plugin uses the roster.
    pub(crate) uses_roster: bool,
    pub(crate) outlook: Outlook,
}

/// How far the loading of a vacancy's plugin is.
#[derive(Clone, Debug)]
pub(crate) enum Outlook {
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
pub(crate) enum Admitted {
    /// This plugin gets the event.
    To(Arc<Plugin>),
    /// The event goes on without the plugin.
    Past,
    /// The event ends here, for this reason.
    Nowhere(String),
}

impl Vacancy {
    pub(crate) fn new(name: &str, standing: Standing) -> Self {
        Self {
            name: name.to_owned(),
            standing: watch::Sender::new(standing),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sets the state, and wakes the events that wait.
    pub(crate) fn becomes(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Ends the vacancy: the plugin serves, or is not wanted any more.
    pub(crate) fn ends(&self, filled: Option<Arc<Plugin>>) {
        self.standing.send_modify(|standing| {
            standing.outlook = filled.map_or(Outlook::Closed, Outlook::Filled);
        });
    }

    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.standing.borrow().outlook, Outlook::Loading)
    }

    pub(crate) fn wants(&self, direction: Direction, passing: &Passing) -> bool {
        let subscribe = &self.standing.borrow().subscribe;
        subscribe
            .as_ref()
            .is_none_or(|it| it.covers(direction, &passing.kind, &passing.event))
    }

    pub(crate) fn uses_roster(&self) -> bool {
        self.standing.borrow().uses_roster
    }

    /// Waits until the vacancy can decide about an event. Cancel safe.
    pub(crate) async fn admit(&self, direction: Direction, passing: &Passing) -> Admitted {
        let mut standing = self.standing.subscribe();
        loop {
            // The manifest may have become known meanwhile, and with it that this event is not among the subscribed
            // ones.
            if !self.wants(direction, passing) {
                return Admitted::Past;
            }
            match &standing.borrow_and_update().outlook {
                Outlook::Filled(plugin) => return Admitted::To(plugin.clone()),
                Outlook::Closed | Outlook::Refused(OnError::Pass, _) => return Admitted::Past,
                Outlook::Refused(OnError::Drop, why) => {
                    return Admitted::Nowhere(format!("the plugin is not loaded: {why}"));
                }
                Outlook::Loading | Outlook::Refused(OnError::Hold, _) => {}
            }
            if standing.changed().await.is_err() {
                // Not reached: the vacancy holds the sender, and is borrowed here.
                return Admitted::Nowhere("the plugin is not configured any more".into());
            }
        }
    }
}
