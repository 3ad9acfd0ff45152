//! The spiller, which writes events to the disk that the layer does not take in time.

use std::sync::Arc;
use std::time::Duration;

use djangobot_event::Reminder;

use crate::bridge::inbound::delivery::courier;
use crate::bridge::inbound::delivery::queue::{Queue, SpillResult};
use crate::bridge::inbound::delivery::spool::{Entry, Eviction, Spool};
use crate::metrics::Metrics;

/// How long an event may be in memory alone. Slack waits 3 seconds for its acknowledgement, and the write takes time
/// too.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most events that go to the disk in one write.
const BATCH: usize = 1024;
/// The pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the log repeats that writes fail.
const REMINDER: Duration = Duration::from_secs(60);

/// Writes the events of one queue to the disk while the layer is stuck or slow, or older events lie there.
pub(super) struct Spiller {
    pub(super) spool: Spool,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Metrics,
    /// The text of the layer's [`djangobot_channels::Wire`]: how its members are written.
    pub(super) wire: Arc<str>,
}

impl Spiller {
    pub(super) async fn run(self) {
        let mut reminder = Reminder::new(REMINDER);
        while let Some(entries) = self.next_batch().await {
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                continue;
            };
            let (first, upto, count) = (first.seq, last.seq, entries.len() as u64);
            match self
                .spool
                .append(self.queue.channel.as_str(), entries)
                .await
            {
                Ok(evicted) => {
                    reminder.reset();
                    let SpillResult { gone, forget } = self.queue.note_spilled(first, upto, count);
                    for mut event in gone {
                        tracing::debug!(id = &*event.id, channel = %self.queue.channel, "event spooled");
                        event.mark_safe();
                    }
                    // The layer took some of them while they were written.
                    if let Some(upto) = forget {
                        courier::forget(&self.spool, &self.queue, upto).await;
                    }
                    for Eviction { channel, count } in evicted {
                        self.metrics.discarded(&channel).increment(count as u64);
                        tracing::error!(
                            channel = &*channel,
                            count,
                            "the spool is full, and the oldest events of the largest channel were given up; layer.spool-mib allows more"
                        );
                    }
                    let left = self.queue.lock().left();
                    self.queue.held.set(left as f64);
                }
                Err(error) => {
                    self.queue.note_spill_failure();
                    if reminder.due().is_some() {
                        tracing::error!(
                            channel = %self.queue.channel,
                            "events can't be written to the disk: {error}; they wait in memory, and Slack gets no acknowledgement for them"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            self.metrics.spool_bytes().set(self.spool.bytes() as f64);
        }
    }

    /// Waits for events that have to go to the disk. `None` says that the queue is closed and empty.
    ///
    /// They stay in memory until the disk has them, so that the courier can send them meanwhile.
    async fn next_batch(&self) -> Option<Vec<Entry>> {
        loop {
            let wait = {
                let mut waiting = self.queue.lock();
                match waiting.age() {
                    None if waiting.is_closed => return None,
                    None => None,
                    Some(age) if waiting.is_stuck || waiting.is_spooling() || age >= PATIENCE => {
                        let entries: Vec<Entry> = waiting
                            .events
                            .iter()
                            .take(BATCH)
                            .map(|event| Entry {
                                seq: event.seq,
                                id: event.id.clone(),
                                wire: self.wire.clone(),
                                member: event.member.clone(),
                            })
                            .collect();
                        // Noted before the write, under the lock: when the courier settles them while they are
                        // written, it knows that the disk may have them.
                        waiting.handed_to_disk = entries
                            .last()
                            .map_or(waiting.handed_to_disk, |last| last.seq);
                        return Some(entries);
                    }
                    Some(age) => Some(PATIENCE - age),
                }
            };
            match wait {
                None => self.queue.disk_work.notified().await,
                Some(rest) => {
                    let _ = tokio::time::timeout(rest, self.queue.disk_work.notified()).await;
                }
            }
        }
    }
}
