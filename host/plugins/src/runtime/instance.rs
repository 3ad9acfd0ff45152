//! Instances of a plugin: starting one, calling it, and handing its state on.
//!
//! An instance has a wasmtime store of its own, and lives for as long as its calls end well. After a trap wasmtime does
//! not let it be called again: its owner drops it and starts another one. The component is compiled already, so that
//! this takes tens of microseconds.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use djangobot_event::{CleanText, EditError};
use wasmtime::component::{self, InstancePre, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::runtime::abi::v1;
use crate::runtime::engine::Engine;
use crate::runtime::guest::{Call, Guest, LimitedResource, MAX_TABLE_ELEMENTS};
use crate::runtime::owner::Owner;
use crate::runtime::wasi_state::MAX_HANDLES;
use crate::verdict::{Failure, Verdict};

/// A component whose imports are linked, ready to be started any number of times.
pub(crate) struct InstanceFactory {
    engine: Engine,
    linked: InstancePre<Guest>,
    exports: v1::PluginIndices,
    owner: Arc<Owner>,
}

impl InstanceFactory {
    pub(crate) fn new(
        engine: Engine,
        linked: InstancePre<Guest>,
        owner: Arc<Owner>,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            engine,
            exports: v1::PluginIndices::new(&linked)?,
            linked,
            owner,
        })
    }

    /// Whether the component has the optional export `lifecycle`.
    pub(crate) fn has_lifecycle(&self) -> bool {
        self.linked
            .component()
            .get_export_index(None, LIFECYCLE)
            .is_some()
    }

    /// Starts the instance `number`, and calls its `init` with the config.
    pub(crate) async fn start(&self, number: u32) -> Result<Instance, Failure> {
        self.start_as(Guest::new(self.owner.clone(), number, false))
            .await
    }

    /// Starts an instance for a rehearsal: it has no effect outside.
    pub(crate) async fn start_shadow(&self) -> Result<Instance, Failure> {
        self.start_as(Guest::new(self.owner.clone(), 0, true)).await
    }

    async fn start_as(&self, guest: Guest) -> Result<Instance, Failure> {
        let mut store = Store::new(self.engine.wasmtime(), guest);
        // Memory and tables are limited as they grow, computing by ticks of the epoch, and values that cross over by the
        // fuel of host calls. None of the three bounds what the others do.
        store.limiter(|guest| &mut guest.memory);
        store.epoch_deadline_callback(Guest::tick);
        store.set_hostcall_fuel(self.owner.limits.host_call_bytes());
        store.set_max_component_handles(MAX_HANDLES);
        begin(&mut store);
        let limit = self.owner.limits.wait;
        let started = within(limit, self.linked.instantiate_async(&mut store)).await;
        let started = match started {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                let said = store.data().end_output();
                return Err(with_stderr(failure(&mut store, &error), said));
            }
            Err(_) => return Err(Failure::Wait(limit)),
        };
        let plugin = match self.exports.load(&mut store, &started) {
            Ok(plugin) => plugin,
            Err(error) => return Err(failure(&mut store, &error)),
        };
        let mut instance = Instance {
            store,
            plugin,
            started,
        };
        let config = self.owner.config.as_str();
        // Instantiation runs the start functions of the component's modules; `init` gets limits of its own after that.
        begin(&mut instance.store);
        let init = instance
            .plugin
            .djangobot_plugin_handler()
            .call_init(&mut instance.store, config);
        let outcome = within(limit, init).await;
        let ready = instance.flatten(outcome)?;
        ready.map_err(|why| Failure::Error(why.into()))?;
        Ok(instance)
    }
}

/// An instance that can be called.
pub(crate) struct Instance {
    store: Store<Guest>,
    plugin: v1::Plugin,
    started: component::Instance,
}

type TimedOut = tokio::time::error::Elapsed;

impl Instance {
    /// Calls `on-event`. The call comes back whatever its result is, with the effects and with the event, to which the
    /// verdict's edits are applied.
    pub(crate) async fn on_event(
        &mut self,
        call: Call,
    ) -> (Option<Call>, Result<Verdict, Failure>) {
        self.store.data_mut().call = Some(call);
        begin(&mut self.store);
        let limit = self.store_limit();
        let answer = self
            .plugin
            .djangobot_plugin_handler()
            .call_on_event(&mut self.store);
        let outcome = within(limit, answer).await;
        let verdict = match self.flatten(outcome) {
            Ok(Ok(answer)) => {
                let guest = self.store.data_mut();
                v1::verdict(guest, answer).and_then(|verdict| edited(guest, verdict))
            }
            Ok(Err(why)) => Err(Failure::Error(why.into())),
            Err(failure) => Err(failure),
        };
        (self.store.data_mut().call.take(), verdict)
    }

    /// Calls `health`. A plugin without `lifecycle` counts as healthy.
    pub(crate) async fn health(&mut self) -> Result<(), Failure> {
        let Some(health) = self.lifecycle::<(), (Result<(), String>,)>("health") else {
            return Ok(());
        };
        let (outcome,) = self.call_lifecycle(health, ()).await?;
        outcome.map_err(|why| Failure::Error(why.into()))
    }

    /// Calls `snapshot`, which gives the instance's state. `None` for a plugin without `lifecycle`.
    pub(crate) async fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(snapshot) = self.lifecycle::<(), (Vec<u8>,)>("snapshot") else {
            return Ok(None);
        };
        let (state,) = self.call_lifecycle(snapshot, ()).await?;
        Ok(Some(state))
    }

    /// Calls `restore` with the state of the version before. A plugin without `lifecycle` begins without state.
    pub(crate) async fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        let Some(restore) = self.lifecycle::<(Vec<u8>,), (Result<(), String>,)>("restore") else {
            return Ok(());
        };
        let (outcome,) = self.call_lifecycle(restore, (state.to_owned(),)).await?;
        outcome.map_err(|why| Failure::Error(why.into()))
    }

    /// The size of its memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().memory.in_use
    }

    /// A function of `lifecycle`; `None` if the component has no such function.
    fn lifecycle<P, R>(&mut self, name: &str) -> Option<TypedFunc<P, R>>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let instance = self.started;
        let interface = instance.get_export_index(&mut self.store, None, LIFECYCLE)?;
        let function = instance.get_export_index(&mut self.store, Some(&interface), name)?;
        instance.get_typed_func(&mut self.store, function).ok()
    }

    async fn call_lifecycle<P, R>(
        &mut self,
        function: TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, Failure>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync,
        R: wasmtime::component::ComponentNamedList
            + wasmtime::component::Lift
            + Send
            + Sync
            + 'static,
    {
        begin(&mut self.store);
        let limit = self.store_limit();
        let outcome = within(limit, function.call_async(&mut self.store, parameters)).await;
        self.flatten(outcome)
    }

    fn store_limit(&self) -> Duration {
        self.store.data().owner.limits.wait
    }

    /// The value of a call, or its failure: a timeout, a trap, or a limit that the host noted meanwhile.
    fn flatten<T>(&mut self, outcome: Result<wasmtime::Result<T>, TimedOut>) -> Result<T, Failure> {
        let said = self.store.data().end_output();
        match outcome {
            // A call of WASI beyond the limit could not be refused, but was noted.
            Ok(Ok(value)) => match self.store.data_mut().ended.take() {
                Some(ended) => Err(ended),
                None => Ok(value),
            },
            Ok(Err(error)) => Err(with_stderr(failure(&mut self.store, &error), said)),
            Err(_) => Err(Failure::Wait(self.store_limit())),
        }
    }
}

/// Applies the edits of a verdict to the event, which may still fail.
fn edited(guest: &mut Guest, verdict: Verdict) -> Result<Verdict, Failure> {
    if let (Verdict::Modify(edits), Some(call)) = (&verdict, &mut guest.call) {
        match call.event.apply_within(edits, &mut guest.budget) {
            Ok(()) => {}
            Err(EditError::OverBudget) => {
                return Err(Failure::over_budget(guest.owner.limits.time));
            }
            Err(error) => return Err(Failure::Answer(error.to_string().into())),
        }
    }
    Ok(verdict)
}

/// Waits for `work`, for no longer than `limit`. Most calls end without waiting, so a timer is made only after the
/// first poll.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    let mut work = std::pin::pin!(work);
    let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match at_once {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(limit, work).await,
    }
}

/// The name of the optional export, which is the same in each 1.x.
const LIFECYCLE: &str = "djangobot:plugin/lifecycle@1.0.0";

/// Renews the limits that hold for each call.
fn begin(store: &mut Store<Guest>) {
    store.data_mut().begin();
    store.set_epoch_deadline(1);
}

/// A trap together with the end of what the guest wrote to stderr: runtimes write there what they abort for.
fn with_stderr(failure: Failure, said: Option<CleanText>) -> Failure {
    match (failure, said) {
        (Failure::Trap(why), Some(said)) => {
            Failure::Trap(format!("{why}; it wrote to stderr: {said}").into())
        }
        (failure, _) => failure,
    }
}

/// The failure behind an error of wasmtime: a limit that the host noted, else memory that was refused, else the trap.
/// Of the backtrace, only the function that trapped is named, since the failure has to fit one line.
fn failure(store: &mut Store<Guest>, error: &wasmtime::Error) -> Failure {
    let guest = store.data_mut();
    if let Some(ended) = guest.ended.take() {
        return ended;
    }
    let trap = error.downcast_ref::<Trap>();
    // A guest that gets no memory aborts, which is `unreachable`. Any other trap has a reason of its own.
    let is_plain = trap.is_none() || matches!(trap, Some(Trap::UnreachableCodeReached));
    match guest.memory.refused {
        Some(LimitedResource::Memory) if is_plain => {
            return Failure::Memory(guest.owner.limits.memory);
        }
        Some(LimitedResource::Table) if is_plain => return Failure::Table(MAX_TABLE_ELEMENTS),
        _ => {}
    }
    let cause = error.root_cause().to_string();
    let cause = cause.trim_start_matches("wasm trap: ");
    match trapped_in(error) {
        Some(function) => Failure::Trap(format!("{cause} in {function}").into()),
        None => Failure::Trap(cause.into()),
    }
}

/// The longest name of a function that a failure shows, in bytes.
const MAX_FUNCTION: usize = 200;

/// The name of the guest's function in which it trapped, if its file has names. Functions by which a runtime aborts come
/// first, and say nothing.
fn trapped_in(error: &wasmtime::Error) -> Option<CleanText> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let is_own = |name: &&str| {
        let aborts = ["abort", "panic", "unreachable", "proc_exit"];
        !name.is_empty() && !aborts.iter().any(|word| name.contains(word))
    };
    let mut names = backtrace.frames().iter().filter_map(|it| it.func_name());
    let name = names.find(is_own)?;
    Some(CleanText::within(name, MAX_FUNCTION))
}
