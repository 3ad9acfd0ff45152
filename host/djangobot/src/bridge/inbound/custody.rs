//! Custody of events: who is responsible for an event until it is safe, and which events were safe before.
//!
//! An event is safe when each part of it is in the layer or on the disk; what plugins made of it are parts too. Until
//! then its [`Custody`] holds the acknowledgement. A custody that ends in any other way leaves the event to Slack,
//! which redelivers it. The ids of events that became safe are remembered in the [`Ledger`], across restarts too, so
//! that an event that comes again is acknowledged and goes no further.

mod event_id;
mod storage;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use djangobot_event::lock::lock;
use djangobot_slack::{Ack, Ts};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::activity::Activity;
use crate::journal::{Journal, JournalError};

pub(crate) use event_id::EventId;
use event_id::{EventKeys, Keys};
use storage::{LedgerChange, MAX_REMEMBERED, Moments, SavedLedger};

/// The most events that are kept of those that were abandoned before they were safe and may come again. Only the oldest
/// one counts for [`Ledger::safe_until`], so that it does no harm to leave out later ones.
const MAX_ABANDONED: usize = 10_000;
/// How long Slack may redeliver an event, with room to spare: it does so for some six minutes. An event that was
/// abandoned for longer does not come again. Redelivered events come out of their order, so that a gap is read from so
/// long before the last event.
pub(crate) const RETRIES: Duration = Duration::from_secs(600);
/// How often new ids are written. An event that became safe since then may come twice after a kill, but is never lost.
const FLUSH: Duration = Duration::from_millis(200);
/// Old rows are deleted once in so many flushes.
const TIDY_EVERY: u32 = 300;
/// Where no ids are new, the moments are written once in so many ticks of [`FLUSH`]: 15 seconds, so that an idle bridge
/// hardly writes.
const MARKS_EVERY: u32 = 75;

/// The responsibility for one part of an event. If it is dropped without [`Custody::mark_safe`], the event is
/// abandoned.
#[derive(Debug)]
pub(crate) struct Custody(Arc<CustodyState>);

/// The state that all parts of one event share.
///
/// `open` begins at 1 and falls to 0 once at most. The call that brings it to 0 makes the event safe and notifies all
/// that wait; a state that is dropped before was abandoned.
#[derive(Debug)]
struct CustodyState {
    /// All ids that the event is known by.
    keys: Keys,
    /// How many parts are not safe yet.
    open: AtomicUsize,
    waiting: Mutex<Vec<Waiter>>,
    ledger: Ledger,
}

/// Somebody who waits until an event is safe.
#[derive(Debug)]
enum Waiter {
    Ack(Ack),
    Signal(oneshot::Sender<()>),
}

/// The recent events: those in custody, and the ids of those that became safe. Clones share it.
///
/// Its moments are ordered. `safe_until` <= `listened_until`, since it is computed as the earliest of `listened_until`,
/// the moments of the events that are in custody or were abandoned, and the begin of an open gap. So all that came
/// before `safe_until` is safe, and history that is read from there holds each message that is not; those in it that
/// are safe are known by their ids. History from before `listening_since` is never read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    /// The events that are not safe yet, by their keys.
    in_custody: HashMap<u64, EventInCustody>,
    /// The events that were abandoned before they were safe, each with its `came_after`. Slack may redeliver them.
    abandoned: HashMap<u64, Ts>,
    /// The last moment at which we listened.
    listened_until: Ts,
    /// The moment since which we listen at all. Events from before it count as not missed.
    listening_since: Ts,
    /// The last moment before the gap, while one is open.
    gap_since: Option<Ts>,
    /// Whether the moments changed in a way that must reach the disk at the next tick.
    is_urgent: bool,
    safe: HashSet<u64>,
    /// The ids of `safe`, the oldest first, by which the oldest are forgotten.
    order: VecDeque<u64>,
    /// The ids of `safe` that are not on the disk yet.
    unsaved: Vec<u64>,
}

/// An event that is not safe yet.
#[derive(Debug)]
struct EventInCustody {
    state: Weak<CustodyState>,
    /// The moment up to which we had listened when it came. The event came after that moment, and all events from
    /// before it are safe, or are in custody or abandoned with an earlier moment.
    came_after: Ts,
}

/// The ledger's answer to an event.
#[derive(Debug)]
pub(crate) enum Admission {
    /// The event is new, and goes on in this custody.
    New(Custody),
    /// The event came before. Its acknowledgement was given, or is given once the first one is safe.
    Duplicate,
}

impl Custody {
    /// Adds a part to the event: it is safe only when the new part is safe as well.
    pub(crate) fn add_part(&self) -> Self {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }

    /// Marks this part as safe. The last part acknowledges the event and notifies all that wait.
    pub(crate) fn mark_safe(self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ledger.settle(self.0.keys);
            for waiter in std::mem::take(&mut *self.0.waiting()) {
                waiter.notify();
            }
        }
    }

    /// A signal that comes when the event is safe, and that fails if the event is abandoned.
    pub(crate) fn signal(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.wait(Waiter::Signal(sender));
        receiver
    }
}

impl CustodyState {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiter>> {
        lock(&self.waiting)
    }

    fn wait(&self, waiter: Waiter) {
        let mut waiting = self.waiting();
        if self.open.load(Ordering::Acquire) > 0 {
            waiting.push(waiter);
        } else {
            drop(waiting);
            waiter.notify();
        }
    }
}

impl Drop for CustodyState {
    fn drop(&mut self) {
        if *self.open.get_mut() == 0 {
            return;
        }
        let mut entries = self.ledger.entries();
        for key in self.keys.into_iter().flatten() {
            // The same event may have come again already, and be in the custody of another state.
            let is_gone = |it: &EventInCustody| it.state.strong_count() == 0;
            if entries.in_custody.get(&key).is_some_and(is_gone)
                && let Some(event) = entries.in_custody.remove(&key)
                && entries.abandoned.len() < MAX_ABANDONED
            {
                entries.abandoned.entry(key).or_insert(event.came_after);
            }
        }
    }
}

impl Waiter {
    fn notify(self) {
        match self {
            Self::Ack(ack) => ack.confirm(),
            // An error says that the receiver no longer waits.
            Self::Signal(sender) => drop(sender.send(())),
        }
    }
}

impl Ledger {
    /// Reads the ledger, and the kinds of events that came live, from the file that `journal` writes.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn open(journal: &Journal) -> Result<(Self, Activity), JournalError> {
        let SavedLedger {
            ids,
            moments,
            activity,
        } = journal.write(storage::read).await?;
        let ledger = Self::default();
        let mut entries = ledger.entries();
        let safe_until = moments.safe_until;
        entries.listened_until = moments.listened_until.max(safe_until);
        entries.listening_since = moments.listening_since;
        // Events after `safe_until` may not be safe. The next connection finds out whether there is a gap.
        entries.gap_since = (safe_until > Ts::default()).then_some(safe_until);
        for id in ids {
            entries.remember(id);
        }
        // All of them are on the disk already.
        entries.unsaved.clear();
        drop(entries);
        let activity = activity.map_or_else(Activity::default, |json| Activity::read(&json));
        Ok((ledger, activity))
    }

    /// Takes in the event `id`, for whose acknowledgement `ack` Slack waits.
    pub(crate) fn admit(&self, id: EventId<'_>, ack: Option<Ack>) -> Admission {
        let EventKeys { own, earlier } = id.keys();
        let mut entries = self.entries();
        for key in earlier.into_iter().flatten() {
            if entries.safe.contains(&key) {
                drop(entries);
                if let Some(ack) = ack {
                    ack.confirm();
                }
                return Admission::Duplicate;
            }
            if let Some(before) = entries
                .in_custody
                .get(&key)
                .and_then(|it| it.state.upgrade())
            {
                drop(entries);
                if let Some(ack) = ack {
                    before.wait(Waiter::Ack(ack));
                }
                return Admission::Duplicate;
            }
        }
        let event = Arc::new(CustodyState {
            keys: own,
            open: AtomicUsize::new(1),
            waiting: Mutex::new(ack.map(Waiter::Ack).into_iter().collect()),
            ledger: self.clone(),
        });
        // An event that was abandoned counts from when it came first.
        let mut came_after = entries.listened_until;
        for key in own.into_iter().chain(earlier).flatten() {
            if let Some(first) = entries.abandoned.remove(&key) {
                came_after = came_after.min(first);
            }
        }
        for key in own.into_iter().flatten() {
            let state = Arc::downgrade(&event);
            let entry = EventInCustody { state, came_after };
            entries.in_custody.insert(key, entry);
        }
        Admission::New(Custody(event))
    }

    /// The last moment at which we listened; 1970 if we never did.
    pub(crate) fn listened_until(&self) -> Ts {
        self.entries().listened_until
    }

    /// Notes that we listen at this moment, and listened since the last one that was noted.
    pub(crate) fn note_listening(&self, now: Ts) {
        let mut entries = self.entries();
        entries.listened_until = entries.listened_until.max(now);
    }

    /// Notes that we begin to listen, for the first time or in the place of another host: nothing is missed before
    /// `now`.
    pub(crate) fn start_listening(&self, now: Ts) {
        let mut entries = self.entries();
        (entries.listening_since, entries.listened_until) = (now, now);
        entries.is_urgent = true;
    }

    /// The moment up to which all events are safe.
    pub(crate) fn safe_until(&self) -> Ts {
        self.entries().safe_until()
    }

    /// Opens a gap at `moment`, or at an earlier one if events from before are not safe. Gives the moment from which
    /// the gap has to be read: [`RETRIES`] earlier, since events come out of their order, but not before we listened at
    /// all.
    pub(crate) fn open_gap(&self, moment: Ts) -> Ts {
        let mut entries = self.entries();
        let moment = entries.safe_until().min(moment);
        entries.gap_since = Some(moment);
        entries.is_urgent = true;
        moment.saturating_sub(RETRIES).max(entries.listening_since)
    }

    /// Closes the gap: it is filled, or there was none.
    pub(crate) fn close_gap(&self) {
        let mut entries = self.entries();
        entries.gap_since = None;
        entries.is_urgent = true;
    }

    /// The moment of the first abandoned event that Slack does not redeliver any more by `now`, if there is one. Such
    /// events are forgotten here, so that each is given once.
    pub(crate) fn take_overdue(&self, now: Ts) -> Option<Ts> {
        let mut entries = self.entries();
        let limit = now.saturating_sub(RETRIES);
        let overdue = entries.abandoned.values().copied().filter(|at| *at < limit);
        let first = overdue.min()?;
        entries.abandoned.retain(|_, at| *at >= limit);
        Some(first)
    }

    /// Custody of a plugin's message, which Slack does not know and which can't come twice.
    pub(crate) fn custody_without_id(&self) -> Custody {
        Custody(Arc::new(CustodyState {
            keys: [None; 2],
            open: AtomicUsize::new(1),
            waiting: Mutex::default(),
            ledger: self.clone(),
        }))
    }

    /// Writes new ids, the moments and the kinds that came live to the disk until `cancel`, and a last time then.
    pub(crate) async fn save_until(
        self,
        journal: Journal,
        activity: Activity,
        cancel: CancellationToken,
    ) {
        let (mut flushes, mut ticks): (u32, u32) = (0, 0);
        loop {
            let ended = cancel
                .run_until_cancelled(tokio::time::sleep(FLUSH))
                .await
                .is_none();
            ticks += 1;
            let is_due = ended || ticks >= MARKS_EVERY;
            let activity = activity.take_unsaved(is_due);
            let (unsaved, moments) = {
                let mut entries = self.entries();
                let unsaved = std::mem::take(&mut entries.unsaved);
                let is_urgent = std::mem::take(&mut entries.is_urgent);
                let writes = is_due || is_urgent || !unsaved.is_empty() || activity.is_some();
                // Read under one lock with the ids, so that they cover no event whose id is not written with them.
                (unsaved, writes.then(|| entries.moments()))
            };
            if let Some(moments) = moments {
                ticks = 0;
                flushes += 1;
                let forgets = flushes.is_multiple_of(TIDY_EVERY);
                let change = LedgerChange {
                    unsaved,
                    moments,
                    activity,
                    forgets,
                };
                let written = journal.write(move |database| change.write(database)).await;
                if let Err(error) = written {
                    tracing::debug!(%error, "ids of recent events were not written; after a kill these events may come twice");
                }
            }
            if ended {
                return;
            }
        }
    }

    fn settle(&self, keys: Keys) {
        let mut entries = self.entries();
        for key in keys.into_iter().flatten() {
            if entries.in_custody.remove(&key).is_some() {
                entries.remember(key);
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }
}

impl Entries {
    /// The moment up to which all that came is safe.
    fn safe_until(&self) -> Ts {
        let in_custody = self.in_custody.values().map(|it| it.came_after);
        let not_safe = in_custody.chain(self.abandoned.values().copied());
        not_safe
            .chain(self.gap_since)
            .fold(self.listened_until, Ts::min)
    }

    /// The moments, for the disk.
    fn moments(&self) -> Moments {
        Moments {
            safe_until: self.safe_until(),
            listened_until: self.listened_until,
            listening_since: self.listening_since,
        }
    }

    /// Notes that an event is safe. The oldest one is forgotten where there are too many.
    fn remember(&mut self, key: u64) {
        if self.safe.insert(key) {
            self.order.push_back(key);
            self.unsaved.push(key);
            if self.order.len() > MAX_REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.safe.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
