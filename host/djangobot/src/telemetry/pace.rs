//! How many log lines one place in the code may write: trouble that comes a thousand times is told some times, and counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::plugin_levels;

/// Lines that a place may write in each window.
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines by place. Clones share the counts.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<HashMap<Identifier, Window>>>);

struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
    place: &'static str,
}

/// Lines that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// The module that would have written them.
    pub(crate) place: &'static str,
    pub(crate) lines: u64,
}

impl Pace {
    /// What was left out since it was asked the last time.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let mut windows = self.windows();
        let counted = windows.values_mut().filter(|window| window.left_out > 0);
        counted
            .map(|window| LeftOut {
                place: window.place,
                lines: std::mem::take(&mut window.left_out),
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
        // Who asks for more than that wants all of it; and each plugin has an allowance of its own.
        if *metadata.level() > Level::INFO || metadata.target() == plugin_levels::TARGET {
            return true;
        }
        let mut windows = self.windows();
        let window = windows
            .entry(metadata.callsite())
            .or_insert_with(|| Window {
                began: Instant::now(),
                lines: 0,
                left_out: 0,
                place: metadata.module_path().unwrap_or_default(),
            });
        if window.began.elapsed() >= WINDOW {
            window.began = Instant::now();
            window.lines = 0;
        }
        window.lines += 1;
        let is_told = window.lines <= LINES;
        window.left_out += u64::from(!is_told);
        is_told
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_said_too_often_is_left_out_and_counted_and_others_are_not() {
        let (pace, written) = (Pace::default(), Written::default());
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
        let expect = LeftOut {
            place: module_path!(),
            lines: 150,
        };
        assert_eq!(pace.left_out(), [expect]);
        assert!(pace.left_out().is_empty());
    }
}
