//! From memory to the disk: events that the layer does not take in time.

use std::sync::Arc;
use std::time::Duration;

use djangobot_event::Reminder;

use super::courier::forget;
use super::queue::Queue;
use crate::bridge::inbound::delivery::spool::{Entry, Spool};
use crate::metrics::Metrics;

/// How long an event may be in memory alone: Slack waits 3 seconds for its acknowledgement.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that go to the disk in one write, at most.
const BATCH: usize = 1024;
/// The pause after a write that failed, and how often that is spoken of.
const PAUSE: Duration = Duration::from_millis(500);
const REMINDER: Duration = Duration::from_secs(60);

/// Brings the events of one queue to the disk when the layer is stuck or slow, and as long as older ones lie there.
pub(super) struct Spiller {
    pub(super) spool: Spool,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Metrics,
    /// How the layer's members are written.
    pub(super) wire: Arc<str>,
}

impl Spiller {
    pub(super) async fn run(self) {
        let mut reminder = Reminder::new(REMINDER);
        while let Some(entries) = self.pressing().await {
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
                    let (gone, settled) = self.queue.spilled(first, upto, count);
                    for mut event in gone {
                        tracing::debug!(id = &*event.id, channel = %self.queue.channel, "event spooled");
                        event.mark_safe();
                    }
                    if let Some(settled) = settled {
                        forget(&self.spool, &self.queue, settled).await;
                    }
                    for (channel, count) in evicted {
                        self.metrics.discarded(&channel).increment(count as u64);
                        tracing::error!(
                            channel = &*channel,
                            count,
                            "the spool is full: the oldest events of the channel that holds most are given up; spool-mib below [layer] allows more"
                        );
                    }
                    let left = self.queue.lock().left();
                    self.queue.held.set(left as f64);
                }
                Err(error) => {
                    self.queue.not_spilled();
                    if reminder.due().is_some() {
                        tracing::error!(
                            channel = %self.queue.channel,
                            "events can't be brought to the disk: {error}; they wait in memory, and Slack is not told that we have them"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            self.metrics.spool_bytes().set(self.spool.bytes() as f64);
        }
    }

    /// The events that have to go to the disk, once there are any; `None` when the queue is closed and empty.
    async fn pressing(&self) -> Option<Vec<Entry>> {
        loop {
            let wait = {
                let mut waiting = self.queue.lock();
                match waiting.age() {
                    None if waiting.closed => return None,
                    None => None,
                    Some(age) if waiting.stuck || waiting.is_spooling() || age >= PATIENCE => {
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
                        waiting.handed = entries.last().map_or(waiting.handed, |last| last.seq);
                        return Some(entries);
                    }
                    Some(age) => Some(PATIENCE - age),
                }
            };
            match wait {
                None => self.queue.pressed.notified().await,
                Some(rest) => {
                    let _ = tokio::time::timeout(rest, self.queue.pressed.notified()).await;
                }
            }
        }
    }
}
