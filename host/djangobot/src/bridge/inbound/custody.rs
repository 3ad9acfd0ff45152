//! Who answers for an event until it is safe, and which events were safe before.
//!
//! Slack is told that we have an event when each part of it, what plugins made of it included, is in the layer or on
//! the disk. Until then its [`Custody`] holds the acknowledgement; a custody that ends in any other way leaves Slack to
//! give the event again. Ids of events that became safe are remembered, across restarts too, so that what is given again
//! is acknowledged and goes no further.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_event::lock::lock;
use djangobot_slack::Ack;
use rusqlite::{OptionalExtension, params};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::bridge::inbound::activity::Activity;
use crate::bridge::moment::Micros;
use crate::fingerprint::fingerprint;
use crate::journal::{Journal, JournalError};
use crate::state::put_fact;

/// The fact that holds the moment up to which all is safe.
const MARK: &str = "events_safe_until";
/// The fact that holds the last moment at which we listened.
const HEARD: &str = "events_listened_until";
/// The fact that holds the moment from which on we listen at all.
const BEGAN: &str = "events_since";
/// The fact that holds what came live.
const ACTIVITY: &str = "activity";
/// Ids that are remembered, at most. Messages have two: Slack's, and that by which history knows them.
const REMEMBERED: usize = 900_000;
/// Events that were let go of before they were safe and may come again, at most; the oldest says enough of the others.
const LET_GO: usize = 10_000;
/// Slack gives an event again for some six minutes, and those that it gives again come out of their order: what was let
/// go of for longer does not come, and what is looked for may be older by this than what came last.
pub(crate) const RETRIES: Duration = Duration::from_secs(600);
/// How often new ids are written. What became safe since then may come twice after a kill, never be lost.
const FLUSH: Duration = Duration::from_millis(200);
/// What is tidied up in the file, in flushes.
const TIDY: u32 = 300;
/// Moments alone are written so seldom, in ticks of [`FLUSH`], so that an idle disk has its rest.
const MOMENTS: u32 = 75;

/// One part of an event that is to become safe. Dropped without [`Custody::safe`], the event never does.
#[derive(Debug)]
pub(crate) struct Custody(Arc<Event>);

#[derive(Debug)]
struct Event {
    /// All names that it is known by.
    keys: Keys,
    /// Parts that are not safe yet.
    open: AtomicUsize,
    waiting: Mutex<Vec<Waiter>>,
    ledger: Ledger,
}

/// Who waits for an event's safety.
#[derive(Debug)]
enum Waiter {
    Ack(Ack),
    Signal(oneshot::Sender<()>),
}

/// The events of late: those in custody, and the ids of those that became safe. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    /// With the moment up to which we had listened when it came: all from before it is safe, or in custody too.
    in_custody: HashMap<u64, (Weak<Event>, Micros)>,
    /// The same moments of events that ended their custody before they were safe. Slack may give them again.
    let_go: HashMap<u64, Micros>,
    /// The last moment at which we listened.
    heard: Micros,
    /// The moment from which on we listen at all; nothing is missed before it.
    began: Micros,
    /// While a gap is open: the moment before it.
    frozen: Option<Micros>,
    /// What the disk has of these moments is to be written soon.
    is_urgent: bool,
    safe: HashSet<u64>,
    /// Those of `safe`, the oldest first.
    order: VecDeque<u64>,
    /// Those of `safe` that are not on the disk yet.
    fresh: Vec<u64>,
}

/// The names of an event.
type Keys = [Option<u64>; 2];

/// What tells an event from others, and which of those that came before it may be the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventId<'a> {
    /// Slack's own, of the event or its envelope: whatever has it is the same. What is in Slack's history too has there
    /// the name `said`.
    Given { id: &'a str, said: Option<&'a str> },
    /// The name of what came on RTM, which gives nothing twice: only history may have been before it.
    Live(&'a str),
    /// The name of a message in Slack's history.
    History(&'a str),
}

impl EventId<'_> {
    /// The keys of this event, and those by which it is known if it came before.
    fn keys(self) -> (Keys, Keys) {
        let own = |id: &str| fingerprint(id.as_bytes());
        let in_history = |id: &str| own(id).rotate_left(1) ^ HISTORY;
        match self {
            Self::Given { id, said } => (
                [Some(own(id)), said.map(own)],
                [Some(own(id)), said.map(in_history)],
            ),
            Self::Live(id) => ([Some(own(id)), None], [Some(in_history(id)), None]),
            Self::History(id) => (
                [Some(in_history(id)), None],
                [Some(own(id)), Some(in_history(id))],
            ),
        }
    }
}

/// Sets ids of history apart from those of what came live.
const HISTORY: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the ledger knows of an event.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is new: it goes on in this custody.
    New(Custody),
    /// It came before, and Slack is, or will be, told so.
    Again,
}

impl Custody {
    /// Another part of the same event.
    pub(crate) fn part(&self) -> Custody {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Custody(self.0.clone())
    }

    /// This part is safe. With the last of them, whoever waits is told.
    pub(crate) fn safe(self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ledger.settle(self.0.keys);
            for waiter in std::mem::take(&mut *self.0.waiting()) {
                waiter.tell();
            }
        }
    }

    /// Tells when the event is safe; an error where it never will be.
    pub(crate) fn signal(&self) -> oneshot::Receiver<()> {
        let (told, hear) = oneshot::channel();
        self.0.wait(Waiter::Signal(told));
        hear
    }
}

impl Event {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiter>> {
        lock(&self.waiting)
    }

    fn wait(&self, waiter: Waiter) {
        let mut waiting = self.waiting();
        if self.open.load(Ordering::Acquire) > 0 {
            waiting.push(waiter);
        } else {
            drop(waiting);
            waiter.tell();
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if *self.open.get_mut() == 0 {
            return;
        }
        let mut entries = self.ledger.entries();
        for key in self.keys.into_iter().flatten() {
            // The same event may have come again already, and be in custody once more.
            let is_gone = |(it, _): &(Weak<Event>, Micros)| it.strong_count() == 0;
            if entries.in_custody.get(&key).is_some_and(is_gone)
                && let Some((_, known)) = entries.in_custody.remove(&key)
                && entries.let_go.len() < LET_GO
            {
                entries.let_go.entry(key).or_insert(known);
            }
        }
    }
}

impl Waiter {
    fn tell(self) {
        match self {
            Self::Ack(ack) => ack.confirm(),
            // Who no longer listens has given up waiting.
            Self::Signal(told) => drop(told.send(())),
        }
    }
}

impl Ledger {
    /// The ledger with the ids that `journal`'s file remembers, and what came live before.
    pub(crate) async fn open(journal: &Journal) -> Result<(Self, Activity), JournalError> {
        let (chunks, facts) = journal
            .write(move |database| {
                let mut query = database.prepare("SELECT ids FROM recent ORDER BY rowid DESC")?;
                let mut rows = query.query([])?;
                let (mut chunks, mut count) = (Vec::new(), 0);
                while count < REMEMBERED
                    && let Some(row) = rows.next()?
                {
                    let ids: Vec<u8> = row.get(0)?;
                    count += ids.len() / 8;
                    chunks.push(ids);
                }
                let fact = |key: &str| -> rusqlite::Result<Option<Vec<u8>>> {
                    let query = "SELECT value FROM facts WHERE key = ?1";
                    let found = database.query_row(query, [key], |row| row.get(0));
                    found.optional()
                };
                let facts = [fact(MARK)?, fact(HEARD)?, fact(BEGAN)?, fact(ACTIVITY)?];
                Ok((chunks, facts))
            })
            .await?;
        let [mark, heard, began, activity] = facts;
        let moment = |fact: Option<Vec<u8>>| fact?.try_into().ok().map(Micros::from_le_bytes);
        let ledger = Self::default();
        let mut entries = ledger.entries();
        let mark = moment(mark).unwrap_or(0);
        entries.heard = moment(heard).unwrap_or(mark).max(mark);
        entries.began = moment(began).unwrap_or(0);
        // Up to here all is safe; whether there is a gap from here on, the next connection says.
        entries.frozen = (mark > 0).then_some(mark);
        for ids in chunks.into_iter().rev() {
            for id in ids.as_chunks::<8>().0 {
                entries.remember(u64::from_le_bytes(*id));
            }
        }
        entries.fresh.clear();
        drop(entries);
        let activity = activity.map_or_else(Activity::default, |kept| Activity::read(&kept));
        Ok((ledger, activity))
    }

    /// Takes in an event by its `id`, which Slack waits for with `ack`.
    pub(crate) fn admit(&self, id: EventId<'_>, ack: Option<Ack>) -> Admission {
        let (keys, known_as) = id.keys();
        let mut entries = self.entries();
        for known in known_as.into_iter().flatten() {
            if entries.safe.contains(&known) {
                drop(entries);
                if let Some(ack) = ack {
                    ack.confirm();
                }
                return Admission::Again;
            }
            if let Some(before) = entries
                .in_custody
                .get(&known)
                .and_then(|(it, _)| it.upgrade())
            {
                drop(entries);
                if let Some(ack) = ack {
                    before.wait(Waiter::Ack(ack));
                }
                return Admission::Again;
            }
        }
        let event = Arc::new(Event {
            keys,
            open: AtomicUsize::new(1),
            waiting: Mutex::new(ack.map(Waiter::Ack).into_iter().collect()),
            ledger: self.clone(),
        });
        // What was let go of counts from when it came first.
        let mut known = entries.heard;
        for key in keys.into_iter().chain(known_as).flatten() {
            known = entries
                .let_go
                .remove(&key)
                .map_or(known, |at| known.min(at));
        }
        for key in keys.into_iter().flatten() {
            let entry = (Arc::downgrade(&event), known);
            entries.in_custody.insert(key, entry);
        }
        Admission::New(Custody(event))
    }

    /// The last moment at which we listened; zero where we never did.
    pub(crate) fn heard(&self) -> Micros {
        self.entries().heard
    }

    /// We listen at this moment, and listened since the one before.
    pub(crate) fn hear(&self, now: Micros) {
        let mut entries = self.entries();
        entries.heard = entries.heard.max(now);
    }

    /// We listen for the first time, or in the place of another host: nothing is missed before `now`.
    pub(crate) fn begin(&self, now: Micros) {
        let mut entries = self.entries();
        (entries.began, entries.heard) = (now, now);
        entries.is_urgent = true;
    }

    /// The moment up to which all is safe.
    pub(crate) fn safe_until(&self) -> Micros {
        self.entries().mark()
    }

    /// A gap begins at `moment`, or an earlier one that is open goes on. Gives where it is to be read from: what came out
    /// of its order is found too, and nothing from before we listened.
    pub(crate) fn freeze(&self, moment: Micros) -> Micros {
        let mut entries = self.entries();
        let moment = entries.mark().min(moment);
        entries.frozen = Some(moment);
        entries.is_urgent = true;
        let from = moment.saturating_sub(RETRIES.as_micros() as Micros);
        from.max(entries.began)
    }

    /// The gap is filled, or is none.
    pub(crate) fn thaw(&self) {
        let mut entries = self.entries();
        entries.frozen = None;
        entries.is_urgent = true;
    }

    /// The moment of the first event that was let go of and that Slack does not give any more, if there is one by `now`.
    /// It is told once.
    pub(crate) fn overdue(&self, now: Micros) -> Option<Micros> {
        let mut entries = self.entries();
        let limit = now.saturating_sub(RETRIES.as_micros() as Micros);
        let overdue = entries.let_go.values().copied().filter(|at| *at < limit);
        let first = overdue.min()?;
        entries.let_go.retain(|_, at| *at >= limit);
        Some(first)
    }

    /// Custody of something that Slack does not know of and that can't come twice.
    pub(crate) fn unnamed(&self) -> Custody {
        Custody(Arc::new(Event {
            keys: [None; 2],
            open: AtomicUsize::new(1),
            waiting: Mutex::default(),
            ledger: self.clone(),
        }))
    }

    /// Writes new ids, moments and what came live until `cancel`, and a last time then.
    pub(crate) async fn keep(
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
            let is_due = ended || ticks >= MOMENTS;
            let activity = activity.unsaved(is_due);
            let (fresh, moments) = {
                let mut entries = self.entries();
                let fresh = std::mem::take(&mut entries.fresh);
                let is_urgent = std::mem::take(&mut entries.is_urgent);
                let writes = is_due || is_urgent || !fresh.is_empty() || activity.is_some();
                let moments = writes.then(|| [entries.mark(), entries.heard, entries.began]);
                (fresh, moments)
            };
            if let Some(moments) = moments {
                ticks = 0;
                flushes += 1;
                let tidy = flushes.is_multiple_of(TIDY);
                let written = journal
                    .write(move |it| flush(it, &fresh, moments, activity.as_deref(), tidy))
                    .await;
                if let Err(error) = written {
                    tracing::debug!("ids of events could not be remembered: {error}");
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
    fn mark(&self) -> Micros {
        let in_custody = self.in_custody.values().map(|(_, known)| *known);
        let unsafe_since = in_custody.chain(self.let_go.values().copied());
        unsafe_since
            .chain(self.frozen)
            .fold(self.heard, Micros::min)
    }

    fn remember(&mut self, key: u64) {
        if self.safe.insert(key) {
            self.order.push_back(key);
            self.fresh.push(key);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.safe.remove(&oldest);
            }
        }
    }
}

fn flush(
    database: &rusqlite::Connection,
    fresh: &[u64],
    moments: [Micros; 3],
    activity: Option<&[u8]>,
    tidy: bool,
) -> rusqlite::Result<()> {
    if !fresh.is_empty() {
        let ids: Vec<u8> = fresh.iter().flat_map(|id| id.to_le_bytes()).collect();
        database
            .prepare_cached("INSERT INTO recent (at, ids) VALUES (?1, ?2)")?
            .execute(params![now(), ids])?;
    }
    // In one step with the ids, so that a mark never stands for events that would be taken for new.
    for (key, moment) in [MARK, HEARD, BEGAN].into_iter().zip(moments) {
        if moment > 0 {
            put_fact(database, key, &moment.to_le_bytes())?;
        }
    }
    if let Some(activity) = activity {
        put_fact(database, ACTIVITY, activity)?;
    }
    if tidy {
        // Rows are small, so that many make up the number: an old one too many does no harm.
        database.execute(
            "DELETE FROM recent WHERE rowid <= (SELECT max(rowid) - ?1 FROM recent)",
            [REMEMBERED as u64],
        )?;
    }
    Ok(())
}

/// Unix seconds.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests;
