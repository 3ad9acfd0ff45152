//! The loop of a courier, which empties its queue into the layer: the one place that tries a send to the layer again.

use std::time::{Duration, Instant};

use djangobot_channels::{LayerError, Member, SendReport};
use djangobot_event::Reminder;
use djangobot_slack::Backoff;

use super::courier::{Batch, Courier, FIRST, REFUSED, forget};
use super::queue::{Held, Queue};
use super::refused::{Fault, Trial};
use super::unread::Reading;
use crate::config::Unread;
use crate::cure;

/// Events that go to the layer in one call, at most.
const BATCH: usize = 512;
/// How often a channel that stays full or away is spoken of again.
const REMINDER: Duration = Duration::from_secs(60);
/// How often a disk that would not let go of events is asked again.
const FORGET_AGAIN: Duration = Duration::from_secs(1);

/// Why a queue does not move.
#[derive(Clone, Copy, PartialEq)]
enum Stuck {
    Full,
    Nobody,
    /// It does not answer.
    Away,
    /// It answers with an error.
    Refused,
}

/// What a courier does next.
enum Next {
    /// The queue is closed and empty.
    End,
    /// The queue is closed and stuck, and its policy is to keep nothing.
    Abandon,
    /// Nobody reads the channel, so that only as many events as this may lie there.
    Unread(usize),
    /// Events behind this number are on the disk.
    Disk(u64),
    Idle,
}

impl Courier {
    pub(super) async fn run(self) {
        // A layer that is back is noticed soon; what a full channel refuses is sent whole each time, so that has time.
        let mut away = Backoff::new(FIRST, Duration::from_millis(250));
        let mut full = Backoff::new(FIRST, Duration::from_secs(1));
        let mut refused = Backoff::new(FIRST, REFUSED);
        let mut stuck: Option<Stuck> = None;
        let mut reminder = Reminder::new(REMINDER);
        let mut limit = BATCH;
        let mut trial = Trial::new();
        let mut reading = Reading::new();
        while let Some(batch) = self
            .front(&mut reading, (limit, trial.portion.bytes()))
            .await
        {
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
            let (accepted, now_stuck) = judge(&outcome, batch.len());
            let lies = outcome.as_ref().ok().and_then(|sent| sent.waiting);
            let taken = batch.get(..accepted).unwrap_or(&batch);
            self.put(&mut reading, taken, lies).await;
            let left = self.queue.lock().left();
            // Of several events a broadcast says only that one of them reached nobody; of one it says all.
            limit = if now_stuck == Some(Stuck::Nobody) {
                1
            } else {
                BATCH
            };
            self.queue.held.set(left as f64);
            if let Err(Fault::Batch(error)) = &outcome {
                self.try_parts(&batch, error, &mut trial, &reading).await;
                continue;
            }
            self.queue.set_stuck(now_stuck.is_some());
            let Some(reason) = now_stuck else {
                if stuck.take().is_some() && !reading.is_unread() {
                    tracing::info!(channel = %self.queue.channel, waiting = left, "the channel takes events again");
                }
                away.succeeded();
                full.succeeded();
                refused.succeeded();
                trial.succeeded();
                continue;
            };
            match reason {
                Stuck::Full => self.full.increment(1),
                Stuck::Away | Stuck::Refused => self.errors.increment(1),
                Stuck::Nobody => {}
            }
            if accepted > 0 {
                full.succeeded();
            }
            if stuck.replace(reason) != Some(reason) {
                reminder.reset();
            }
            if reminder.due().is_some() {
                self.tell(reason, outcome.as_ref().err(), left);
            }
            match reason {
                Stuck::Away => away.wait().await,
                Stuck::Refused => refused.wait().await,
                Stuck::Full | Stuck::Nobody => full.wait().await,
            }
        }
        let unforgotten = self.queue.lock().unforgotten;
        if let Some(upto) = unforgotten {
            forget(&self.spool, &self.queue, upto).await;
        }
    }

    /// The oldest events, once there are any; `None` when the queue is closed and nothing of it is in memory.
    async fn front(&self, reading: &mut Reading, (limit, bytes): (usize, usize)) -> Option<Batch> {
        let queue = &self.queue;
        loop {
            if !reading.is_unread() && self.due(reading).is_some_and(|rest| rest.is_zero()) {
                self.look(reading).await;
            }
            let next = {
                let mut waiting = queue.lock();
                if waiting.closed && waiting.events.is_empty() {
                    Next::End
                } else if waiting.closed && waiting.stuck && queue.unread != Unread::Hold {
                    Next::Abandon
                } else if let Some(window) = reading.window {
                    Next::Unread(window)
                } else if waiting.is_spooling() {
                    Next::Disk(waiting.settled)
                } else if waiting.events.is_empty() {
                    Next::Idle
                } else {
                    let freshen = |event: &mut Held| self.freshen(event);
                    return Some(Queue::front(&mut waiting, (limit, bytes), freshen));
                }
            };
            let batch = match next {
                Next::End => {
                    self.leave(reading).await;
                    return None;
                }
                Next::Abandon => {
                    queue.abandon();
                    return None;
                }
                Next::Unread(window) => self.front_unread(reading, window, (limit, bytes)).await,
                Next::Disk(after) => self.read_back(after, (limit, bytes), true).await,
                Next::Idle => {
                    self.idle(reading).await;
                    None
                }
            };
            if batch.is_some() {
                return batch;
            }
        }
    }

    /// Waits for something to do. What the disk would not let go of is tried again meanwhile, and what lies in the layer is
    /// looked at in time.
    async fn idle(&self, reading: &Reading) {
        let filled = self.queue.filled.notified();
        let unforgotten = self.queue.lock().unforgotten;
        let rest = unforgotten.map(|_| FORGET_AGAIN);
        let rest = rest.into_iter().chain(self.due(reading)).min();
        let Some(rest) = rest else {
            return filled.await;
        };
        if tokio::time::timeout(rest, filled).await.is_err()
            && let Some(upto) = unforgotten
        {
            forget(&self.spool, &self.queue, upto).await;
        }
    }

    /// Makes a member anew where readers would soon refuse it for its age.
    fn freshen(&self, event: &mut Held) {
        if let Some(lifetime) = self.layer.seal_lifetime()
            && event.sealed.elapsed() > lifetime / 2
            && let Ok(payload) = self.layer.unseal(&event.member)
        {
            event.member = self.layer.seal(&payload);
            event.sealed = Instant::now();
        }
    }

    fn tell(&self, reason: Stuck, fault: Option<&Fault>, waiting: u64) {
        let channel = &self.queue.channel;
        let fate = match self.queue.unread {
            Unread::Hold => "events wait on the disk",
            Unread::DropOldest => "the newest events wait in memory, the oldest go",
            Unread::Drop => "its events are dropped meanwhile",
        };
        match (reason, fault) {
            (Stuck::Away | Stuck::Refused, Some(Fault::Channel(error) | Fault::Batch(error))) => {
                let cure = cure::of_layer(error);
                tracing::error!(%channel, waiting, %cure, "{error}; {fate} until it takes them");
            }
            (Stuck::Nobody, _) => tracing::warn!(
                %channel, waiting,
                "nobody is subscribed to the channel, and a broadcast layer keeps nothing; {fate}. Is a worker running? python manage.py runworker {channel}"
            ),
            _ => tracing::warn!(
                %channel, waiting,
                "the channel is full: no worker reads it, or not fast enough; {fate}. Is one running? python manage.py runworker {channel}. If the app does not want them: \"{channel}\" = \"drop\" below [layer.unread]"
            ),
        }
    }
}

/// How many events the layer took of `count`, and what keeps it from the rest.
fn judge(outcome: &Result<SendReport, Fault>, count: usize) -> (usize, Option<Stuck>) {
    match outcome {
        Ok(sent) if sent.receivers == Some(0) => (0, Some(Stuck::Nobody)),
        Ok(sent) if sent.accepted < count => (sent.accepted, Some(Stuck::Full)),
        Ok(sent) => (sent.accepted, None),
        Err(Fault::Channel(LayerError::Unavailable { .. })) => (0, Some(Stuck::Away)),
        Err(Fault::Channel(_) | Fault::Batch(_)) => (0, Some(Stuck::Refused)),
    }
}
