//! How reading the layer and writing the disk go: what to wait after a failure, and how often to speak of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use djangobot_channels::LayerError;
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
    told: Option<Instant>,
    readiness: Arc<Readiness>,
}

impl LayerReads {
    pub(super) fn new(readiness: Arc<Readiness>) -> Self {
        Self {
            readiness,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(2)),
            told: None,
        }
    }

    /// Waits after a failure. Who watches the layer tells of one that is away; of one that refuses only we know.
    pub(super) async fn failed(&mut self, error: &LayerError, metrics: &Metrics) {
        metrics.layer_errors("receive").increment(1);
        self.readiness.layer_use.failed(READER, error);
        let is_told = self.told.is_some_and(|at| at.elapsed() < REMINDER);
        if error.refusal().is_none() || is_told {
            tracing::debug!("no message can be taken for Slack: {error}");
        } else {
            tracing::error!("no message can be taken for Slack: {error}");
            self.told = Some(Instant::now());
        }
        self.backoff.wait().await;
    }

    pub(super) fn worked(&mut self) {
        self.backoff.succeeded();
        self.told = None;
        self.readiness.layer_use.worked(READER);
    }
}

/// How writing the outbox goes.
#[derive(Default)]
pub(crate) struct OutboxWrites {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    at: Option<Instant>,
    /// The last word was that it fails.
    fails: bool,
}

impl OutboxWrites {
    pub(super) fn failed(&self, error: &JournalError, metrics: &Metrics) {
        metrics.outbox_errors().increment(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.at.is_some_and(|at| at.elapsed() < REMINDER) {
            return tracing::debug!("{error}");
        }
        tracing::error!("{error}; what the app sends stays in the channel layer until it is sent");
        *told = Told {
            at: Some(Instant::now()),
            fails: true,
        };
    }

    pub(super) fn worked(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut told.fails) {
            tracing::info!("messages for Slack are written to the disk again");
        }
    }
}
