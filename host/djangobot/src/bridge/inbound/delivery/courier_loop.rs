//! The courier's loop, which empties a queue into the layer: the one place that tries a send to the layer again.

use std::time::{Duration, Instant};

use djangobot_channels::{LayerError, Member, SendReport};
use djangobot_event::Reminder;
use djangobot_slack::Backoff;

use crate::bridge::inbound::delivery::courier::{
    Batch, Courier, FIRST_PAUSE, LONGEST_PAUSE, forget,
};
use crate::bridge::inbound::delivery::queue::{BATCH_EVENTS, BatchLimit, Queue, QueuedEvent};
use crate::bridge::inbound::delivery::refusal::{Fault, Trial};
use crate::bridge::inbound::delivery::unread_channel::ReaderState;
use crate::config::Unread;
use crate::cure;

/// How often the log repeats that a channel takes no events.
const REMINDER: Duration = Duration::from_secs(60);
/// How often deleting delivered events is tried again.
const FORGET_AGAIN: Duration = Duration::from_secs(1);

/// The reason for which a queue does not move.
#[derive(Clone, Copy, PartialEq)]
enum Obstacle {
    /// The channel is full.
    Full,
    /// Nobody is subscribed to a broadcast channel.
    Nobody,
    /// The layer does not answer.
    Away,
    /// The layer answers with an error.
    Refused,
}

/// The next step of a courier.
enum NextStep {
    /// The queue is closed and empty.
    End,
    /// The queue is closed and stuck, and its policy keeps nothing.
    Abandon,
    /// Nobody reads the channel, so that only this many events may lie there.
    Unread(usize),
    /// The oldest events are on the disk, behind this number.
    Disk(u64),
    /// No events wait.
    Idle,
}

impl Courier {
    pub(super) async fn run(self) {
        // A layer that is back is to be noticed soon. A full channel gets the whole batch at each try, so it is tried
        // less often.
        let mut away = Backoff::new(FIRST_PAUSE, Duration::from_millis(250));
        let mut full = Backoff::new(FIRST_PAUSE, Duration::from_secs(1));
        let mut refused = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut stuck: Option<Obstacle> = None;
        let mut reminder = Reminder::new(REMINDER);
        let mut batch_events = BATCH_EVENTS;
        let mut trial = Trial::new();
        let mut reader = ReaderState::new();
        loop {
            let limit = BatchLimit {
                events: batch_events,
                bytes: trial.portion.bytes(),
            };
            let Some(batch) = self.next_batch(&mut reader, limit).await else {
                break;
            };
            let members: Vec<Member> = batch.iter().map(|event| event.member.clone()).collect();
            let outcome = match self.send(&members).await {
                Ok(sent) => Ok(sent),
                Err(error) => Err(self.blame(error).await),
            };
            match &outcome {
                Err(Fault::Channel(error)) => {
                    let channel = self.queue.channel.as_str();
                    self.readiness.layer_use.failed(channel, error);
                }
                Ok(_) | Err(Fault::Batch(_)) => {
                    self.readiness.layer_use.worked(self.queue.channel.as_str());
                }
            }
            // The layer takes events from the front of a batch, so the rest keeps its order.
            let (accepted, now_stuck) = judge(&outcome, batch.len());
            // How many messages lie in the channel now, ours and those of others.
            let lies = outcome.as_ref().ok().and_then(|sent| sent.waiting);
            let taken = batch.get(..accepted).unwrap_or(&batch);
            self.note_sent(&mut reader, taken, lies).await;
            let left = self.queue.lock().left();
            // A broadcast of several events says only that one of them reached nobody, so they go one by one then.
            batch_events = if now_stuck == Some(Obstacle::Nobody) {
                1
            } else {
                BATCH_EVENTS
            };
            self.queue.held.set(left as f64);
            // The layer serves the channel, so this is not an obstacle, and says nothing about the pauses below.
            if let Err(Fault::Batch(error)) = &outcome {
                self.try_parts(&batch, error, &mut trial, &reader).await;
                continue;
            }
            self.queue.set_stuck(now_stuck.is_some());
            let Some(reason) = now_stuck else {
                if stuck.take().is_some() && !reader.is_unread() {
                    tracing::info!(channel = %self.queue.channel, waiting = left, "the channel takes events again");
                }
                away.succeeded();
                full.succeeded();
                refused.succeeded();
                trial.succeeded();
                continue;
            };
            match reason {
                Obstacle::Full => self.full.increment(1),
                Obstacle::Away | Obstacle::Refused => self.errors.increment(1),
                Obstacle::Nobody => {}
            }
            // A full channel that takes some is being read: it is tried again soon.
            if accepted > 0 {
                full.succeeded();
            }
            // Another reason is logged at once.
            if stuck.replace(reason) != Some(reason) {
                reminder.reset();
            }
            if reminder.due().is_some() {
                self.log_obstacle(reason, outcome.as_ref().err(), left);
            }
            match reason {
                Obstacle::Away => away.wait().await,
                Obstacle::Refused => refused.wait().await,
                Obstacle::Full | Obstacle::Nobody => full.wait().await,
            }
        }
        let forget_failed = self.queue.lock().forget_failed;
        if let Some(upto) = forget_failed {
            forget(&self.spool, &self.queue, upto).await;
        }
    }

    /// Waits for the oldest events. `None` says that the queue is closed and none of its events is in memory.
    async fn next_batch(&self, reader: &mut ReaderState, limit: BatchLimit) -> Option<Batch> {
        let queue = &self.queue;
        loop {
            if !reader.is_unread() && self.next_check(reader).is_some_and(|rest| rest.is_zero()) {
                self.check(reader).await;
            }
            // The disk comes before memory, because its events are older.
            let next = {
                let mut waiting = queue.lock();
                if waiting.is_closed && waiting.events.is_empty() {
                    NextStep::End
                } else if waiting.is_closed && waiting.is_stuck && queue.unread != Unread::Hold {
                    NextStep::Abandon
                } else if let Some(window) = reader.window {
                    NextStep::Unread(window)
                } else if waiting.is_spooling() {
                    NextStep::Disk(waiting.settled)
                } else if waiting.events.is_empty() {
                    NextStep::Idle
                } else {
                    let freshen = |event: &mut QueuedEvent| self.freshen(event);
                    return Some(Queue::prepare_batch(&mut waiting, limit, freshen));
                }
            };
            let batch = match next {
                NextStep::End => {
                    self.prepare_stop(reader).await;
                    return None;
                }
                NextStep::Abandon => {
                    queue.abandon();
                    return None;
                }
                NextStep::Unread(window) => self.next_of_unread(reader, window, limit).await,
                NextStep::Disk(after) => self.read_back(after, limit, true).await,
                NextStep::Idle => {
                    self.idle(reader).await;
                    None
                }
            };
            if batch.is_some() {
                return batch;
            }
        }
    }

    /// Waits for something to do. Meanwhile it tries again to delete delivered events that the disk kept, and it
    /// returns in time for the next check of the events in the layer.
    async fn idle(&self, reader: &ReaderState) {
        let filled = self.queue.layer_work.notified();
        let forget_failed = self.queue.lock().forget_failed;
        let rest = forget_failed.map(|_| FORGET_AGAIN);
        let rest = rest.into_iter().chain(self.next_check(reader)).min();
        let Some(rest) = rest else {
            return filled.await;
        };
        if tokio::time::timeout(rest, filled).await.is_err()
            && let Some(upto) = forget_failed
        {
            forget(&self.spool, &self.queue, upto).await;
        }
    }

    /// Seals a member again if readers would soon refuse it for its age.
    fn freshen(&self, event: &mut QueuedEvent) {
        if let Some(lifetime) = self.layer.seal_lifetime()
            && event.sealed.elapsed() > lifetime / 2
            && let Ok(payload) = self.layer.unseal(&event.member)
        {
            event.member = self.layer.seal(&payload);
            event.sealed = Instant::now();
        }
    }

    fn log_obstacle(&self, reason: Obstacle, fault: Option<&Fault>, waiting: u64) {
        let channel = &self.queue.channel;
        let fate = match self.queue.unread {
            Unread::Hold => "its events wait on the disk",
            Unread::DropOldest => "its newest events wait in memory, and the oldest are dropped",
            Unread::Drop => "its events are dropped",
        };
        match (reason, fault) {
            (
                Obstacle::Away | Obstacle::Refused,
                Some(Fault::Channel(error) | Fault::Batch(error)),
            ) => {
                let cure = cure::of_layer(error);
                tracing::error!(%channel, waiting, %cure, "{error}; {fate} until it takes them");
            }
            (Obstacle::Nobody, _) => tracing::warn!(
                %channel, waiting,
                "nobody is subscribed to the channel, and a broadcast layer keeps no messages; {fate}; is a worker running? python manage.py runworker {channel}"
            ),
            _ => tracing::warn!(
                %channel, waiting,
                "the channel is full, because no worker reads it fast enough; {fate}; is one running? python manage.py runworker {channel}; if the app does not want them, set \"{channel}\" = \"drop\" below [layer.unread]"
            ),
        }
    }
}

/// How many of `count` events the layer took, and the obstacle that keeps it from the rest.
fn judge(outcome: &Result<SendReport, Fault>, count: usize) -> (usize, Option<Obstacle>) {
    match outcome {
        Ok(sent) if sent.receivers == Some(0) => (0, Some(Obstacle::Nobody)),
        Ok(sent) if sent.accepted < count => (sent.accepted, Some(Obstacle::Full)),
        Ok(sent) => (sent.accepted, None),
        Err(Fault::Channel(LayerError::Unavailable { .. })) => (0, Some(Obstacle::Away)),
        Err(Fault::Channel(_) | Fault::Batch(_)) => (0, Some(Obstacle::Refused)),
    }
}
