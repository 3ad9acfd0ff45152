//! A plugin's lines in the host's log: under its name, without control characters, and not more than its allowance.

use std::sync::atomic::{AtomicU64, Ordering};

use djangobot_event::CleanText;

use crate::services::meter::Meter;

/// The longest line, in bytes.
const MAX_LINE: usize = 1024;

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one plugin.
pub(crate) struct PluginLog {
    plugin: String,
    allowance: Meter,
    /// The lines that were dropped since the last one that was written.
    dropped: AtomicU64,
}

impl PluginLog {
    /// A log for `per_minute` bytes in a minute.
    pub(crate) fn new(plugin: &str, per_minute: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            allowance: Meter::new(per_minute as u64),
            dropped: AtomicU64::new(0),
        }
    }

    /// Writes a line. A line beyond the allowance is dropped and counted. A line of a rehearsal says that it is one, since
    /// its events did not happen now.
    pub(crate) fn write(&self, level: Level, message: &str, is_rehearsal: bool) {
        let plugin = self.plugin.as_str();
        let is_shown = match level {
            Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
            Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
            Level::Warn | Level::Error => true,
        };
        if !is_shown {
            return;
        }
        // The constant is for the rest of a line: without it, a million empty lines would cost nothing.
        let bytes = message.len().min(MAX_LINE) as u64 + 16;
        if self.allowance.try_take(bytes).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mark = if is_rehearsal { "(rehearsal) " } else { "" };
        let line = CleanText::line(message, MAX_LINE);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(target: "plugin", plugin, dropped, "log lines of the plugin were dropped; limits.log-kib allows more in a minute");
        }
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, "{mark}{line}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, "{mark}{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, "{mark}{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, "{mark}{line}"),
            Level::Error => tracing::error!(target: "plugin", plugin, "{mark}{line}"),
        }
    }
}
