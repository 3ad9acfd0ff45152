//! Rehearsals: recent events are shown to an instance of a new version, with no effect outside.

use crate::plugin_event::PluginEvent;
use crate::runtime::guest::Call;
use crate::runtime::instance::Instance;
use crate::runtime::owner::Owner;
use crate::services::roster::Direction;
use crate::verdict::Failure;

/// A recent event as it was before any plugin changed it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) direction: Direction,
    pub(crate) event: PluginEvent,
}

/// Shows a recent event to an instance, and returns its failure, if the failure is the plugin's own fault.
pub(crate) async fn replay(
    instance: &mut Instance,
    owner: &Owner,
    sample: &Sample,
) -> Option<Failure> {
    let Sample { direction, event } = sample;
    if !owner.manifest.wants(*direction, &event.kind, &event.body) {
        return None;
    }
    let call = Call::of(event, *direction, owner.limits.output);
    let (call, outcome) = instance.on_event(call).await;
    // During a rehearsal the host refuses calls with effects, such as HTTP. A plugin may well return an error because
    // of that, which proves nothing; a trap or a timeout still does.
    let withheld = call.is_some_and(|call| call.effects.withheld);
    outcome
        .err()
        .filter(|failure| !(withheld && matches!(failure, Failure::Error(_))))
}
