//! WASI for components that were built against it: a clock and randomness, and no files, no sockets, no environment and
//! no arguments. Lines that a plugin writes to stdout and stderr go to its log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::runtime::guest::{Guest, MAX_HANDLES};
use crate::runtime::owner::Owner;
use crate::services::log::{Level, PluginLog};

/// The longest line, in bytes. A longer one is logged in parts.
const MAX_LINE: usize = 1024;

/// The largest write, in bytes, which `check-write` tells the guest.
const MAX_WRITE: usize = 4 << 10;
/// The number of random bytes that cost one step of a call's budget. It is small, because they are made one by one.
const RANDOM_A_STEP: u64 = 2;
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
        let (ctx, table) = self.wasi_parts();
        WasiCtxView { ctx, table }
    }
}

impl Guest {
    /// The state of WASI for this instance. It is made at the first use, since most plugins use none of it.
    fn wasi_parts(&mut self) -> (&mut WasiCtx, &mut ResourceTable) {
        let owner = &self.owner;
        let (ctx, table) = &mut **self
            .wasi
            .get_or_insert_with(|| Box::new(empty_context(owner)));
        (ctx, table)
    }
}

/// A context in which nothing can be reached. WASI's default gives no files, environment or arguments either.
fn empty_context(owner: &Owner) -> (WasiCtx, ResourceTable) {
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdin(ClosedInputStream)
        .stdout(LogStream::new(&owner.log, Level::Info))
        .stderr(LogStream::new(&owner.log, Level::Warn));
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HANDLES);
    (builder.build(), table)
}

/// An output stream whose lines go to the plugin's log.
#[derive(Clone)]
struct LogStream {
    log: Arc<PluginLog>,
    level: Level,
}

impl LogStream {
    fn new(log: &Arc<PluginLog>, level: Level) -> Self {
        Self {
            log: log.clone(),
            level,
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.2 is linked, which uses `p2_stream`.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        })
    }
}

/// Collects bytes into lines while they are written. It has no task of its own, whose work would be charged to nobody.
struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
    /// Logs each line that is complete, and keeps the rest.
    fn gather(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (MAX_LINE - self.line.len()).min(bytes.len());
            let end = memchr::memchr(b'\n', &bytes[..room]);
            self.line.extend_from_slice(&bytes[..end.unwrap_or(room)]);
            bytes = &bytes[end.map_or(room, |end| end + 1)..];
            if end.is_some() || self.line.len() >= MAX_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            self.stream.log.write(self.stream.level, &text);
            self.line.clear();
        }
    }
}

#[async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_WRITE {
            return Err(StreamError::trap(
                "it wrote more in one call than check-write allows",
            ));
        }
        self.gather(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.end_line();
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}
