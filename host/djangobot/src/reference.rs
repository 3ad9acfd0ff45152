//! Lists of what users meet, made from the code's own definitions: the tests of the documents hold their lists against
//! these.

use std::path::Path;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::config;
use crate::metrics;

/// The command line: commands, flags, values and variables.
pub fn command_line() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Whether a run takes a config file with this text; the error is the text for people, also for tables of plugins.
pub fn config(text: &str) -> Result<(), String> {
    config::reference::read(Path::new(config::CONFIG_FILE), text)
}

/// All metrics of djangobot's own: names, kinds and labels.
pub fn metrics() -> impl Iterator<Item = Metric> {
    metrics::Metrics::families().map(|family| Metric {
        name: family.name,
        kind: family.kind,
        labels: family.labels,
    })
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// `djangobot_events_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// As the code writes them: a keyword of Rust's begins with `r#`.
    pub labels: &'static [&'static str],
}

/// The page `/metrics` of a bridge that has just started.
pub fn metrics_page() -> String {
    metrics::Metrics::new().render()
}
