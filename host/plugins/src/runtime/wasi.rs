//! WASI for components that were built against it: a clock and randomness, and no files, no sockets, no environment and
//! no arguments. Lines that a plugin writes to stdout and stderr go to its log.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::runtime::guest::Guest;
use crate::runtime::wasi_state::WasiState;

/// The number of random bytes that cost one step of a call's budget. It is small, because they are made one by one.
pub(super) const RANDOM_A_STEP: u64 = 2;
/// The steps for each pollable that a guest waits for.
const POLL_STEPS: u64 = 10;

/// Links WASI. Functions that can be asked for much work in one call are replaced by ours, which charge for it. All
/// calls are counted where they get their context, in [`WasiView::ctx`].
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    random::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    insecure::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl poll::Host for Guest {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.charge(POLL_STEPS * pollables.len() as u64)?;
        poll::Host::poll(self.ctx().table, pollables).await
    }
}

impl poll::HostPollable for Guest {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        poll::HostPollable::ready(self.ctx().table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::block(self.ctx().table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.ctx().table, pollable)
    }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.charge(len / RANDOM_A_STEP)?;
        random::Host::get_random_bytes(self.ctx().ctx.random(), len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self.ctx().ctx.random())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.charge(len / RANDOM_A_STEP)?;
        insecure::Host::get_insecure_random_bytes(self.ctx().ctx.random(), len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        insecure::Host::get_insecure_random_u64(self.ctx().ctx.random())
    }
}

/// Each call of WASI gets its context here, so that it counts like any other call of the host. A call beyond the limit
/// can't be refused here, because this function can't fail: the next tick ends the guest, or else the call fails at its
/// end.
impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Once the call has ended for some reason, that one is reported, and further calls are not counted.
        if self.ended.is_none() {
            let _counted_or_ended = self.count();
        }
        self.wasi_state().view()
    }
}

impl Guest {
    /// The state of WASI for this instance. It is made at the first use, since most plugins use none of it.
    fn wasi_state(&mut self) -> &mut WasiState {
        let (log, shadow) = (&self.owner.log, self.shadow);
        self.wasi
            .get_or_insert_with(|| Box::new(WasiState::empty(log, shadow)))
    }
}
