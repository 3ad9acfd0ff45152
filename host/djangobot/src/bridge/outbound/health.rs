//! The health of reading the layer and writing the outbox: the pauses after failures, and their log lines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use djangobot_channels::LayerError;
use djangobot_event::Reminder;
use djangobot_event::lock::lock;
use djangobot_slack::Backoff;

use crate::bridge::layer_watch::READER;
use crate::journal::JournalError;
use crate::listener::Readiness;
use crate::metrics::Metrics;

/// How often the log repeats a failure that goes on.
const REMINDER: Duration = Duration::from_secs(60);

/// The state of reading the layer.
pub(super) struct LayerReads {
    backoff: Backoff,
    reminder: Reminder,
    readiness: Arc<Readiness>,
}

impl LayerReads {
    pub(super) fn new(readiness: Arc<Readiness>) -> Self {
        Self {
            readiness,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2)),
            reminder: Reminder::new(REMINDER),
        }
    }

    /// Logs a failure and waits, since the caller reads again at once. The watch of the layer logs when the layer is
    /// away, so only a refusal is logged as an error here.
    pub(super) async fn failed(&mut self, error: &LayerError, metrics: &Metrics) {
        metrics.layer_errors("receive").increment(1);
        self.readiness.layer_use.failed(READER, error);
        if error.refusal().is_some() && self.reminder.due().is_some() {
            tracing::error!(
                "messages for Slack can't be read from the channel layer: {error}; trying again"
            );
        } else {
            tracing::debug!("messages for Slack can't be read from the channel layer: {error}");
        }
        self.backoff.wait().await;
    }

    /// Notes that a message was read.
    pub(super) fn worked(&mut self) {
        self.backoff.succeeded();
        self.reminder.reset();
        self.readiness.layer_use.worked(READER);
    }
}

/// The state of writing the outbox.
pub(crate) struct OutboxWrites {
    log: Mutex<Log>,
}

struct Log {
    reminder: Reminder,
    /// Whether the last line said that writing fails.
    fails: bool,
}

impl Default for OutboxWrites {
    fn default() -> Self {
        Self {
            log: Mutex::new(Log {
                reminder: Reminder::new(REMINDER),
                fails: false,
            }),
        }
    }
}

impl OutboxWrites {
    /// Counts and logs a failure. Many writes fail together on a full disk, and one line speaks for all of them.
    pub(super) fn failed(&self, error: &JournalError, metrics: &Metrics) {
        metrics.outbox_errors().increment(1);
        let mut log = lock(&self.log);
        if log.reminder.due().is_none() {
            return tracing::debug!("{error}");
        }
        tracing::error!(
            "messages for Slack can't be written to the disk: {error}; they stay in the channel layer until they are sent"
        );
        log.fails = true;
    }

    /// Notes that a write succeeded. The reminder is not reset, because writes to a nearly full disk fail and succeed
    /// in turns.
    pub(super) fn worked(&self) {
        if std::mem::take(&mut lock(&self.log).fails) {
            tracing::info!("messages for Slack are written to the disk again");
        }
    }
}
