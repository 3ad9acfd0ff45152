//! Limits the log lines that one place in the code may write: trouble that repeats a thousand times is logged a few
//! times, and counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::telemetry::plugin_levels;

/// The lines that one place may write in each window.
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts log lines by their place in the code. Clones share the counts.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<HashMap<Identifier, Window>>>);

struct Window {
    began: Instant,
    lines: u32,
    omitted: u64,
    place: &'static str,
}

/// The number of lines that one place was not allowed to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OmittedLines {
    /// The module that would have written them.
    pub(crate) place: &'static str,
    pub(crate) lines: u64,
}

impl Pace {
    /// Returns the lines that were left out since the last call.
    pub(super) fn take_omitted(&self) -> Vec<OmittedLines> {
        let mut windows = self.windows();
        let counted = windows.values_mut().filter(|window| window.omitted > 0);
        counted
            .map(|window| OmittedLines {
                place: window.place,
                lines: std::mem::take(&mut window.omitted),
            })
            .collect()
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Identifier, Window>> {
        lock(&self.0)
    }
}

impl<S: Subscriber> Filter<S> for Pace {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // A person who asks for debug lines wants all of them. Lines of plugins have a limit for each plugin.
        if *metadata.level() > Level::INFO || metadata.target() == plugin_levels::TARGET {
            return true;
        }
        let mut windows = self.windows();
        let window = windows
            .entry(metadata.callsite())
            .or_insert_with(|| Window {
                began: Instant::now(),
                lines: 0,
                omitted: 0,
                place: metadata.module_path().unwrap_or_default(),
            });
        if window.began.elapsed() >= WINDOW {
            window.began = Instant::now();
            window.lines = 0;
        }
        window.lines += 1;
        let is_written = window.lines <= LINES;
        window.omitted += u64::from(!is_written);
        is_written
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_limit_of_a_place_are_counted_and_other_places_still_write() {
        let (pace, written) = (Pace::default(), Buffer::default());
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_filter(pace.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..200 {
                tracing::warn!("often");
            }
            tracing::warn!("seldom");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |word: &str| text.matches(word).count();
        assert_eq!((count("often"), count("seldom")), (LINES as usize, 1));
        let expect = OmittedLines {
            place: module_path!(),
            lines: 150,
        };
        assert_eq!(pace.take_omitted(), [expect]);
        assert!(pace.take_omitted().is_empty());
    }
}
