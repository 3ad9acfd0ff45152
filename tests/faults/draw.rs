//! The draw of a run's faults: which fault comes next, and what the app may have.

use std::time::Duration;

use local_slack::{Happening, Reason};

use crate::dice::Dice;
use crate::plan::{Answered, Fault, Rights, Transport};
use crate::stage::CONVERSATIONS;

/// The subscriptions of apps: with or without private channels, or mentions alone.
const SUBSCRIPTIONS: [&[&str]; 5] = [
    &["message.channels", "message.groups", "reaction_added"],
    &["message.channels", "reaction_added"],
    &["app_mention", "reaction_added"],
    &["message.groups", "app_mention", "reaction_added"],
    &["message.channels", "app_mention"],
];

/// Slack's limit for apps outside of its Marketplace, made quicker: a run has hours of its time.
const HISTORY_PER_MINUTE: u32 = 90;

/// Draws the events that Slack lets the app have. Over RTM it gives all of them.
pub(crate) fn rights(dice: &mut Dice, transport: Transport) -> Rights {
    let (some, names, limited) = (dice.chance(40), dice.chance(50), dice.chance(15));
    let subscriptions = dice.pick(&SUBSCRIPTIONS);
    let is_app = transport != Transport::Rtm;
    Rights {
        subscriptions: (some && is_app).then_some(subscriptions),
        names_events: names || !is_app,
        history_per_minute: limited.then_some(HISTORY_PER_MINUTE),
    }
}

/// Draws a fault that makes sense on `transport`.
pub(crate) fn fault(dice: &mut Dice, transport: Transport, moves_clock: bool) -> Fault {
    let has_sockets = u64::from(transport != Transport::Http);
    let has_acks = u64::from(transport != Transport::Rtm);
    // One weight for each arm of the `match` below, in its order: how often the fault comes, compared with the others.
    let weights = [
        18,
        5,
        5,
        10,
        8,
        8,
        10,
        if moves_clock { 25 } else { 0 },
        14 * has_sockets,
        14 * has_acks,
        26,
        6,
        4,
        4,
    ];
    match dice.weighted(&weights) {
        0 => Fault::KillHost {
            down: millis(dice, 50, 1500),
        },
        1 => Fault::StopHost {
            down: millis(dice, 50, 1500),
        },
        2 => Fault::FreezeHost {
            time: millis(dice, 300, 4000),
        },
        3 => Fault::KillRedis {
            down: millis(dice, 20, 3000),
        },
        4 => Fault::FreezeRedis {
            time: millis(dice, 200, 4000),
        },
        5 => Fault::FreezeWorker {
            time: millis(dice, 500, 4000),
        },
        6 => Fault::FillDisk {
            time: millis(dice, 300, 4000),
            room: dice.pick(&[0, 0, 5_000, 60_000]),
        },
        7 => {
            // An NTP step, a wrong time zone, a machine that comes up in another year.
            let by = dice.pick(&[2, 90, 3_600, 86_400 * 40]);
            Fault::MoveClock {
                time: millis(dice, 500, 4000),
                by: if dice.chance(50) { by } else { -by },
            }
        }
        8 => sockets(dice, transport),
        9 => envelopes(dice, transport),
        10 => calls(dice, transport),
        11 => Fault::StaleNames {
            conversation: dice.between(0, CONVERSATIONS as u64 - 1) as usize,
        },
        12 => poison(dice),
        _ => Fault::HostAway {
            down: millis(dice, 500, 3000),
        },
    }
}

fn sockets(dice: &mut Dice, transport: Transport) -> Fault {
    match dice.between(0, 9) {
        0..=2 => Fault::CutSockets,
        3..=4 => Fault::FreezeSockets {
            time: millis(dice, 500, 6000),
        },
        5..=6 if transport == Transport::Rtm => Fault::Goodbye {
            linger: millis(dice, 0, 300),
        },
        5..=6 => Fault::Disconnect {
            reason: dice.pick(&[
                Reason::Warning,
                Reason::RefreshRequested,
                Reason::TooManyWebsockets,
                Reason::LinkDisabled,
            ]),
        },
        7..=8 => Fault::Storm {
            blows: dice.between(3, 15),
            seed: dice.next(),
        },
        _ => Fault::SlowReads {
            time: millis(dice, 500, 3000),
            rate: dice.pick(&[200, 2_000, 20_000]),
        },
    }
}

fn envelopes(dice: &mut Dice, transport: Transport) -> Fault {
    let ms = dice.between(20, 4000);
    let mut happenings = vec![
        Happening::Lose,
        Happening::Duplicate,
        Happening::Delay { ms },
        Happening::Reorder,
        Happening::LoseAck,
        Happening::LateAck { ms },
        Happening::Drop,
    ];
    if transport == Transport::SocketMode {
        happenings.push(Happening::Freeze { ms });
    }
    Fault::Envelopes {
        happening: dice.pick(&happenings),
        times: dice.between(1, 40),
    }
}

fn calls(dice: &mut Dice, transport: Transport) -> Fault {
    let carried_out = dice.chance(50);
    let late = millis(dice, 200, 3000);
    if dice.chance(15) {
        // The calls by which connections are made, and those of the roster and of history with them.
        let method = match (dice.chance(50), transport) {
            (true, Transport::Rtm) => "rtm.connect",
            (true, Transport::SocketMode) => "apps.connections.open",
            _ => "conversations.history",
        };
        let how = dice.pick(&[
            Answered::Limited { retry_after: 1 },
            Answered::Status {
                status: 503,
                carried_out: false,
            },
            Answered::Cut { carried_out },
            Answered::Truncated,
            Answered::Garbled { carried_out },
            Answered::Late { by: late },
        ]);
        let times = dice.between(1, 3);
        return Fault::Calls { method, how, times };
    }
    let how = dice.pick(&[
        Answered::Limited { retry_after: 1 },
        Answered::Limited { retry_after: 2 },
        Answered::Status {
            status: 503,
            carried_out: false,
        },
        Answered::Status {
            status: 500,
            carried_out,
        },
        Answered::Status {
            status: 502,
            carried_out,
        },
        Answered::Error {
            error: "internal_error",
            carried_out,
        },
        Answered::Error {
            error: "service_unavailable",
            carried_out: false,
        },
        Answered::Cut { carried_out },
        Answered::Truncated,
        Answered::Garbled { carried_out },
        Answered::Late { by: late },
    ]);
    Fault::Calls {
        method: "chat.postMessage",
        how,
        times: dice.between(1, 12),
    }
}

/// A call of its own that nothing helps.
fn poison(dice: &mut Dice) -> Fault {
    Fault::PoisonCall {
        conversation: dice.between(0, CONVERSATIONS as u64 - 1) as usize,
        method: dice.pick(&["chat.update", "chat.postMessage", "chat.delete"]),
        how: dice.pick(&[
            Answered::Status {
                status: 500,
                carried_out: false,
            },
            Answered::Status {
                status: 503,
                carried_out: false,
            },
            Answered::Status {
                status: 408,
                carried_out: false,
            },
            Answered::Error {
                error: "fatal_error",
                carried_out: false,
            },
            Answered::Garbled { carried_out: false },
        ]),
    }
}

fn millis(dice: &mut Dice, least: u64, most: u64) -> Duration {
    Duration::from_millis(dice.between(least, most))
}
