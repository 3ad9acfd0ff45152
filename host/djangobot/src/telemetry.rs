//! Logs: what is written to stderr, and how it shares the terminal with progress bars.

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

/// The most lines of a report.
const MAX_REPORT: usize = 500;

/// The filter of the logs is none.
#[derive(Debug, Error, Diagnostic)]
#[error("{filter:?} is no log filter: {reason}")]
#[diagnostic(help(
    "use a level (error, warn, info, debug, trace) or, say, info,djangobot_slack=debug; a plugin goes by its name"
))]
pub(crate) struct FilterError {
    filter: String,
    reason: tracing_subscriber::filter::ParseError,
}

/// The terminal's lines below the logs, where progress is shown. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    /// Whether the logs are JSON, for machines.
    json: Arc<AtomicBool>,
    pace: Pace,
}

impl Terminal {
    /// Starts logging to stderr. To be called once.
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
        // A bare level speaks of djangobot; libraries then say what concerns an operator only.
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

    /// Says how many log lines were left out since the last time, since they would have been too many.
    pub(crate) fn tell_left_out(&self) {
        for left_out in self.pace.left_out() {
            tracing::warn!(
                lines = left_out.lines,
                place = left_out.place,
                "log lines were left out: the same was said too often"
            );
        }
    }

    /// The last word of a failed command: a report for people, or a log line where logs are JSON.
    pub(crate) fn report(&self, report: &Report) {
        if self.json.load(Ordering::Relaxed) {
            let help = report.help().map(|help| help.to_string());
            tracing::error!(help, "{report}");
        } else {
            // Its sentences may quote what came from outside; the lines and colours are its own.
            let text = format!("{report:?}");
            let text = masking::in_text(&text);
            let lines: String = text.lines().take(MAX_REPORT).map(line::human).collect();
            self.bars.suspend(|| {
                let _ = io::stderr().write_all(lines.as_bytes());
            });
        }
    }

    /// Writes lines of another program, such as a compiler's messages, as they are: a report would break them anew.
    pub(crate) fn quote(&self, lines: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{lines}");
        });
    }

    /// Shows that something is being done, and what: a line with a spinner on a terminal, a log line now and then elsewhere.
    pub(crate) fn work(&self, what: &'static str) -> Work {
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        let bar = self.bars.add(bar.with_prefix(what));
        bar.enable_steady_tick(Duration::from_millis(100));
        let told = (!io::stderr().is_terminal()).then(|| Progress::of(what));
        Work { bar, told }
    }

    /// A bar that counts towards a total that may not be known yet; hidden where stderr is no terminal.
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

/// Something that is being done. It is shown until it is dropped.
pub(crate) struct Work {
    bar: ProgressBar,
    told: Option<Progress>,
}

impl Work {
    /// Says which part of it is being done.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if let Some(told) = &self.told {
            told.say(what);
        }
    }

    /// So many bytes of `expected` are there.
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
        if let Some(told) = &self.told {
            let of = expected.map_or_else(String::new, |all| format!(" of {}", HumanBytes(all)));
            told.say(&format!("{}{of}", HumanBytes(bytes)));
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes one log line between the bars, so that neither tears the other.
pub(crate) struct Line {
    bars: MultiProgress,
    json: bool,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It comes whole: whatever words from outside stand in it, they make no second line and show no token.
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
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            bars: self.bars.clone(),
            json: self.json.load(Ordering::Relaxed),
        }
    }
}
