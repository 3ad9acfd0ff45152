//! The metrics that `/metrics` shows: all names, labels, help texts and buckets are here.
//!
//! Each value has its own recorder, so that several bridges can live in one process.

mod process;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Bounds in seconds. The bridge's own work takes microseconds, and Slack's takes seconds.
const LATENCY_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
    30.0,
];

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The metrics of one bridge. They are cheap to clone, and a counter or gauge costs an atomic operation to use.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// When the last event came, in milliseconds after `started`.
    last_event: Arc<AtomicU64>,
    started: Instant,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $method:ident($($label:ident),*) = $name:literal, $help:literal;)*) => {
        $($(#[$doc])* pub(crate) fn $method(&self, $($label: &str),*) -> Counter {
            self.recorder.register_counter(&key($name, &[$((stringify!($label), $label)),*]), &METADATA)
        })*
        fn describe_counters(&self) {
            $(
                self.recorder.describe_counter($name.into(), Some(Unit::Count), $help.into());
                // One without labels counts from the start.
                let labels: &[&str] = &[$(stringify!($label)),*];
                if labels.is_empty() {
                    self.recorder.register_counter(&key($name, &[]), &METADATA).increment(0);
                }
            )*
        }
        const COUNTERS: &[Family] = &[$(Family {
            name: $name,
            kind: "counter",
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),*];
    };
}

/// The name, kind, labels and help of a metric, which are known before there is a figure.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) labels: &'static [&'static str],
    help: &'static str,
}

macro_rules! gauges {
    ($($(#[$doc:meta])* $method:ident($($label:ident),*) = $name:literal, $help:literal;)*) => {
        $($(#[$doc])* pub(crate) fn $method(&self, $($label: &str),*) -> Gauge {
            self.recorder.register_gauge(&key($name, &[$((stringify!($label), $label)),*]), &METADATA)
        })*
        fn describe_gauges(&self) {
            $(self.recorder.describe_gauge($name.into(), Some(Unit::Count), $help.into());)*
        }
        const GAUGES: &[Family] = &[$(Family {
            name: $name,
            kind: "gauge",
            labels: &[$(stringify!($label)),*],
            help: $help,
        }),*];
    };
}

macro_rules! histograms {
    ($($(#[$doc:meta])* $method:ident() = $name:literal, $help:literal;)*) => {
        $($(#[$doc])* pub(crate) fn $method(&self) -> Histogram {
            self.recorder.register_histogram(&key($name, &[]), &METADATA)
        })*
        fn describe_histograms(&self) {
            $(self.recorder.describe_histogram($name.into(), Some(Unit::Seconds), $help.into());)*
        }
        const HISTOGRAMS: &[Family] = &[$(Family {
            name: $name,
            kind: "histogram",
            labels: &[],
            help: $help,
        }),*];
    };
}

impl Metrics {
    /// Makes metrics that are all zero.
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // The only possible error is an empty list of buckets. Without buckets the figures are quantiles, which is
        // better than no start.
        let recorder = match builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), LATENCY_BUCKETS)
        {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let metrics = Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
            last_event: Arc::default(),
            started: Instant::now(),
        };
        metrics.describe_counters();
        metrics.describe_gauges();
        metrics.describe_histograms();
        metrics
            .build_info(
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS,
                std::env::consts::ARCH,
            )
            .set(1.0);
        metrics
    }

    /// Writes the metrics, and those of the process, in Prometheus's text format. Each family has its lines of help and
    /// type from the start, so that dashboards and alerts find its name before there is a figure.
    pub(crate) fn render(&self) -> String {
        let last = Duration::from_millis(self.last_event.load(Ordering::Relaxed));
        let age = self.started.elapsed().saturating_sub(last);
        self.last_event().set(age.as_secs_f64());
        let mut text = self.handle.render();
        let known: HashSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let silent: String = Self::families()
            .filter(|family| !known.contains(family.name))
            .map(|family| {
                let Family {
                    name, kind, help, ..
                } = family;
                format!("# HELP {name} {help}\n# TYPE {name} {kind}\n\n")
            })
            .collect();
        text.push_str(&silent);
        text.push_str(&process::figures());
        text
    }

    /// All of them, whether there is a figure yet or not.
    pub(crate) fn families() -> impl Iterator<Item = &'static Family> {
        let families = [Self::COUNTERS, Self::GAUGES, Self::HISTOGRAMS];
        families.into_iter().flatten()
    }

    /// Notes that an event came now.
    pub(crate) fn saw_event(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_event.store(now, Ordering::Relaxed);
    }

    /// Adds up the samples of the histograms; without this they grow for as long as nobody reads `/metrics`.
    pub(crate) fn fold(&self) {
        self.handle.run_upkeep();
    }

    /// Shows `holder` as the host that serves the app, and no longer `before`.
    pub(crate) fn lease_holder(&self, holder: &str, before: Option<&str>) {
        if let Some(before) = before.filter(|before| !before.is_empty() && *before != holder) {
            self.lease_of(before).set(0.0);
        }
        self.lease_of(holder).set(1.0);
    }

    counters! {
        /// Events from Slack, by Slack's type.
        events(r#type) = "djangobot_events_total", "Events received from Slack, by type";
        /// Events and messages that ended with a plugin.
        plugin_drops(plugin, direction) = "djangobot_plugin_dropped_total", "Events and messages that a plugin dropped, by plugin and direction";
        /// Calls of a plugin, by what came of them.
        plugin_calls(plugin, outcome) = "djangobot_plugin_calls_total", "Calls of a plugin, by plugin and outcome";
        /// Frames that were no event, by what was wrong.
        bad_events(reason) = "djangobot_bad_events_total", "Frames from Slack that could not be forwarded, by reason";
        /// Events that were forwarded although something in them was odd.
        odd_events(oddity) = "djangobot_odd_events_total", "Events forwarded with an irregularity: duplicate keys, numbers beyond 64 bits, lone surrogates, or a type that is not a valid channel name";
        /// Events that are in the layer.
        delivered(channel) = "djangobot_delivered_total", "Events put on the channel layer, by channel";
        /// Events that were given up because the channel took none.
        discarded(channel) = "djangobot_discarded_total", "Events given up because their channel took none, by channel";
        /// Messages that expired in the layer.
        expired(channel) = "djangobot_expired_total", "Messages that lay in a channel of the layer for longer than its expiry and are lost, as nobody read them, by channel";
        /// Events that an app could answer while Slack waited, by what came of it.
        answers(outcome) = "djangobot_answers_total", "Answers of the app to commands and interactions, by outcome: in_time (in Slack's acknowledgement), late (at a response_url), refused, too_late; none: the acknowledgement was empty; forgotten: too many events took answers at once";
        /// Messages read from history.
        history() = "djangobot_history_messages_total", "Messages that came only from Slack's history, after a gap";
        /// Events that Slack gave again.
        duplicates() = "djangobot_duplicates_total", "Events that came before and went no further";
        /// Calls of the layer that failed.
        layer_errors(operation) = "djangobot_layer_errors_total", "Calls of the channel layer that failed, by operation";
        /// Calls of the layer that found a channel full.
        layer_full(channel) = "djangobot_layer_full_total", "Calls that found a channel of the layer full, by channel";
        /// Messages for Slack, by how they ended.
        sends(result) = "djangobot_sends_total", "Messages taken from slack.send, by result: sent, or the error";
        /// Posts of which it was not known whether Slack had carried them out, by what was found.
        ambiguous(outcome) = "djangobot_ambiguous_sends_total", "Calls of which it was not known whether Slack had carried them out, by what was found: found, absent (and so made again), refused (it could not be found out)";
        /// Messages that the layer gave although they had been taken.
        known_again() = "djangobot_sends_given_again_total", "Messages that the channel layer gave again and that were known, so that they were not sent again";
        /// 429s.
        rate_limited(method) = "djangobot_rate_limited_total", "Calls that Slack answered with 429, by method";
        /// Writes to the outbox that failed.
        outbox_errors() = "djangobot_outbox_errors_total", "Writes of messages for Slack to the disk that failed";
        /// Requests over HTTP, by what became of them.
        http_requests(outcome) = "djangobot_http_requests_total", "Requests of the HTTP transport, by outcome: taken, unsigned, refused (a wrong signature or an old one), unreadable, too_large, unanswered (Slack gives the event again), unknown_path";
        /// Connections over HTTP that were closed for others.
        http_connections_given_up() = "djangobot_http_connections_given_up_total", "Connections over HTTP that were closed because there were too many: the one that did nothing for longest, or the new one";
        /// Slack connections that ended.
        reconnects() = "djangobot_reconnects_total", "Connections to Slack that ended, and attempts at one that failed";
    }

    gauges! {
        /// The version that runs here; always 1.
        build_info(version, os, arch) = "djangobot_build_info", "Always 1: the version that runs, and what it was built for";
        /// Bytes of memory of a plugin's instances.
        plugin_memory(plugin) = "djangobot_plugin_memory_bytes", "Memory of a plugin's instances, in bytes";
        /// Whether events meet a plugin.
        plugin_up(plugin) = "djangobot_plugin_up", "1 while events meet a plugin, 0 while it is quarantined, refused or disabled";
        /// 1 while connected to Slack.
        connected() = "djangobot_slack_connected", "1 while there is a connection to Slack";
        /// Connections over HTTP.
        http_connections() = "djangobot_http_connections", "Connections over HTTP that are open";
        /// Whether calls of Slack are served.
        web_api() = "djangobot_slack_web_api_up", "1 while Slack's Web API serves calls, 0 while auth.test fails too after a call failed";
        /// Connections of Socket Mode.
        connections() = "djangobot_slack_connections", "Socket Mode connections on which Slack has said hello";
        /// Connections of the app that are not ours.
        strange_connections() = "djangobot_slack_strange_connections", "Socket Mode connections of the app that are not ours, as Slack's last hello counts them";
        /// Conversations whose history is still to be read.
        history_unread() = "djangobot_history_conversations_waiting", "Conversations whose history is still to be read after an outage";
        /// Events that wait for a channel of the layer.
        held(channel) = "djangobot_held_events", "Events that wait for the channel layer, in memory and on the disk, by channel";
        /// How long the oldest event waits on the disk.
        spool_oldest() = "djangobot_spool_oldest_seconds", "How long the oldest event on the disk has waited there, in seconds; 0 where none does";
        /// How long the oldest message for Slack waits on the disk.
        outbox_oldest() = "djangobot_outbox_oldest_seconds", "How long ago the oldest message for Slack that is not finished was taken, in seconds; 0 where there is none";
        /// How long the oldest message waits in the layer.
        layer_oldest(channel) = "djangobot_layer_oldest_seconds", "How long the oldest message has waited in a channel of the layer, in seconds; 0 where none does";
        /// How long ago the last event came.
        last_event() = "djangobot_last_event_seconds", "How long ago the last event from Slack came, in seconds; until one came, since the start";
        /// Bytes on the disk.
        spool_bytes() = "djangobot_spool_bytes", "Bytes of the events that wait on the disk";
        /// Messages that wait in the layer.
        depth(channel) = "djangobot_layer_depth", "Messages that wait in a channel of the layer";
        /// Events that take answers.
        reply_channels() = "djangobot_reply_channels", "Commands and interactions of the last half hour, which take answers on channels of their own";
        /// Messages for Slack that were taken and are not finished.
        sending() = "djangobot_sends_in_flight", "Messages taken from slack.send that are not finished";
        /// Messages for Slack that are on the disk.
        outbox() = "djangobot_outbox_messages", "Messages for Slack that are on the disk and not finished";
        /// Their bytes.
        outbox_bytes() = "djangobot_outbox_bytes", "Bytes of the messages for Slack that are on the disk and not finished";
        /// The entries of the roster.
        roster(kind) = "djangobot_roster_size", "Users and conversations that the roster knows";
        /// Whether this host serves the app.
        lease_held() = "djangobot_lease_held", "1 while this host has the lease of its app, 0 while another one has it";
        /// The lease's number.
        lease_number() = "djangobot_lease_number", "The number of the app's lease, which grows with each host that takes it";
        /// Whether a host serves the app.
        lease_of(holder) = "djangobot_lease_holder", "1 for the host that has the lease of the app";
        /// Dead letters that are kept.
        dead_letters() = "djangobot_dead_letters", "Messages that could not be sent to Slack, and events that the channel layer refuses, which are kept";
    }

    histograms! {
        /// Frame received until the layer has it.
        delivery_seconds() = "djangobot_delivery_seconds", "From a frame's arrival to the channel layer's word that it has the event";
        /// Taken from `slack.send` until Slack answered.
        send_seconds() = "djangobot_send_seconds", "From taking a message from slack.send to Slack's answer";
    }
}

/// Makes the key of a metric. The labels' names come from the parameters of a macro, where `type` has to be written
/// `r#type`.
fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(name.trim_start_matches("r#"), (*value).to_owned()))
        .collect();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_from_the_start_once_with_its_type_and_help() {
        let metrics = Metrics::new();
        for is_used in [false, true] {
            if is_used {
                metrics.events("message").increment(1);
                metrics.held("slack.message").set(1.0);
                metrics.send_seconds().record(1.0);
            }
            let page = metrics.render();
            for family in Metrics::families() {
                let kind = format!("# TYPE {} {}\n", family.name, family.kind);
                let help = format!("# HELP {} {}\n", family.name, family.help);
                assert_eq!(page.matches(&kind).count(), 1, "{kind} {page}");
                assert_eq!(page.matches(&help).count(), 1, "{help} {page}");
            }
        }
        let page = metrics.render();
        let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
        assert!(
            page.contains("djangobot_build_info{") && page.contains(version),
            "{page}"
        );
        // A counter without labels counts from the start.
        assert!(page.contains("\ndjangobot_duplicates_total 0\n"), "{page}");
    }

    #[test]
    fn counters_and_histograms_are_shown_with_their_labels() {
        let metrics = Metrics::new();
        metrics.events("message").increment(3);
        metrics.delivery_seconds().record(0.000_2);
        metrics.fold();
        let text = metrics.render();
        assert!(
            text.contains("djangobot_events_total{type=\"message\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("djangobot_delivery_seconds_bucket{le=\"0.00025\"} 1"),
            "{text}"
        );
    }
}
