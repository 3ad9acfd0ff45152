//! Metrics: the chapter lists each with its labels, and the values of labels that the code names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use djangobot::reference;

use crate::code::{Literals, root_file};
use crate::markdown::{chapter, chapters, codes, name, rows};

const CHAPTER: &str = "operating/metrics.md";
/// Words that look like metrics: crates, and a type of Slack's metadata.
const OTHERS: [&str; 4] = [
    "djangobot_channels",
    "djangobot_plugin",
    "djangobot_send",
    "djangobot_slack",
];

/// The rows of the chapter by the metric that they are about.
fn listed() -> BTreeMap<String, Vec<String>> {
    let rows = rows(&chapter(CHAPTER), &["metric", "labels", "meaning"]);
    let count = rows.len();
    let listed: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row))
        .collect();
    assert_eq!(listed.len(), count, "a metric is listed twice");
    listed
}

#[test]
fn the_chapter_lists_each_metric_with_its_labels() {
    let mut there: BTreeMap<String, BTreeSet<String>> = reference::metrics()
        .map(|metric| {
            let labels = metric.labels.iter();
            let labels = labels.map(|it| it.trim_start_matches("r#").to_owned());
            (metric.name.to_owned(), labels.collect())
        })
        .collect();
    // Those of the process have no labels.
    let page = reference::metrics_page();
    for line in page.lines() {
        let name = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split(' ').next());
        if let Some(name) = name {
            there.entry(name.to_owned()).or_default();
        }
    }
    let listed: BTreeMap<String, BTreeSet<String>> = listed()
        .into_iter()
        .map(|(name, row)| (name, codes(&row[1]).into_iter().collect()))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn histograms_say_that_they_are() {
    let listed = listed();
    for metric in reference::metrics() {
        let is_said = listed[metric.name][2].starts_with("histogram:");
        assert_eq!(is_said, metric.kind == "histogram", "{}", metric.name);
    }
}

#[test]
fn each_metric_that_a_chapter_names_is_there() {
    let listed = listed();
    for document in chapters() {
        let text = fs::read_to_string(&document).unwrap();
        let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.filter(|it| it.starts_with("djangobot_") && !OTHERS.contains(it)) {
            assert!(
                listed.contains_key(word),
                "{}: there is no metric {word}",
                name(&document)
            );
        }
    }
}

/// Where the code names the values of a label.
const VALUES: [(&str, &str, &str); 9] = [
    (
        "djangobot_answers_total",
        "host/djangobot/src/bridge/inbound/answers/post.rs",
        "count",
    ),
    (
        "djangobot_bad_events_total",
        "host/djangobot/src/bridge/inbound/routing.rs",
        "classify",
    ),
    (
        "djangobot_bad_events_total",
        "host/djangobot/src/bridge/inbound/routing.rs",
        "channel_for",
    ),
    (
        "djangobot_bad_events_total",
        "host/djangobot/src/bridge/inbound.rs",
        "put",
    ),
    (
        "djangobot_odd_events_total",
        "host/djangobot/src/bridge/inbound/counts.rs",
        "note_oddities",
    ),
    (
        "djangobot_odd_events_total",
        "host/djangobot/src/bridge/inbound/counts.rs",
        "note_channel",
    ),
    (
        "djangobot_http_requests_total",
        "host/slack/src/http_events/counts.rs",
        "name",
    ),
    (
        "djangobot_plugin_calls_total",
        "host/djangobot/src/plugins.rs",
        "gauges",
    ),
    (
        "djangobot_ambiguous_sends_total",
        "host/djangobot/src/bridge/outbound/post/attempts.rs",
        "settle_doubt",
    ),
];

/// A value of a label: a word in small letters.
fn is_value(text: &str) -> bool {
    text.len() > 2
        && text
            .chars()
            .all(|it| it.is_ascii_lowercase() || "_-8".contains(it))
}

#[test]
fn values_of_labels_are_listed() {
    let listed = listed();
    for (metric, file, function) in VALUES {
        let literals = Literals::of_function(&root_file(file), function);
        let values: Vec<_> = literals.into_iter().filter(|it| is_value(it)).collect();
        assert!(!values.is_empty(), "{file} {function} names no values");
        let row = codes(&listed[metric][2]);
        for value in values {
            assert!(row.contains(&value), "{metric}: {value} is not listed");
        }
    }
}
