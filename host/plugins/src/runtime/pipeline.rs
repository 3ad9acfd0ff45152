//! The pipeline: the plugins in the order of the config, and the way of one event through them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_event::CleanText;

use crate::config::OnError;
use crate::plugin_event::{DropReason, PluginAnswer, PluginEvent, PluginMessage, PluginOutput};
use crate::runtime::plugin::{EventOutcome, Fate, Plugin};
use crate::runtime::vacancy::{Admission, Vacancy};
use crate::services::roster::Direction;
use crate::verdict::{Effects, Emission};

/// The largest number of events that plugins may make out of one, that one included.
const MAX_EVENTS: usize = 256;
/// The first number in the ids of emitted events. Replacements are numbered from 0, so that the ids of the two kinds
/// differ as long as there are no more than [`MAX_EVENTS`].
const FIRST_EMISSION: usize = 1_000;
/// The longest time for which plugins may defer one event.
const MAX_DEFERRED: Duration = Duration::from_secs(300);
/// The most times that one plugin may defer one event.
const MAX_DEFERRALS: u32 = 100;
/// The pause between two tries of an event that is held, where the plugin is not in quarantine.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The plugins that events go through. It never changes: a reload makes a new pipeline, and events that are under way
/// finish in the old one.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    pub(crate) seats: Vec<Seat>,
}

/// A place in the pipeline.
#[derive(Clone, Debug)]
pub(crate) enum Seat {
    /// A plugin serves here.
    Taken(Arc<Plugin>),
    /// A plugin is configured here and does not serve.
    Vacant(Arc<Vacancy>),
}

impl Pipeline {
    /// The places whose plugins subscribe to an event, as it is now.
    fn wanting<'a>(
        &'a self,
        direction: Direction,
        event: &'a PluginEvent,
    ) -> impl Iterator<Item = &'a Seat> {
        self.seats
            .iter()
            .filter(move |seat| seat.wants(direction, event))
    }

    /// Whether the plugins of an event may wait for something, so that other conversations must not stand behind it.
    pub(crate) fn may_wait(&self, direction: Direction, event: &PluginEvent) -> bool {
        // The first plugin that is called may emit events for any of the others, so that all after it count.
        let mut wanted = false;
        self.seats.iter().any(|seat| {
            wanted |= seat.wants(direction, event);
            wanted && seat.may_hold_up()
        })
    }

    /// Whether a plugin that uses the roster may be called for an event.
    pub(crate) fn needs_roster(&self, direction: Direction, event: &PluginEvent) -> bool {
        self.wanting(direction, event).any(|seat| match seat {
            Seat::Taken(plugin) => plugin.uses_roster,
            Seat::Vacant(vacancy) => vacancy.uses_roster(),
        })
    }

    /// Whether no plugin subscribes to an event.
    pub(crate) fn is_idle(&self, direction: Direction, event: &PluginEvent) -> bool {
        self.wanting(direction, event).next().is_none()
    }

    /// Takes one event through the plugins that subscribe to it: inbound from the first to the last, outbound from the
    /// last to the first. Events that a plugin emits go on after the current event, through the plugins after that
    /// plugin.
    pub(crate) async fn pass(
        &self,
        direction: Direction,
        event: PluginEvent,
        lane: u64,
    ) -> PluginOutput {
        let mut passed = PluginOutput::default();
        // A stack: the next event is at the end. Events that one made are pushed in reverse, so that they come before
        // those that wait already, in their order.
        let mut waiting = vec![PendingEvent { event, from: 0 }];
        let mut events = 1;
        while let Some(PendingEvent { event, from }) = waiting.pop() {
            let emitted = event.emitted;
            let made = match self.one(direction, event, from, lane, &mut passed).await {
                PassResult::Through { event, made } => {
                    // An event of the host's own goes to its plugin alone.
                    if event.recipient.is_none() {
                        passed.events.push(event);
                    }
                    made
                }
                PassResult::Ended { reason, made } => {
                    if !emitted {
                        passed.dropped = reason;
                    }
                    made
                }
            };
            add(&mut waiting, made, &mut events);
        }
        passed
    }

    /// Takes one event through the places from `from` on, counted in the direction of travel.
    async fn one(
        &self,
        direction: Direction,
        mut event: PluginEvent,
        from: usize,
        lane: u64,
        passed: &mut PluginOutput,
    ) -> PassResult {
        let mut made = Vec::new();
        for at in from..self.seats.len() {
            let position = match direction {
                Direction::Inbound => at,
                Direction::Outbound => self.seats.len() - 1 - at,
            };
            let Some(seat) = self.seats.get(position) else {
                break;
            };
            if !seat.wants(direction, &event) {
                continue;
            }
            let plugin = match seat {
                Seat::Taken(plugin) => plugin.clone(),
                Seat::Vacant(vacancy) => match vacancy.admit(direction, &event).await {
                    Admission::To(plugin) if plugin.wants(direction, &event) => plugin,
                    Admission::To(_) | Admission::Past => continue,
                    Admission::Nowhere(reason) => {
                        let dropped = DropReason {
                            plugin: vacancy.name().to_owned(),
                            reason: reason.into(),
                            failed: true,
                        };
                        let reason = Some(dropped);
                        return PassResult::Ended { reason, made };
                    }
                },
            };
            let (id, hops, emitted) = (event.id.clone(), event.hops, event.emitted);
            let is_answerable = event.is_answerable;
            let (plugin, handled) = ask(&plugin, event, direction, lane).await;
            match handled {
                EventOutcome::On(on, effects) => {
                    event = on;
                    made.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                }
                EventOutcome::Replaced(replacements, effects) => {
                    let mut replacements: Vec<_> =
                        numbered(&plugin, &id, hops, replacements, 0).collect();
                    let reason = replacements
                        .is_empty()
                        .then(|| dropped(&plugin, "it was replaced by nothing".into()));
                    if let Some(first) = replacements.first_mut() {
                        // The first replacement stands for the event that came in, and so is known by the same id.
                        first.id = id.clone();
                        first.emitted = emitted;
                        first.is_answerable = is_answerable;
                    }
                    let from = at + 1;
                    let replacements = replacements.into_iter();
                    made.extend(replacements.map(|event| PendingEvent { event, from }));
                    made.extend(emissions(&plugin, &id, hops, from, effects, passed));
                    return PassResult::Ended { reason, made };
                }
                EventOutcome::Dropped(reason, effects) => {
                    made.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                    let reason = Some(dropped(&plugin, reason));
                    return PassResult::Ended { reason, made };
                }
                EventOutcome::Answered(message, effects) => {
                    made.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                    passed.answer = Some(PluginAnswer {
                        plugin: plugin.name().to_owned(),
                        message,
                    });
                    return PassResult::Ended { reason: None, made };
                }
                // `ask` has tried it again for as long as is allowed.
                EventOutcome::Deferred(failed, _) | EventOutcome::Failed(failed, _)
                    if plugin.on_error() == OnError::Pass =>
                {
                    event = failed;
                }
                EventOutcome::Deferred(_, _) => {
                    let reason = Some(DropReason {
                        failed: true,
                        ..dropped(&plugin, DEFERRED_TOO_LONG.into())
                    });
                    return PassResult::Ended { reason, made };
                }
                EventOutcome::Failed(failed, why) => match plugin.on_error() {
                    OnError::Pass => event = failed,
                    OnError::Drop | OnError::Hold => {
                        let failed = true;
                        let dropped = dropped(&plugin, why);
                        let reason = Some(DropReason { failed, ..dropped });
                        return PassResult::Ended { reason, made };
                    }
                },
            }
        }
        PassResult::Through { event, made }
    }
}

impl Seat {
    fn wants(&self, direction: Direction, event: &PluginEvent) -> bool {
        match self {
            Self::Taken(plugin) => plugin.wants(direction, event),
            Self::Vacant(vacancy) => {
                event.may_meet(vacancy.name()) && vacancy.wants(direction, event)
            }
        }
    }

    fn may_hold_up(&self) -> bool {
        match self {
            Self::Taken(plugin) => plugin.may_hold_up(),
            Self::Vacant(_) => true,
        }
    }
}

/// An event that has not gone through all plugins yet.
struct PendingEvent {
    event: PluginEvent,
    /// The place from which it goes on, counted in the direction of travel.
    from: usize,
}

/// The result of one event's way, with the events that plugins made of it.
enum PassResult {
    /// The event came through.
    Through {
        event: PluginEvent,
        made: Vec<PendingEvent>,
    },
    /// The event was dropped, or replaced, which has no reason.
    Ended {
        reason: Option<DropReason>,
        made: Vec<PendingEvent>,
    },
}

/// Puts new events before those that wait. Events above the limit are left out and logged.
fn add(waiting: &mut Vec<PendingEvent>, made: Vec<PendingEvent>, events: &mut usize) {
    let room = MAX_EVENTS - (*events).min(MAX_EVENTS);
    if made.len() > room {
        tracing::warn!(
            left_out = made.len() - room,
            "plugins made more than {MAX_EVENTS} events out of one; the rest are left out"
        );
    }
    *events += made.len().min(room);
    waiting.extend(made.into_iter().take(room).rev());
}

/// The reason for which an event ends that a plugin deferred again and again.
const DEFERRED_TOO_LONG: &str =
    "it deferred the event for longer than 300 s, or more than 100 times";

/// Gives an event to a plugin. A plugin gets an event again that it deferred, within the bounds; with `on-error = "hold"`
/// a failure is tried again until the plugin works, or is replaced or removed. Returns the plugin that handled the event,
/// which may be the successor.
async fn ask(
    plugin: &Arc<Plugin>,
    event: PluginEvent,
    direction: Direction,
    lane: u64,
) -> (Arc<Plugin>, EventOutcome) {
    let began = Instant::now();
    let mut deferrals = 0;
    let (mut asked, mut handled) = plugin.handle(event, direction, lane).await;
    loop {
        let (event, again) = match handled {
            EventOutcome::Failed(event, _) if asked.on_error() == OnError::Hold => {
                let again = asked.quarantined_until();
                (event, again.unwrap_or_else(|| Instant::now() + TRY_AGAIN))
            }
            EventOutcome::Deferred(event, pause) => {
                deferrals += 1;
                let again = Instant::now() + pause;
                if again > began + MAX_DEFERRED || deferrals > MAX_DEFERRALS {
                    return (asked, EventOutcome::Deferred(event, pause));
                }
                (event, again)
            }
            handled => return (asked, handled),
        };
        let mut fate = asked.fate.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(again.into()) => {}
            _ = fate.wait_for(|fate| !matches!(fate, Fate::Serving)) => {}
        }
        (asked, handled) = asked.clone().handle(event, direction, lane).await;
    }
}

fn dropped(plugin: &Plugin, reason: CleanText) -> DropReason {
    DropReason {
        plugin: plugin.name().to_owned(),
        reason,
        failed: false,
    }
}

/// Adds the messages of a call to `passed`, and returns the events that it emitted, with the place from which they go
/// on.
fn emissions(
    plugin: &Plugin,
    id: &str,
    hops: u8,
    from: usize,
    effects: Effects,
    passed: &mut PluginOutput,
) -> Vec<PendingEvent> {
    let messages = effects.sends.into_iter().map(|send| PluginMessage {
        plugin: plugin.owner.name.clone(),
        id: send.id,
        message: send.message,
        hops: hops + 1,
    });
    passed.messages.extend(messages);
    let events = numbered(plugin, id, hops, effects.emissions, FIRST_EMISSION);
    events.map(|event| PendingEvent { event, from }).collect()
}

/// The events that a plugin made of the event `id`. Their ids depend on `id` and their numbers alone, so that they are
/// known again if the event comes a second time.
fn numbered(
    plugin: &Plugin,
    id: &str,
    hops: u8,
    emissions: Vec<Emission>,
    first: usize,
) -> impl Iterator<Item = PluginEvent> {
    emissions
        .into_iter()
        .enumerate()
        .map(move |(n, Emission { kind, body })| PluginEvent {
            hops: hops + 1,
            emitted: true,
            ..PluginEvent::new(
                &format!("{id}.{}.{}", plugin.name(), first + n),
                &kind,
                body,
            )
        })
}
