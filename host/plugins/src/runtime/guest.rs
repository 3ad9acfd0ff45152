//! What the host knows of a running instance: whose it is, what it may use up, and the event that it is called for.

use std::sync::Arc;
use std::time::Duration;

use djangobot_event::{Budget, Event, OverBudget};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::WasiCtx;

use crate::runtime::engine::TICK;
use crate::runtime::owner::Owner;
use crate::services::roster::Direction;
use crate::services::store::PluginStore;
use crate::verdict::{Effects, Emission, Failure};

/// Entries of all tables of an instance together: enough for the function pointers of an interpreter.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Core instances in one component: adapters and libraries are instances too.
const MAX_INSTANCES: usize = 64;
/// Handles that a guest may hold at once. It gets one, and WASI's streams.
pub(crate) const MAX_HANDLES: usize = 1_024;
/// Events that one call may emit.
const MAX_EMISSIONS: usize = 64;
/// Messages to Slack of one call.
const MAX_SENDS: usize = 16;

/// Steps of a [`Budget`] that pass in a millisecond.
const STEPS_A_MS: u64 = 100_000;
/// Steps of one tick of the epoch.
const TICK_STEPS: u64 = STEPS_A_MS * TICK.as_millis() as u64;
/// What a call of the host costs beside what it does.
const HOST_CALL_STEPS: u64 = 10;
/// What a call of the store costs beside its bytes: some tens of microseconds.
pub(crate) const STORE_STEPS: u64 = 3_000;

/// The data of a store.
pub(crate) struct Guest {
    pub(crate) owner: Arc<Owner>,
    /// The call at hand.
    pub(crate) call: Option<Call>,
    /// This instance rehearses: nothing that it does is seen outside.
    pub(crate) shadow: bool,
    /// What a rehearsal sees as its store: it reads the real one and writes to memory.
    pub(crate) shadow_store: Option<PluginStore>,
    pub(crate) memory: MemoryLimit,
    /// What the call may still cost: the guest's computing and the host's work for it together.
    pub(crate) budget: Budget,
    /// Why the call was ended by the host, where a trap's own words would not tell.
    pub(crate) ended: Option<Failure>,
    /// Calls of the host that this call may still make.
    host_calls_left: u32,
    /// For components that were built against WASI: made when first asked for, and empty.
    pub(super) wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}

/// One event on its way through one plugin.
pub(crate) struct Call {
    pub(crate) event: Event,
    pub(crate) id: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) direction: Direction,
    /// How many emissions and sends led to this event.
    pub(crate) hops: u8,
    pub(crate) effects: Effects,
    /// Bytes that the answer, the emissions and the messages may still have.
    pub(crate) output_left: usize,
}

/// Emissions of emissions, and sends of sends, at most.
pub(crate) const MAX_HOPS: u8 = 8;

impl Guest {
    pub(crate) fn new(owner: Arc<Owner>, shadow: bool) -> Self {
        let limit = owner.limits.memory;
        let store = owner.services.store.as_ref();
        Self {
            call: None,
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

    /// Renews what is counted for each call. Without this the limits of one call would be those of all.
    pub(crate) fn begin(&mut self) {
        let limits = &self.owner.limits;
        // The tick under way is not a whole one.
        self.budget = Budget::new(steps(limits.time) + TICK_STEPS);
        self.host_calls_left = limits.host_calls;
        self.ended = None;
        self.memory.refused = None;
    }

    /// At each tick of the epoch while a guest computes: its time runs, and others get the thread.
    ///
    /// Ticks are counted, not the clock: a machine that stood still has not computed.
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
            || wasmtime::Error::msg("its time is up"),
            wasmtime::Error::new,
        ))
    }

    /// Counts a call of the host; the one too many traps.
    pub(crate) fn count(&mut self) -> wasmtime::Result<()> {
        match self.host_calls_left.checked_sub(1) {
            Some(left) => {
                self.host_calls_left = left;
                self.charge(HOST_CALL_STEPS)
            }
            None => Err(self.over(Failure::Budget(format!(
                "one call of it called the host more than {} times (limits.host-calls)",
                self.owner.limits.host_calls
            )))),
        }
    }

    /// Takes what the host does for the call out of its budget; where there is not as much left, this traps.
    pub(crate) fn charge(&mut self, steps: u64) -> wasmtime::Result<()> {
        let spent = self.budget.spend(steps);
        self.within_budget(spent)
    }

    /// As [`Guest::charge`], for bytes that are read or copied.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let spent = self.budget.spend_bytes(bytes);
        self.within_budget(spent)
    }

    /// What came of work within the budget; over it, a trap.
    pub(crate) fn within_budget<T>(
        &mut self,
        outcome: Result<T, OverBudget>,
    ) -> wasmtime::Result<T> {
        outcome.map_err(|OverBudget| {
            let limit = self.owner.limits.time;
            self.over(Failure::over_budget(limit))
        })
    }

    /// Ends the call with a failure that is told as it is, whatever becomes of the trap.
    pub(crate) fn over(&mut self, failure: Failure) -> wasmtime::Error {
        self.ended = Some(failure.clone());
        wasmtime::Error::new(failure)
    }

    /// The event of the call, and what may be spent on it.
    pub(crate) fn event(&mut self) -> wasmtime::Result<(&Event, &mut Budget)> {
        match &self.call {
            Some(call) => Ok((&call.event, &mut self.budget)),
            None => Err(no_call()),
        }
    }

    /// The call at hand; there is none during `init` and the like.
    pub(crate) fn call(&mut self) -> wasmtime::Result<&mut Call> {
        self.call.as_mut().ok_or_else(no_call)
    }
}

fn no_call() -> wasmtime::Error {
    wasmtime::Error::msg(
        "there is no event at hand: events are read and emitted, and messages sent, during on-event only",
    )
}

/// What computing for so long costs.
fn steps(time: Duration) -> u64 {
    STEPS_A_MS.saturating_mul(time.as_millis() as u64)
}

impl Call {
    /// Takes `bytes` of the answer's allowance.
    pub(crate) fn take_output(&mut self, bytes: usize, limit: usize) -> Result<(), String> {
        match self.output_left.checked_sub(bytes) {
            Some(left) => {
                self.output_left = left;
                Ok(())
            }
            None => Err(format!(
                "one call may answer {} KiB in all (limits.output-kib)",
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
        self.hops < MAX_HOPS && self.effects.sends.len() < MAX_SENDS
    }
}

/// Checks a new event that a plugin made.
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

/// Why a new event is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmissionError {
    #[error("the manifest's `emits` does not list {0:?}")]
    Unlisted(String),
    #[error("the body of a new event is no JSON object: {0}")]
    Body(String),
}

/// Counts the memory of an instance and refuses what is too much.
pub(crate) struct MemoryLimit {
    limit: usize,
    /// Bytes of all linear memories.
    pub(crate) in_use: usize,
    tables: usize,
    /// What it was refused during the call at hand, so that a trap is likely one for want of it.
    pub(crate) refused: Option<Refused>,
}

/// What an instance wanted more of than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
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
            false => self.refused = Some(Refused::Memory),
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
            false => self.refused = Some(Refused::Table),
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
