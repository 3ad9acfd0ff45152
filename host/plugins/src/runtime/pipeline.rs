//! The plugins in the order of the config, and one event's way through them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_event::CleanText;

use crate::config::OnError;
use crate::passing::{Dropped, Message, Passed, Passing};
use crate::runtime::plugin::{Fate, Handled, Plugin};
use crate::runtime::vacancy::{Admitted, Vacancy};
use crate::services::roster::Direction;
use crate::verdict::{Effects, Emission};

/// Events that may come of one, in all.
const MAX_EVENTS: usize = 256;
/// An event that is held is tried again this often, where no quarantine says when.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The plugins that events meet just now. A change makes a new one; what is under way goes on in the old.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    pub(crate) seats: Vec<Seat>,
}

/// A place in the pipeline.
#[derive(Clone, Debug)]
pub(crate) enum Seat {
    Taken(Arc<Plugin>),
    /// One is wanted here, and does not serve.
    Vacant(Arc<Vacancy>),
}

impl Pipeline {
    /// The places that an event would come to, by what it is now.
    fn wanting<'a>(
        &'a self,
        direction: Direction,
        passing: &'a Passing,
    ) -> impl Iterator<Item = &'a Seat> {
        self.seats
            .iter()
            .filter(move |seat| seat.wants(direction, passing))
    }

    /// Whether an event's way may take time, so that other conversations must not stand behind it.
    pub(crate) fn may_wait(&self, direction: Direction, passing: &Passing) -> bool {
        // What the first plugins emit may be for any of the others.
        let mut wanted = false;
        self.seats.iter().any(|seat| {
            wanted |= seat.wants(direction, passing);
            wanted && seat.may_hold_up()
        })
    }

    /// Whether a plugin that asks for names may be called for an event.
    pub(crate) fn needs_roster(&self, direction: Direction, passing: &Passing) -> bool {
        self.wanting(direction, passing).any(|seat| match seat {
            Seat::Taken(plugin) => plugin.uses_roster,
            Seat::Vacant(vacancy) => vacancy.uses_roster(),
        })
    }

    /// Whether an event comes to no place at all.
    pub(crate) fn is_idle(&self, direction: Direction, passing: &Passing) -> bool {
        self.wanting(direction, passing).next().is_none()
    }

    /// One event's whole way: through the plugins that want it, in order, inbound from the first to the last, outbound
    /// from the last to the first. What a plugin emits goes on behind the event at hand, through the plugins after it.
    pub(crate) async fn pass(&self, direction: Direction, passing: Passing, lane: u64) -> Passed {
        let mut passed = Passed::default();
        // What is still to go through, the next at the end, and from which plugin on.
        let mut waiting = vec![(passing, 0)];
        let mut events = 1;
        while let Some((passing, from)) = waiting.pop() {
            let emitted = passing.emitted;
            match self.one(direction, passing, from, lane, &mut passed).await {
                Way::Through(passing, more) => {
                    passed.events.push(passing);
                    add(&mut waiting, more, &mut events);
                }
                Way::Ended(dropped, more) => {
                    if !emitted {
                        passed.dropped = dropped;
                    }
                    add(&mut waiting, more, &mut events);
                }
            }
        }
        passed
    }

    /// The way of one event from plugin `from` on.
    async fn one(
        &self,
        direction: Direction,
        mut passing: Passing,
        from: usize,
        lane: u64,
        passed: &mut Passed,
    ) -> Way {
        let mut more = Vec::new();
        for at in from..self.seats.len() {
            let position = match direction {
                Direction::Inbound => at,
                Direction::Outbound => self.seats.len() - 1 - at,
            };
            let Some(seat) = self.seats.get(position) else {
                break;
            };
            if !seat.wants(direction, &passing) {
                continue;
            }
            let plugin = match seat {
                Seat::Taken(plugin) => plugin.clone(),
                Seat::Vacant(vacancy) => match vacancy.admit(direction, &passing).await {
                    Admitted::To(plugin) if plugin.wants(direction, &passing) => plugin,
                    Admitted::To(_) | Admitted::Past => continue,
                    Admitted::Nowhere(reason) => {
                        let dropped = Dropped {
                            plugin: vacancy.name().to_owned(),
                            reason: reason.into(),
                            failed: true,
                        };
                        return Way::Ended(Some(dropped), more);
                    }
                },
            };
            let (id, hops, emitted) = (passing.id.clone(), passing.hops, passing.emitted);
            let (plugin, handled) = ask(&plugin, passing, direction, lane).await;
            match handled {
                Handled::On(on, effects) => {
                    passing = on;
                    more.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                }
                Handled::Replaced(replacements, effects) => {
                    let mut replacements: Vec<_> =
                        numbered(&plugin, &id, hops, replacements, 0).collect();
                    let nothing = replacements
                        .is_empty()
                        .then(|| dropped(&plugin, "it was replaced by nothing".into()));
                    if let Some(first) = replacements.first_mut() {
                        // It stands for what came in, so that it is found by the same id.
                        first.id = id.clone();
                        first.emitted = emitted;
                    }
                    more.extend(replacements.into_iter().map(|it| (it, at + 1)));
                    more.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                    return Way::Ended(nothing, more);
                }
                Handled::Dropped(reason, effects) => {
                    more.extend(emissions(&plugin, &id, hops, at + 1, effects, passed));
                    return Way::Ended(Some(dropped(&plugin, reason)), more);
                }
                Handled::Failed(failed, why) => match plugin.on_error() {
                    OnError::Pass => passing = failed,
                    OnError::Drop | OnError::Hold => {
                        let failed = true;
                        let dropped = dropped(&plugin, why);
                        return Way::Ended(Some(Dropped { failed, ..dropped }), more);
                    }
                },
            }
        }
        Way::Through(passing, more)
    }
}

impl Seat {
    fn wants(&self, direction: Direction, passing: &Passing) -> bool {
        match self {
            Self::Taken(plugin) => plugin.wants(direction, passing),
            Self::Vacant(vacancy) => vacancy.wants(direction, passing),
        }
    }

    fn may_hold_up(&self) -> bool {
        match self {
            Self::Taken(plugin) => plugin.may_hold_up(),
            Self::Vacant(_) => true,
        }
    }
}

/// How far an event came, and what else goes on from where.
enum Way {
    Through(Passing, Vec<(Passing, usize)>),
    Ended(Option<Dropped>, Vec<(Passing, usize)>),
}

/// Puts events before those that wait, in their order; what is too much is left out, and said.
fn add(waiting: &mut Vec<(Passing, usize)>, more: Vec<(Passing, usize)>, events: &mut usize) {
    let room = MAX_EVENTS - (*events).min(MAX_EVENTS);
    if more.len() > room {
        tracing::warn!(
            left_out = more.len() - room,
            "plugins made more than {MAX_EVENTS} events of one; the rest is left out"
        );
    }
    *events += more.len().min(room);
    waiting.extend(more.into_iter().take(room).rev());
}

/// Gives an event to a plugin. Where it fails and the event is to be held, waits until it works again, is replaced or
/// removed.
async fn ask(
    plugin: &Arc<Plugin>,
    passing: Passing,
    direction: Direction,
    lane: u64,
) -> (Arc<Plugin>, Handled) {
    let (mut asked, mut handled) = plugin.handle(passing, direction, lane).await;
    loop {
        match handled {
            Handled::Failed(passing, _) if asked.on_error() == OnError::Hold => {
                let again = asked
                    .quarantined_until()
                    .unwrap_or_else(|| Instant::now() + TRY_AGAIN);
                let mut fate = asked.fate.subscribe();
                tokio::select! {
                    () = tokio::time::sleep_until(again.into()) => {}
                    _ = fate.wait_for(|fate| !matches!(fate, Fate::Serving)) => {}
                }
                (asked, handled) = asked.clone().handle(passing, direction, lane).await;
            }
            handled => return (asked, handled),
        }
    }
}

fn dropped(plugin: &Plugin, reason: CleanText) -> Dropped {
    Dropped {
        plugin: plugin.name().to_owned(),
        reason,
        failed: false,
    }
}

/// Takes the messages of a call, and gives the events that it emitted, with the plugin that they go on from.
fn emissions(
    plugin: &Plugin,
    id: &str,
    hops: u8,
    from: usize,
    effects: Effects,
    passed: &mut Passed,
) -> Vec<(Passing, usize)> {
    let messages = effects.sends.into_iter().map(|message| Message {
        plugin: plugin.name().to_owned(),
        message,
        hops: hops + 1,
    });
    passed.messages.extend(messages);
    // Behind the replacements, whose numbers come first.
    let events = numbered(plugin, id, hops, effects.emissions, 1_000);
    events.map(|event| (event, from)).collect()
}

/// Events that a plugin made of the event `id`. Their ids are the same however often that comes.
fn numbered(
    plugin: &Plugin,
    id: &str,
    hops: u8,
    emissions: Vec<Emission>,
    first: usize,
) -> impl Iterator<Item = Passing> {
    emissions
        .into_iter()
        .enumerate()
        .map(move |(n, Emission { kind, body })| Passing {
            id: format!("{id}.{}.{}", plugin.name(), first + n).into(),
            kind: kind.into(),
            event: body,
            hops: hops + 1,
            emitted: true,
        })
}
