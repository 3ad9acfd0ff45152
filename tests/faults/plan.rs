//! The plan of a run: what happens and when, all of it drawn from the seed.

use std::fmt;
use std::time::Duration;

use local_slack::Happening;

use crate::dice::Dice;
use crate::draw;

/// How Slack's events reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Rtm,
    SocketMode,
    Http,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Rtm, Self::SocketMode, Self::Http];

    /// Its name in the config file and on our command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtm => "rtm",
            Self::SocketMode => "socket-mode",
            Self::Http => "http",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The events that Slack lets the app have in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Its subscriptions; `None`: all that its bot may see, except mentions.
    pub(crate) subscriptions: Option<&'static [&'static str]>,
    /// Whether the host's config names what may be read from history; otherwise that is what came live before.
    pub(crate) names_events: bool,
    /// How often a minute each method that reads history may be called, for 15 messages; `None`: as often as one likes.
    pub(crate) history_per_minute: Option<u32>,
}

impl Rights {
    /// Whether the app is given this kind of event.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.subscriptions {
            None => name != "app_mention",
            Some(subscriptions) => subscriptions.contains(&name),
        }
    }

    /// The kinds that a history has, too.
    pub(crate) fn in_history(&self) -> Vec<&'static str> {
        let mut kinds = vec!["message.channels", "message.groups", "app_mention"];
        kinds.retain(|kind| self.has(kind));
        kinds
    }
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) transport: Transport,
    /// How long there is traffic. All faults are lifted when it ends.
    pub(crate) length: Duration,
    /// Whether the host's clock can be moved: its process needs a library for that.
    pub(crate) moves_clock: bool,
    pub(crate) rights: Rights,
    pub(crate) steps: Vec<Step>,
}

/// A fault, and when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// The faults that a plan can have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start on the same state after a while.
    KillHost { down: Duration },
    /// SIGTERM, and a start after a while.
    StopHost { down: Duration },
    /// SIGKILL, and a start after longer than Slack gives anything again.
    HostAway { down: Duration },
    /// SIGSTOP for a while.
    FreezeHost { time: Duration },
    /// SIGKILL of Redis, and a start after a while.
    KillRedis { down: Duration },
    /// SIGSTOP of Redis for a while.
    FreezeRedis { time: Duration },
    /// SIGSTOP of the worker for a while, so that channels fill.
    FreezeWorker { time: Duration },
    /// The host can write no more than so many bytes beyond what its files have.
    FillDisk { time: Duration, room: u64 },
    /// The host's clock is so many seconds off for a while.
    MoveClock { time: Duration, by: i64 },
    /// Slack's sockets are cut with no word.
    CutSockets,
    /// Slack's sockets go silent, open all the same.
    FreezeSockets { time: Duration },
    /// Slack says goodbye on RTM and closes.
    Goodbye { linger: Duration },
    /// Slack says `disconnect` on all its sockets.
    Disconnect { reason: local_slack::Reason },
    /// One socket after another is struck.
    Storm { blows: u64, seed: u64 },
    /// Slack reads what the host sends so many bytes a second.
    SlowReads { time: Duration, rate: u32 },
    /// A fault of some of the envelopes or their acknowledgements.
    Envelopes { happening: Happening, times: u64 },
    /// A conversation gets another name, and no event reports it; the app goes on with the new name.
    StaleNames { conversation: usize },
    /// The app makes a call that Slack fails at however often it is tried, while all others succeed.
    PoisonCall {
        conversation: usize,
        method: &'static str,
        how: Answered,
    },
    /// How some calls of a method are answered.
    Calls {
        method: &'static str,
        how: Answered,
        times: u64,
    },
}

/// How calls are answered that are not answered as they deserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// 429.
    Limited { retry_after: u64 },
    /// An HTTP status with no JSON, before or after the call was carried out.
    Status { status: u16, carried_out: bool },
    /// One of Slack's own errors, before or after.
    Error {
        error: &'static str,
        carried_out: bool,
    },
    /// The connection is cut, before or after.
    Cut { carried_out: bool },
    /// It is carried out, and the connection is cut in the middle of the answer.
    Truncated,
    /// The answer is not JSON, before or after the effect.
    Garbled { carried_out: bool },
    /// As they deserve, but late.
    Late { by: Duration },
}

impl Plan {
    /// The run of a seed.
    pub(crate) fn draw(seed: u64, transport: Transport, length: Duration) -> Self {
        let mut dice = Dice::for_purpose(seed, "plan");
        // The library costs each look at the clock something, so that most runs go without.
        let moves_clock = dice.chance(30);
        let mut steps = Vec::new();
        let mut at = Duration::from_millis(dice.between(500, 1500));
        let last = length.saturating_sub(Duration::from_millis(500));
        while at < last {
            let fault = draw::fault(&mut dice, transport, moves_clock);
            // A message that goes by the name between two of them would find nobody.
            let is_renamed_again = matches!(fault, Fault::StaleNames { .. })
                && steps.iter().any(|step: &Step| step.fault == fault);
            if !is_renamed_again {
                steps.push(Step { at, fault });
            }
            at += Duration::from_millis(dice.between(100, 2200));
        }
        Self {
            seed,
            transport,
            length,
            moves_clock,
            rights: draw::rights(&mut Dice::for_purpose(seed, "rights"), transport),
            steps,
        }
    }

    /// A transport for a seed that was given none.
    pub(crate) fn transport(seed: u64) -> Transport {
        Dice::for_purpose(seed, "transport").pick(&Transport::ALL)
    }

    /// Whether there are times at which the host can keep nothing.
    pub(crate) fn fills_disk(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.fault, Fault::FillDisk { .. }))
    }
}

impl Fault {
    /// The fault in the table of all runs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::KillHost { .. } => "host killed",
            Self::StopHost { .. } => "host stopped",
            Self::HostAway { .. } => "host away",
            Self::FreezeHost { .. } => "host frozen",
            Self::KillRedis { .. } => "redis killed",
            Self::FreezeRedis { .. } => "redis frozen",
            Self::FreezeWorker { .. } => "worker frozen",
            Self::FillDisk { .. } => "disk full",
            Self::MoveClock { .. } => "clock moved",
            Self::CutSockets => "sockets cut",
            Self::FreezeSockets { .. } => "sockets frozen",
            Self::Goodbye { .. } => "goodbye",
            Self::Disconnect { .. } => "disconnect",
            Self::Storm { .. } => "storm",
            Self::SlowReads { .. } => "slow reads",
            Self::Envelopes { .. } => "envelopes",
            Self::StaleNames { .. } => "stale names",
            Self::PoisonCall { .. } => "poison call",
            Self::Calls { .. } => "calls",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::KillHost { down }
            | Self::StopHost { down }
            | Self::HostAway { down }
            | Self::KillRedis { down } => {
                write!(f, "{kind}, down for {down:?}")
            }
            Self::FreezeHost { time }
            | Self::FreezeRedis { time }
            | Self::FreezeWorker { time }
            | Self::FreezeSockets { time } => write!(f, "{kind} for {time:?}"),
            Self::FillDisk { time, room } => {
                write!(f, "{kind} but for {room} bytes, for {time:?}")
            }
            Self::MoveClock { time, by } => write!(f, "{kind} by {by} s for {time:?}"),
            Self::CutSockets => write!(f, "{kind}"),
            Self::Goodbye { linger } => write!(f, "{kind}, closed after {linger:?}"),
            Self::Disconnect { reason } => write!(f, "{kind}: {reason:?}"),
            Self::Storm { blows, .. } => write!(f, "{kind} of {blows} blows"),
            Self::SlowReads { time, rate } => {
                write!(f, "{kind} of {rate} bytes a second for {time:?}")
            }
            Self::Envelopes { happening, times } => write!(f, "{kind}: {happening:?} x {times}"),
            Self::StaleNames { conversation } => write!(f, "{kind} of conversation {conversation}"),
            Self::PoisonCall {
                conversation,
                method,
                how,
            } => write!(
                f,
                "{kind} of {method} in conversation {conversation}: {how:?}"
            ),
            Self::Calls { method, how, times } => {
                write!(f, "{kind} of {method}: {how:?} x {times}")
            }
        }
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subscriptions {
            None => write!(f, "the app gets all that its bot sees")?,
            Some(names) => write!(f, "the app is subscribed to {}", names.join(", "))?,
        }
        if !self.names_events {
            write!(f, "; from history comes what came live before")?;
        }
        match self.history_per_minute {
            None => Ok(()),
            Some(calls) => write!(
                f,
                "; history is read {calls} times a minute, 15 messages each"
            ),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {}, {:?} of traffic{}",
            self.seed,
            self.transport.name(),
            self.length,
            if self.moves_clock {
                ", with a clock that can be moved"
            } else {
                ""
            }
        )?;
        writeln!(f, "  {}", self.rights)?;
        for step in &self.steps {
            writeln!(f, "  {:>7.3} s  {}", step.at.as_secs_f64(), step.fault)?;
        }
        Ok(())
    }
}
