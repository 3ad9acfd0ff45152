//! Log lines about work that takes a while, such as a build: an operator who reads a log sees no progress bar.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use djangobot_event::lock::lock;
use tokio::task::JoinHandle;

/// The time between two lines. Work that is done sooner logs nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs what is being done and for how long, in intervals, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    last: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Begins to log `what`: `building the plugin in /code`. Must be called within a tokio runtime.
    pub fn of(what: impl Into<String>) -> Self {
        let (what, began) = (what.into(), Instant::now());
        let last = Arc::new(Mutex::new(String::new()));
        let said = last.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let detail = lock(&said).clone();
                let colon = if detail.is_empty() { "" } else { ": " };
                tracing::info!(
                    "{what}; it has taken {} so far{colon}{detail}",
                    time(began.elapsed())
                );
            }
        });
        Self { last, task }
    }

    /// Sets the current step, which the next line shows.
    pub fn say(&self, detail: &str) {
        let mut last = lock(&self.last);
        detail.trim().clone_into(&mut last);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `45 s`, `3 min 5 s`.
fn time(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(time(Duration::from_millis(4_900)), "4 s");
        assert_eq!(time(Duration::from_secs(185)), "3 min 5 s");
    }
}
