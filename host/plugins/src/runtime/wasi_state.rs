//! The state of WASI for one instance: nothing can be reached through it, and lines that a guest writes to stdout and
//! stderr go to its log.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::CleanText;
use djangobot_event::lock::lock;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView};

use crate::services::log::{Level, PluginLog};

/// The largest number of handles that a guest may hold at once: WASI's streams are such.
pub(crate) const MAX_HANDLES: usize = 1_024;
/// The longest line, in bytes. A longer one is logged in parts.
const MAX_LINE: usize = 1024;
/// The bytes of stderr that a failure shows.
const MAX_TAIL: usize = 2 << 10;
/// The largest write, in bytes, which `check-write` tells the guest.
const MAX_WRITE: usize = 4 << 10;

/// The state of WASI for one instance.
pub(crate) struct WasiState {
    ctx: WasiCtx,
    table: ResourceTable,
    output: Arc<Mutex<Output>>,
}

impl WasiState {
    /// The context and the table of its handles, as WASI's functions take them.
    pub(super) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }

    /// Ends the lines that the guest began during a call, and returns the end of what it wrote to stderr in the call, if
    /// it wrote something. Languages write there why they abort.
    pub(super) fn end_output(&self) -> Option<CleanText> {
        let mut output = lock(&self.output);
        output.end_lines();
        let tail = std::mem::take(&mut output.tail);
        let text = String::from_utf8_lossy(&tail);
        let text = text.trim();
        (!text.is_empty()).then(|| CleanText::within(text, MAX_TAIL))
    }

    /// A state in which nothing can be reached. WASI's default gives no files, environment or arguments either.
    pub(super) fn empty(log: &Arc<PluginLog>, is_rehearsal: bool) -> Self {
        let output = Arc::new(Mutex::new(Output {
            log: log.clone(),
            is_rehearsal,
            lines: [Vec::new(), Vec::new()],
            tail: Vec::new(),
        }));
        let stream = |which| LogStream {
            output: output.clone(),
            which,
        };
        let mut builder = WasiCtxBuilder::new();
        builder
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdin(ClosedInputStream)
            .stdout(stream(Stream::Stdout))
            .stderr(stream(Stream::Stderr));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            ctx: builder.build(),
            table,
            output,
        }
    }
}

/// The two streams that a guest writes to.
#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// The lines that a guest writes to stdout and stderr. A line ends where its text does, or with the call: runtimes write
/// a line in many parts, and flush after each.
struct Output {
    log: Arc<PluginLog>,
    is_rehearsal: bool,
    /// The line that has begun, of each stream.
    lines: [Vec<u8>; 2],
    /// The last bytes that the current call wrote to stderr.
    tail: Vec<u8>,
}

impl Output {
    /// Logs each line that is complete, and keeps the rest.
    fn gather(&mut self, stream: Stream, bytes: &[u8]) {
        if let Stream::Stderr = stream {
            self.tail.extend_from_slice(bytes);
            let excess = self.tail.len().saturating_sub(MAX_TAIL);
            self.tail.drain(..excess);
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let line = &mut self.lines[stream as usize];
            let room = (MAX_LINE - line.len()).min(bytes.len());
            let end = memchr::memchr(b'\n', &bytes[..room]);
            line.extend_from_slice(&bytes[..end.unwrap_or(room)]);
            bytes = &bytes[end.map_or(room, |end| end + 1)..];
            if end.is_some() || line.len() >= MAX_LINE {
                self.end_line(stream);
            }
        }
    }

    fn end_lines(&mut self) {
        self.end_line(Stream::Stdout);
        self.end_line(Stream::Stderr);
    }

    fn end_line(&mut self, stream: Stream) {
        let line = &mut self.lines[stream as usize];
        if line.is_empty() {
            return;
        }
        let level = match stream {
            Stream::Stdout => Level::Info,
            Stream::Stderr => Level::Warn,
        };
        let text = String::from_utf8_lossy(line);
        self.log.write(level, &text, self.is_rehearsal);
        line.clear();
    }
}

/// One of the two streams, as WASI sees it.
#[derive(Clone)]
struct LogStream {
    output: Arc<Mutex<Output>>,
    which: Stream,
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
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

/// It has no task of its own, whose work would be charged to nobody.
#[async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_WRITE {
            return Err(StreamError::trap(
                "it wrote more in one call than check-write allows",
            ));
        }
        lock(&self.output).gather(self.which, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}
