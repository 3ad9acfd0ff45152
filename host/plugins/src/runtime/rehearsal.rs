//! A recent event, shown to an instance with no effect outside.

use crate::passing::Passing;
use crate::runtime::guest::Call;
use crate::runtime::instance::Instance;
use crate::runtime::owner::Owner;
use crate::services::roster::Direction;
use crate::verdict::{Effects, Failure};

/// A recent event, before any plugin saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) direction: Direction,
    pub(crate) passing: Passing,
}

/// Shows a recent event to an instance that rehearses; gives its failure, if that says something about the plugin.
pub(crate) async fn replay(
    instance: &mut Instance,
    owner: &Owner,
    sample: &Sample,
) -> Option<Failure> {
    let Sample { direction, passing } = sample;
    if !owner
        .manifest
        .wants(*direction, &passing.kind, &passing.event)
    {
        return None;
    }
    let call = Call {
        event: passing.event.clone(),
        id: passing.id.clone(),
        kind: passing.kind.clone(),
        direction: *direction,
        hops: passing.hops,
        effects: Effects::default(),
        output_left: owner.limits.output,
    };
    let (call, outcome) = instance.on_event(call).await;
    // A plugin that was refused a call of another host may well fail for that.
    let withheld = call.is_some_and(|call| call.effects.withheld);
    outcome
        .err()
        .filter(|failure| !(withheld && matches!(failure, Failure::Error(_))))
}
