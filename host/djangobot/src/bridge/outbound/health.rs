//! How reading the layer and writing the disk go: what to wait after a failure, and how often to speak of it.

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

/// How often what goes on failing is spoken of again.
const REMINDER: Duration = Duration::from_secs(60);

/// How reading the layer goes.
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

    /// Waits after a failure. Who watches the layer tells of one that is away; of one that refuses only we know.
    pub(super) async fn failed(&mut self, error: &LayerError, metrics: &Metrics) {
        metrics.layer_errors("receive").increment(1);
        self.readiness.layer_use.failed(READER, error);
        if error.refusal().is_some() && self.reminder.due().is_some() {
            tracing::error!("no message can be taken for Slack: {error}");
        } else {
            tracing::debug!("no message can be taken for Slack: {error}");
        }
        self.backoff.wait().await;
    }

    pub(super) fn worked(&mut self) {
        self.backoff.succeeded();
        self.reminder.reset();
        self.readiness.layer_use.worked(READER);
    }
}

/// How writing the outbox goes.
pub(crate) struct OutboxWrites {
    log: Mutex<Log>,
}

struct Log {
    reminder: Reminder,
    /// The last line said that writing fails.
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
    pub(super) fn failed(&self, error: &JournalError, metrics: &Metrics) {
        metrics.outbox_errors().increment(1);
        let mut log = lock(&self.log);
        if log.reminder.due().is_none() {
            return tracing::debug!("{error}");
        }
        tracing::error!("{error}; what the app sends stays in the channel layer until it is sent");
        log.fails = true;
    }

    pub(super) fn worked(&self) {
        if std::mem::take(&mut lock(&self.log).fails) {
            tracing::info!("messages for Slack are written to the disk again");
        }
    }
}
