//! WASI for components that were built against it: a clock and randomness, and of all else nothing. No files, no
//! sockets, no environment, no arguments; what is written to stdout and stderr goes to the plugin's log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use crate::guest::MAX_HANDLES;
use crate::log::{Level, PluginLog};
use crate::plugin::Owner;

/// The longest line that is waited for; what is longer is written in parts.
const MAX_LINE: usize = 1024;

pub(crate) fn empty_context(owner: &Owner) -> (WasiCtx, ResourceTable) {
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
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
        Box::new(LineWriter {
            stream: self.clone(),
            line: Vec::new(),
        })
    }
}

/// Gathers bytes to lines.
struct LineWriter {
    stream: LogStream,
    line: Vec<u8>,
}

impl LineWriter {
    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            self.stream.log.write(self.stream.level, &text);
            self.line.clear();
        }
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte => self.line.push(byte),
            }
            if self.line.len() >= MAX_LINE {
                self.end_line();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}
