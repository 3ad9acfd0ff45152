//! WASI for components that were built against it: a clock and randomness, and of all else nothing. No files, no
//! sockets, no environment, no arguments; what is written to stdout and stderr goes to the plugin's log.

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

/// The longest line that is waited for; what is longer is written in parts.
const MAX_LINE: usize = 1024;

/// What may be written at once.
const MAX_WRITE: usize = 4 << 10;
/// Random bytes that cost one step of a call's budget: they are made one by one.
const RANDOM_A_STEP: u64 = 2;
/// Steps for each thing that is waited for.
const POLL_STEPS: u64 = 10;

/// Links WASI. Where one call may be asked for much, it is charged here for what it was asked; all calls are counted
/// where they come to their context, [`WasiView::ctx`].
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

/// Each call of WASI passes here: it counts as any call of the host. One too many can't be refused here; the next tick
/// ends the guest, or the end of the call makes a failure of it.
impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        if self.ended.is_none() {
            let _counted_or_ended = self.count();
        }
        let (ctx, table) = self.wasi_parts();
        WasiCtxView { ctx, table }
    }
}

impl Guest {
    /// What WASI keeps for this instance.
    fn wasi_parts(&mut self) -> (&mut WasiCtx, &mut ResourceTable) {
        let owner = &self.owner;
        let (ctx, table) = &mut **self
            .wasi
            .get_or_insert_with(|| Box::new(empty_context(owner)));
        (ctx, table)
    }
}

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

/// A stream whose lines are log lines.
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
        // Only WASI 0.2 is linked, which asks for the other form.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        })
    }
}

/// Gathers bytes to lines, at once: no task of its own, whose work would be nobody's.
struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
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
                "it wrote more at once than check-write allows",
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
