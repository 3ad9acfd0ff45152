//! Numbered events without a pause, and what became of each.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use local_slack::Outcome;
use tokio::task::JoinSet;

use crate::queue::Queue;
use crate::socket_mode::{SocketMode, emit};
use crate::tap::marked;

/// Events under way to a taker. Dropping it ends them.
pub(super) struct Stream {
    next: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Stream {
    /// Begins to give `rate` events a second.
    pub(super) fn start(app: &SocketMode, rate: u32) -> Self {
        let next = Arc::new(AtomicUsize::new(0));
        let (number, control) = (next.clone(), app.slack.control());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            loop {
                ticks.tick().await;
                emit(&control, "message", number.fetch_add(1, Ordering::SeqCst));
            }
        });
        Self { next, _task: task }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> usize {
        self.next.load(Ordering::SeqCst)
    }
}

/// How many of its events Slack was told are received, and how many of those never came to `queue`.
pub(super) async fn account(app: &SocketMode, queue: &mut Queue) -> (usize, usize) {
    let newest = queue.newest(0).await;
    let came: HashSet<usize> = newest.iter().filter_map(|it| marked(it)).collect();
    let deliveries = app.slack.control().deliveries();
    let acknowledged: Vec<usize> = deliveries
        .iter()
        .filter(|it| it.outcome == Outcome::Acknowledged)
        .filter_map(|it| marked(it.payload["event"]["text"].as_str()?.as_bytes()))
        .collect();
    let lost = acknowledged.iter().filter(|it| !came.contains(it));
    (acknowledged.len(), lost.count())
}

/// Waits for an event with number `from` or a greater one; when it was there, if that was within `limit`. It looks every
/// hundredth of the time that has passed, so as not to disturb.
pub(super) async fn first_of(queue: &mut Queue, from: usize, limit: Duration) -> Option<Instant> {
    let began = Instant::now();
    while began.elapsed() < limit {
        let newest = queue.newest(10).await;
        if newest
            .iter()
            .filter_map(|it| marked(it))
            .any(|it| it >= from)
        {
            return Some(Instant::now());
        }
        let pause = began.elapsed() / 100;
        tokio::time::sleep(pause.clamp(Duration::from_millis(1), Duration::from_millis(50))).await;
    }
    None
}
