//! The place of a plugin that is wanted and does not serve: the events that it would be given wait here for it, or end
//! here, as its operator says.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::OnError;
use crate::manifest::Subscribe;
use crate::passing::Passing;
use crate::runtime::plugin::Plugin;
use crate::services::roster::Direction;

/// A place in the pipeline that nobody has taken yet. It ends when a plugin takes it, or nobody is wanted there any more.
#[derive(Debug)]
pub(crate) struct Vacancy {
    name: String,
    standing: watch::Sender<Standing>,
}

/// How it stands with a vacancy.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The events that the plugin would be given. `None`: nobody knows, so it may be any event.
    pub(crate) subscribe: Option<Subscribe>,
    /// The plugin asks for names.
    pub(crate) uses_roster: bool,
    pub(crate) outlook: Outlook,
}

/// What the events of a vacancy have to expect.
#[derive(Clone, Debug)]
pub(crate) enum Outlook {
    /// The plugin is being loaded, and they wait for it.
    Loading,
    /// It can't be loaded.
    Refused(OnError, String),
    /// It serves now, and is asked.
    Filled(Arc<Plugin>),
    /// Nobody waits for it any more.
    Closed,
}

/// What a vacancy does with an event.
pub(crate) enum Admitted {
    /// This plugin is asked.
    To(Arc<Plugin>),
    /// It goes on without.
    Past,
    /// It ends here, for this reason.
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

    /// Has those who wait look again.
    pub(crate) fn becomes(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Ends it: the plugin serves, or nobody waits for one any more.
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

    /// Waits until it is clear what becomes of an event. Cancel safe.
    pub(crate) async fn admit(&self, direction: Direction, passing: &Passing) -> Admitted {
        let mut standing = self.standing.subscribe();
        loop {
            // What it subscribes to may have come to be known meanwhile.
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
                // The sender is this vacancy itself.
                return Admitted::Nowhere("the plugin's place is gone".into());
            }
        }
    }
}
