//! The logs on stderr, and how they share the terminal with progress bars.

mod line;
mod pace;
mod plugin_levels;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use djangobot_plugins::progress::Progress;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use miette::{Diagnostic, Report};
use thiserror::Error;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::values::LogFormat;
use crate::masking;

use pace::Pace;
use plugin_levels::PluginLevels;

/// The most lines of a report. A report may quote a compiler or a server.
const MAX_REPORT: usize = 500;

/// The text is not a log filter.
#[derive(Debug, Error, Diagnostic)]
#[error("{filter:?} is not a log filter: {reason}")]
#[diagnostic(help(
    "use a level (error, warn, info, debug, trace), or levels by part such as info,djangobot_slack=debug; a plugin's part is its name"
))]
pub(crate) struct FilterError {
    filter: String,
    reason: tracing_subscriber::filter::ParseError,
}

/// The terminal, or whatever stderr is: logs, reports and progress bars go through it. It is cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    /// Whether the logs are JSON, for programs.
    json: Arc<AtomicBool>,
    pace: Pace,
}

impl Terminal {
    /// Starts the logs. It must be called only once.
    ///
    /// # Errors
    /// `filter` is not a log filter.
    pub(crate) fn start_logs(
        &self,
        filter: &str,
        format: Option<LogFormat>,
    ) -> Result<(), FilterError> {
        let on_terminal = io::stderr().is_terminal();
        let format = format.unwrap_or(if on_terminal {
            LogFormat::Human
        } else {
            LogFormat::Json
        });
        // A bare level is for djangobot's own crates. Libraries log only warnings, which may concern an operator.
        let directives = match filter.parse::<tracing::Level>() {
            Ok(level) => format!(
                "warn,djangobot={level},djangobot_channels={level},djangobot_slack={level},local_slack={level}"
            ),
            Err(_) => filter.to_owned(),
        };
        let levels = PluginLevels::of(filter);
        let directives = format!("{directives},{}", levels.directive());
        let filter = EnvFilter::try_new(directives).map_err(|reason| FilterError {
            filter: filter.to_owned(),
            reason,
        })?;
        let registry = tracing_subscriber::registry().with(filter);
        let layer = tracing_subscriber::fmt::layer().with_writer(self.clone());
        match format {
            LogFormat::Human => {
                let layer = layer
                    .with_target(false)
                    .with_ansi(on_terminal && std::env::var_os("NO_COLOR").is_none());
                registry
                    .with(layer.compact().with_filter(self.pace.clone().and(levels)))
                    .init();
            }
            LogFormat::Json => {
                self.json.store(true, Ordering::Relaxed);
                let layer = layer.json().flatten_event(true);
                registry
                    .with(layer.with_filter(self.pace.clone().and(levels)))
                    .init();
            }
        }
        Ok(())
    }

    /// Logs how many lines were left out since the last call, because one place wrote too many.
    pub(crate) fn log_omitted_lines(&self) {
        for omitted in self.pace.take_omitted() {
            tracing::warn!(
                lines = omitted.lines,
                place = omitted.place,
                "log lines were left out, because one place in the code wrote too many"
            );
        }
    }

    /// Shows the failure that ends a command: as a report for people, or as a log line if the logs are JSON.
    pub(crate) fn report(&self, report: &Report) {
        if self.json.load(Ordering::Relaxed) {
            let help = report.help().map(|help| help.to_string());
            tracing::error!(help, "{report}");
        } else {
            // The report may quote texts from outside, so each line is cleaned; its own lines and colours are kept.
            let text = format!("{report:?}");
            let text = masking::in_text(&text);
            let lines: String = text.lines().take(MAX_REPORT).map(line::human).collect();
            self.bars.suspend(|| {
                let _ = io::stderr().write_all(lines.as_bytes());
            });
        }
    }

    /// Writes lines of another program, such as a compiler, as they are: a report would wrap them.
    pub(crate) fn quote(&self, lines: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{lines}");
        });
    }

    /// Shows that `what` is being done: by a line with a spinner on a terminal, by a log line from time to time
    /// elsewhere.
    pub(crate) fn work(&self, what: &'static str) -> Work {
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        let bar = self.bars.add(bar.with_prefix(what));
        bar.enable_steady_tick(Duration::from_millis(100));
        let log = (!io::stderr().is_terminal()).then(|| Progress::of(what));
        Work { bar, log }
    }

    /// Makes a bar that counts. It is hidden if stderr is not a terminal.
    pub(crate) fn bar(&self, what: &'static str) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg}: {human_pos} {spinner} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        self.bars.add(
            ProgressBar::no_length()
                .with_style(style)
                .with_message(what),
        )
    }
}

/// Work that takes a while. It is shown until this value is dropped.
pub(crate) struct Work {
    bar: ProgressBar,
    log: Option<Progress>,
}

impl Work {
    /// Shows the step that is being done.
    pub(crate) fn say(&self, step: &str) {
        self.bar.set_message(step.to_owned());
        if let Some(log) = &self.log {
            log.say(step);
        }
    }

    /// Shows how many bytes of a download have come.
    pub(crate) fn received(&self, bytes: u64, expected: Option<u64>) {
        if let Some(expected) = expected.filter(|bytes| self.bar.length() != Some(*bytes)) {
            let style = ProgressStyle::with_template(
                "{spinner} {prefix} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}",
            );
            self.bar.set_length(expected);
            self.bar
                .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        self.bar.set_position(bytes);
        if let Some(log) = &self.log {
            let of = expected.map_or_else(String::new, |all| format!(" of {}", HumanBytes(all)));
            log.say(&format!("{}{of}", HumanBytes(bytes)));
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes one log line. The bars are hidden meanwhile, so that line and bars do not mix.
pub(crate) struct LineWriter {
    bars: MultiProgress,
    json: bool,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // tracing writes each line in one call. Texts from outside that it quotes must not make a second line or show a
        // token.
        let text = String::from_utf8_lossy(bytes);
        let text = masking::in_text(&text);
        let line = match self.json {
            true => line::json(&text),
            false => line::human(&text).into(),
        };
        self.bars
            .suspend(|| io::stderr().lock().write_all(line.as_bytes()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter {
            bars: self.bars.clone(),
            json: self.json.load(Ordering::Relaxed),
        }
    }
}
