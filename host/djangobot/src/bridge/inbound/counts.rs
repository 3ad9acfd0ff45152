//! The counts of what Slack gives: events by type, oddities in them, and frames that are not events. What repeats is
//! logged once, and counted from then on.

use std::collections::{HashMap, HashSet};

use djangobot_channels::ChannelName;
use djangobot_event::Event;
use metrics::Counter;

use crate::bridge::inbound::routing::RejectedFrame;
use crate::bridge::inbound::types::{Labels, MAX_ODD};
use crate::metrics::Metrics;

/// Counts and logs what comes from Slack.
pub(super) struct EventCounts {
    metrics: Metrics,
    /// Counters of events by type, because to find one by its label takes longer.
    counters: HashMap<Box<str>, Counter>,
    labels: Labels,
    /// Facts that were logged already. Those about types are bounded by [`MAX_ODD`]; there are few reasons to reject a
    /// frame.
    logged: HashSet<String>,
}

impl EventCounts {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            counters: HashMap::new(),
            labels: Labels::default(),
            logged: HashSet::new(),
        }
    }

    /// Counts an event from Slack by its type. Odd types beyond the first [`MAX_ODD`] are counted as one.
    pub(super) fn count(&mut self, kind: &str) {
        self.metrics.saw_event();
        if let Some(counter) = self.counters.get(kind) {
            return counter.increment(1);
        }
        let label = self.labels.of(kind, kind);
        let counter = self.metrics.events(label);
        counter.increment(1);
        self.counters.insert(label.into(), counter);
    }

    /// Logs and counts what an operator has to know about an event, which is forwarded all the same.
    pub(super) fn inspect(&mut self, kind: &str, event: &Event) {
        self.note_oddities(kind, event);
        if kind == "app_rate_limited" {
            log_limit(event);
        }
    }

    /// Counts an event whose channel does not have the name of its type.
    pub(super) fn note_channel(&self, kind: &str, channel: &ChannelName) {
        if channel.as_str().strip_prefix("slack.") != Some(kind) {
            self.metrics.odd_events("type").increment(1);
        }
    }

    /// Counts oddities in an event. Each is logged once for each type.
    fn note_oddities(&mut self, kind: &str, event: &Event) {
        let notes = event.notes();
        let oddities = [
            (notes.duplicate_keys, "duplicate_keys"),
            (notes.big_integers, "big_integers"),
            (notes.lone_surrogates, "lone_surrogates"),
        ];
        for (_, oddity) in oddities.into_iter().filter(|(is, _)| *is) {
            self.metrics.odd_events(oddity).increment(1);
            if self.logged.len() < MAX_ODD && self.logged.insert(format!("{oddity} {kind}")) {
                tracing::warn!(
                    r#type = kind,
                    oddity,
                    "an event has an oddity in its JSON: {oddity}; it is forwarded, and more of them are only counted, in djangobot_odd_events_total"
                );
            }
        }
    }

    /// Counts a frame that is not forwarded. Each reason is logged once as a warning, and each frame at debug level.
    pub(super) fn report_rejected(&mut self, rejected: &RejectedFrame) {
        self.metrics.bad_events(rejected.reason).increment(1);
        if self.logged.insert(rejected.reason.to_owned()) {
            tracing::warn!(
                reason = rejected.reason,
                "a frame from Slack was not forwarded: {}; more of them are only counted, in djangobot_bad_events_total",
                rejected.sentence
            );
        } else {
            tracing::debug!(
                reason = rejected.reason,
                "a frame from Slack was not forwarded: {}",
                rejected.sentence
            );
        }
    }
}

/// Logs that Slack limits the app's events: an operator has to know that events are missing.
fn log_limit(event: &Event) {
    tracing::warn!(
        minute = event.get("/minute_rate_limited").and_then(|it| it.as_i64()),
        "Slack sends no more events in this minute, because it sends an app 30,000 an hour from a workspace at most; those beyond are lost; subscribe the app to fewer types, or add it to fewer channels"
    );
}
