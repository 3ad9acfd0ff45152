//! The host's data of a running instance: its plugin, its limits, and the event that it is called for.

use std::sync::Arc;
use std::time::Duration;

use djangobot_event::{Budget, CleanText, Event, OverBudget};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::plugin_event::PluginEvent;
use crate::runtime::engine::TICK;
use crate::runtime::owner::Owner;
use crate::runtime::wasi_state::WasiState;
use crate::services::roster::Direction;
use crate::services::store::PluginStore;
use crate::verdict::{Effects, Emission, Failure};

/// The largest number of entries of all tables of an instance together: enough for the function pointers of an
/// interpreter.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// The largest number of core instances in one component: adapters and libraries are instances too.
const MAX_INSTANCES: usize = 64;
/// The largest number of events that one call may emit.
const MAX_EMISSIONS: usize = 64;
/// The largest number of messages to Slack of one call.
const MAX_SENDS: usize = 16;

/// The steps of a [`Budget`] in a millisecond: a step is about ten nanoseconds.
const STEPS_A_MS: u64 = 100_000;
/// The steps of one tick of the epoch.
const TICK_STEPS: u64 = STEPS_A_MS * TICK.as_millis() as u64;
/// The cost of a call of the host in addition to its work.
const HOST_CALL_STEPS: u64 = 10;
/// The cost of a call of the store in addition to its bytes: some tens of microseconds.
pub(crate) const STORE_STEPS: u64 = 3_000;

/// The data of one wasmtime store, and so of one instance.
///
/// `begin` renews `budget`, `host_calls_left` and `ended` before each call. From the moment that `ended` is set, the
/// call is over: whatever the guest returns, the host reports that failure.
pub(crate) struct Guest {
    pub(crate) owner: Arc<Owner>,
    /// The current call; `None` during `init` and the functions of `lifecycle`.
    pub(crate) call: Option<Call>,
    /// Its number among the instances of its plugin, from 0.
    pub(crate) number: u32,
    /// Whether this instance rehearses: it has no effect outside.
    pub(crate) shadow: bool,
    /// The store of a rehearsal, which reads the real one and writes to memory.
    pub(crate) shadow_store: Option<PluginStore>,
    pub(crate) memory: MemoryLimit,
    /// The steps that the call may still take: the guest's computing and the host's work for it together.
    pub(crate) budget: Budget,
    /// Why the host ended the call, which the text of a trap would not show.
    pub(crate) ended: Option<Failure>,
    /// The calls of the host that this call may still make.
    host_calls_left: u32,
    /// The state of WASI. It is made at its first use, and nothing can be reached through it.
    pub(super) wasi: Option<Box<WasiState>>,
}

/// One event's call of one plugin.
pub(crate) struct Call {
    pub(crate) event: Event,
    pub(crate) id: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) direction: Direction,
    /// How many emissions and sends led to this event.
    pub(crate) hops: u8,
    /// Whether Slack takes an answer to this event.
    pub(crate) is_answerable: bool,
    pub(crate) effects: Effects,
    /// How many messages the call has sent so far, those of a rehearsal too: their ids are numbered by it.
    pub(crate) sends: usize,
    /// The bytes that the answer, the emissions and the messages may still have together.
    pub(crate) output_left: usize,
}

/// The longest chain of emissions and sends of which each led to the next: plugins that answer each other end there.
pub(crate) const MAX_HOPS: u8 = 8;

impl Guest {
    pub(crate) fn new(owner: Arc<Owner>, number: u32, shadow: bool) -> Self {
        let limit = owner.limits.memory;
        let store = owner.services.store.as_ref();
        Self {
            call: None,
            number,
            shadow,
            shadow_store: store.filter(|_| shadow).map(PluginStore::shadow),
            owner,
            memory: MemoryLimit {
                limit,
                in_use: 0,
                tables: 0,
                refused: None,
            },
            budget: Budget::new(0),
            ended: None,
            host_calls_left: 0,
            wasi: None,
        }
    }

    /// Renews the limits that hold for each call. Without this, the limits of one call would be those of all together.
    pub(crate) fn begin(&mut self) {
        let limits = &self.owner.limits;
        // The current tick has begun already, so that its first charge is for less than a tick of computing.
        self.budget = Budget::new(steps(limits.time) + TICK_STEPS);
        self.host_calls_left = limits.host_calls;
        self.ended = None;
        self.memory.refused = None;
    }

    /// Runs at each tick of the epoch while a guest computes: it charges the tick, and yields the thread to other
    /// tasks.
    ///
    /// It counts ticks and does not read the clock: a guest has not computed while the machine stood still.
    pub(crate) fn tick(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let guest = store.data_mut();
        if guest.ended.is_none() {
            match guest.budget.spend(TICK_STEPS) {
                Ok(()) => {
                    return Ok(UpdateDeadline::YieldCustom(
                        1,
                        Box::pin(tokio::task::yield_now()),
                    ));
                }
                Err(OverBudget) => guest.ended = Some(Failure::Time(guest.owner.limits.time)),
            }
        }
        let failure = guest.ended.clone();
        Err(failure.map_or_else(
            || wasmtime::Error::msg("the host ended the call"),
            wasmtime::Error::new,
        ))
    }

    /// Counts a call of the host. A call beyond the limit traps.
    pub(crate) fn count(&mut self) -> wasmtime::Result<()> {
        match self.host_calls_left.checked_sub(1) {
            Some(left) => {
                self.host_calls_left = left;
                self.charge(HOST_CALL_STEPS)
            }
            None => Err(self.over(Failure::Budget(format!(
                "it called the host more than {} times in one call (limits.host-calls)",
                self.owner.limits.host_calls
            )))),
        }
    }

    /// Charges the host's work to the call's budget. If there is not enough left, the guest traps.
    pub(crate) fn charge(&mut self, steps: u64) -> wasmtime::Result<()> {
        let spent = self.budget.spend(steps);
        self.within_budget(spent)
    }

    /// Charges bytes that are read or copied, as [`Guest::charge`] does.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let spent = self.budget.spend_bytes(bytes);
        self.within_budget(spent)
    }

    /// Turns work that exceeded the budget into a trap.
    pub(crate) fn within_budget<T>(
        &mut self,
        outcome: Result<T, OverBudget>,
    ) -> wasmtime::Result<T> {
        outcome.map_err(|OverBudget| {
            let limit = self.owner.limits.time;
            self.over(Failure::over_budget(limit))
        })
    }

    /// Ends the call with this failure, which is reported in the place of the trap.
    pub(crate) fn over(&mut self, failure: Failure) -> wasmtime::Error {
        self.ended = Some(failure.clone());
        wasmtime::Error::new(failure)
    }

    /// The event of the call, and the budget for work on it.
    pub(crate) fn event(&mut self) -> wasmtime::Result<(&Event, &mut Budget)> {
        match &self.call {
            Some(call) => Ok((&call.event, &mut self.budget)),
            None => Err(no_call()),
        }
    }

    /// The current call. Traps where there is none: during `init` and the functions of `lifecycle`.
    pub(crate) fn call(&mut self) -> wasmtime::Result<&mut Call> {
        self.call.as_mut().ok_or_else(no_call)
    }
}

impl Guest {
    /// Ends the lines that the guest began during a call, and returns the end of what it wrote to stderr, if it did.
    pub(crate) fn end_output(&self) -> Option<CleanText> {
        self.wasi.as_ref()?.end_output()
    }
}

fn no_call() -> wasmtime::Error {
    wasmtime::Error::msg(
        "there is no current event: a plugin can read and emit events and send messages only in on-event",
    )
}

/// The steps of computing for so long.
fn steps(time: Duration) -> u64 {
    STEPS_A_MS.saturating_mul(time.as_millis() as u64)
}

impl Call {
    /// The call for `event`, whose answer may have `output` bytes.
    pub(crate) fn of(event: &PluginEvent, direction: Direction, output: usize) -> Self {
        Self {
            event: event.body.clone(),
            id: event.id.clone(),
            kind: event.kind.clone(),
            direction,
            hops: event.hops,
            is_answerable: event.is_answerable,
            effects: Effects::default(),
            sends: 0,
            output_left: output,
        }
    }

    /// Takes `bytes` from the output that the call has left. The error is a clause.
    pub(crate) fn take_output(&mut self, bytes: usize, limit: usize) -> Result<(), String> {
        match self.output_left.checked_sub(bytes) {
            Some(left) => {
                self.output_left = left;
                Ok(())
            }
            None => Err(format!(
                "the answers of one call may have at most {} KiB in all (limits.output-kib)",
                limit >> 10
            )),
        }
    }

    /// Whether one more event may be emitted.
    pub(crate) fn has_room(&self) -> bool {
        self.hops < MAX_HOPS && self.effects.emissions.len() < MAX_EMISSIONS
    }

    /// Whether one more message may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.hops < MAX_HOPS && self.sends < MAX_SENDS
    }
}

/// Checks a new event of a plugin: its kind must be in the manifest, and its body a JSON object.
pub(crate) fn emission(
    owner: &Owner,
    kind: String,
    body: String,
) -> Result<Emission, EmissionError> {
    if !owner.manifest.may_emit(&kind) {
        return Err(EmissionError::Unlisted(kind.chars().take(40).collect()));
    }
    match Event::parse(body) {
        Ok(body) => Ok(Emission { kind, body }),
        Err(error) => Err(EmissionError::Body(error.to_string())),
    }
}

/// Why a new event is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmissionError {
    #[error("the manifest's `emits` does not list {0:?}")]
    Unlisted(String),
    #[error("the body of a new event is not a JSON object: {0}")]
    Body(String),
}

/// Counts the memory of an instance, and refuses growth beyond the limit.
///
/// A refused growth is not a trap: the guest sees it fail, and may go on with less. Most guests abort, though, and the
/// reason of that trap is then taken from `refused`.
pub(crate) struct MemoryLimit {
    /// In bytes.
    limit: usize,
    /// The bytes of all linear memories and of the heap for objects.
    pub(crate) in_use: usize,
    /// The entries of all tables.
    tables: usize,
    /// The resource that was refused during the current call.
    pub(crate) refused: Option<LimitedResource>,
}

/// A resource of which an instance asked for more than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitedResource {
    Memory,
    Table,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let in_use = self.in_use - current.min(self.in_use) + desired;
        let fits = in_use <= self.limit;
        match fits {
            true => self.in_use = in_use,
            false => self.refused = Some(LimitedResource::Memory),
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self.tables - current.min(self.tables) + desired;
        let fits = elements <= MAX_TABLE_ELEMENTS;
        match fits {
            true => self.tables = elements,
            false => self.refused = Some(LimitedResource::Table),
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}
