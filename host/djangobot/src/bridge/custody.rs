//! Who answers for an event until it is safe, and which events were safe before.
//!
//! Slack is told that we have an event when each part of it, what plugins made of it included, is in the layer or on
//! the disk. Until then its [`Custody`] holds the acknowledgement; a custody that ends in any other way leaves Slack to
//! give the event again. Ids of events that became safe are remembered, across restarts too, so that what is given again
//! is acknowledged and goes no further.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_slack::Ack;
use rusqlite::{OptionalExtension, params};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::envelope::fingerprint;
use crate::journal::{Journal, JournalError};
use crate::state::put_fact;

/// The fact that holds the moment up to which all is safe.
const MARK: &str = "events_safe_until";
/// Ids that are remembered, at most.
const REMEMBERED: usize = 500_000;
/// How often new ids are written. What became safe since then may come twice after a kill, never be lost.
const FLUSH: Duration = Duration::from_millis(200);
/// What is tidied up in the file, in flushes.
const TIDY: u32 = 300;

/// One part of an event that is to become safe. Dropped without [`Custody::safe`], the event never does.
#[derive(Debug)]
pub(crate) struct Custody(Arc<Event>);

#[derive(Debug)]
struct Event {
    key: u64,
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

/// A moment in Slack's time: microseconds since 1970, as its `ts` has them.
pub(crate) type Micros = u64;

#[derive(Debug, Default)]
struct Entries {
    /// With the moment up to which all was known before.
    in_custody: HashMap<u64, (Weak<Event>, Micros)>,
    /// The moment of the newest message that came live.
    newest: Micros,
    /// While a gap is open: the moment before it.
    frozen: Option<Micros>,
    /// The moment that is on the disk.
    marked: Micros,
    safe: HashSet<u64>,
    /// Those of `safe`, the oldest first.
    order: VecDeque<u64>,
    /// Those of `safe` that are not on the disk yet.
    fresh: Vec<u64>,
}

/// What tells an event from others, and which of those that came before it may be the same.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventId<'a> {
    /// Slack's own, of the event or its envelope: whatever has it is the same.
    Given(&'a str),
    /// `djangobot.id` of what came on RTM, which gives nothing twice: only history may have been before it.
    Live(&'a str),
    /// `djangobot.id` of a message in Slack's history.
    History(&'a str),
}

impl EventId<'_> {
    /// The key of this event, and those by which it is known if it came before.
    fn keys(self) -> (u64, impl Iterator<Item = u64>) {
        let (id, is_history) = match self {
            Self::Given(id) | Self::Live(id) => (id, false),
            Self::History(id) => (id, true),
        };
        let own = fingerprint(id.as_bytes());
        let in_history = own.rotate_left(1) ^ HISTORY;
        let key = if is_history { in_history } else { own };
        let known_as = match self {
            Self::Given(_) => [Some(own), None],
            Self::Live(_) => [Some(in_history), None],
            Self::History(_) => [Some(own), Some(in_history)],
        };
        (key, known_as.into_iter().flatten())
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
            self.0.ledger.settle(self.0.key);
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
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        if *self.open.get_mut() > 0 {
            let in_custody = &mut self.ledger.entries().in_custody;
            // The same event may have come again already, and be in custody anew.
            if in_custody
                .get(&self.key)
                .is_some_and(|(it, _)| it.strong_count() == 0)
            {
                in_custody.remove(&self.key);
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
    /// The ledger with the ids that `journal`'s file remembers.
    pub(crate) async fn open(journal: &Journal) -> Result<Self, JournalError> {
        let rows = journal
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
                let mark: Option<Vec<u8>> = database
                    .query_row("SELECT value FROM facts WHERE key = ?1", [MARK], |row| {
                        row.get(0)
                    })
                    .optional()?;
                Ok((chunks, mark))
            })
            .await?;
        let (rows, mark) = rows;
        let ledger = Self::default();
        let mut entries = ledger.entries();
        let mark = mark.and_then(|mark| mark.try_into().ok());
        entries.newest = mark.map_or(0, Micros::from_le_bytes);
        entries.marked = entries.newest;
        for ids in rows.into_iter().rev() {
            for id in ids.as_chunks::<8>().0 {
                entries.remember(u64::from_le_bytes(*id));
            }
        }
        entries.fresh.clear();
        drop(entries);
        Ok(ledger)
    }

    /// Takes in an event by its `id`, which Slack waits for with `ack`, and which is a message of the moment `at`.
    pub(crate) fn admit(&self, id: EventId<'_>, at: Option<Micros>, ack: Option<Ack>) -> Admission {
        let (key, known_as) = id.keys();
        let mut entries = self.entries();
        for known in known_as {
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
            key,
            open: AtomicUsize::new(1),
            waiting: Mutex::new(ack.map(Waiter::Ack).into_iter().collect()),
            ledger: self.clone(),
        });
        // All before the message is known, but not the message.
        let known = at.map_or(entries.newest, |at| {
            entries.newest.min(at.saturating_sub(1))
        });
        // What history has of one conversation says nothing of the others: there, messages before it may still be on
        // their way to us, over a connection that breaks. What comes live has all before it behind it.
        if !matches!(id, EventId::History(_)) {
            entries.newest = entries.newest.max(at.unwrap_or(0));
        }
        entries
            .in_custody
            .insert(key, (Arc::downgrade(&event), known));
        Admission::New(Custody(event))
    }

    /// A gap begins at the moment that this gives: all up to it is safe. `None` where no moment is known.
    pub(crate) fn freeze(&self) -> Option<Micros> {
        let mut entries = self.entries();
        let mark = entries.mark();
        entries.frozen = (mark > 0).then_some(mark);
        entries.frozen
    }

    /// The gap is filled.
    pub(crate) fn thaw(&self) {
        self.entries().frozen = None;
    }

    /// Says that nothing before `mark` is missed.
    pub(crate) fn set_mark(&self, mark: Micros) {
        let mut entries = self.entries();
        entries.newest = entries.newest.max(mark);
    }

    /// Custody of something that Slack does not know of and that can't come twice.
    pub(crate) fn unnamed(&self) -> Custody {
        Custody(Arc::new(Event {
            key: 0,
            open: AtomicUsize::new(1),
            waiting: Mutex::default(),
            ledger: self.clone(),
        }))
    }

    /// Writes new ids until `cancel`, and a last time then.
    pub(crate) async fn keep(self, journal: Journal, cancel: CancellationToken) {
        let mut flushes: u32 = 0;
        loop {
            let ended = cancel
                .run_until_cancelled(tokio::time::sleep(FLUSH))
                .await
                .is_none();
            let (fresh, mark) = {
                let mut entries = self.entries();
                (std::mem::take(&mut entries.fresh), entries.new_mark())
            };
            if !fresh.is_empty() || mark.is_some() {
                flushes += 1;
                let tidy = flushes.is_multiple_of(TIDY);
                let written = journal.write(move |it| flush(it, &fresh, mark, tidy)).await;
                if let Err(error) = written {
                    tracing::debug!("ids of events could not be remembered: {error}");
                }
            }
            if ended {
                return;
            }
        }
    }

    fn settle(&self, key: u64) {
        let mut entries = self.entries();
        if entries.in_custody.remove(&key).is_some() {
            entries.remember(key);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// The moment up to which all that came is safe.
    fn mark(&self) -> Micros {
        let in_custody = self.in_custody.values().map(|(_, known)| *known);
        in_custody.chain(self.frozen).fold(self.newest, Micros::min)
    }

    /// The mark, where it is another than that on the disk.
    fn new_mark(&mut self) -> Option<Micros> {
        let mark = self.mark();
        (std::mem::replace(&mut self.marked, mark) != mark).then_some(mark)
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
    mark: Option<Micros>,
    tidy: bool,
) -> rusqlite::Result<()> {
    if !fresh.is_empty() {
        let ids: Vec<u8> = fresh.iter().flat_map(|id| id.to_le_bytes()).collect();
        database
            .prepare_cached("INSERT INTO recent (at, ids) VALUES (?1, ?2)")?
            .execute(params![now(), ids])?;
    }
    // In one step with the ids, so that a mark never stands for events that would be taken for new.
    if let Some(mark) = mark {
        put_fact(database, MARK, &mark.to_le_bytes())?;
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
mod tests {
    use super::*;
    use crate::state::State;

    fn admitted(ledger: &Ledger, id: &str) -> Option<Custody> {
        match ledger.admit(EventId::Given(id), None, None) {
            Admission::New(custody) => Some(custody),
            Admission::Again => None,
        }
    }

    #[tokio::test]
    async fn an_event_is_safe_when_all_its_parts_are() {
        let ledger = Ledger::default();
        let custody = admitted(&ledger, "Ev1").unwrap();
        let part = custody.part();
        let mut safe = custody.signal();
        custody.safe();
        assert!(safe.try_recv().is_err());
        assert!(
            admitted(&ledger, "Ev1").is_none(),
            "what is in custody is not new"
        );
        let later = part.signal();
        part.safe();
        assert!(safe.try_recv().is_ok());
        assert!(later.await.is_ok());
        assert!(admitted(&ledger, "Ev1").is_none(), "nor is what is safe");
    }

    #[test]
    fn an_event_that_was_let_go_is_new_when_it_comes_again() {
        let ledger = Ledger::default();
        let custody = admitted(&ledger, "Ev1").unwrap();
        let (part, mut safe) = (custody.part(), custody.signal());
        custody.safe();
        drop(part);
        assert!(safe.try_recv().is_err());
        assert!(admitted(&ledger, "Ev1").is_some());
    }

    #[test]
    fn what_came_live_and_what_history_has_are_the_same_but_live_events_never_are() {
        let is_new = |ledger: &Ledger, id| match ledger.admit(id, None, None) {
            Admission::New(custody) => {
                custody.safe();
                true
            }
            Admission::Again => false,
        };
        let ledger = Ledger::default();
        assert!(is_new(&ledger, EventId::Live("a")));
        assert!(is_new(&ledger, EventId::Live("a")));
        assert!(!is_new(&ledger, EventId::History("a")));
        assert!(is_new(&ledger, EventId::History("b")));
        assert!(!is_new(&ledger, EventId::History("b")));
        assert!(!is_new(&ledger, EventId::Live("b")));
        assert!(is_new(&ledger, EventId::Given("b")));
    }

    #[test]
    fn the_mark_stays_before_what_is_not_safe_and_before_a_gap() {
        let ledger = Ledger::default();
        assert_eq!(ledger.freeze(), None);
        let at = |ledger: &Ledger, id, at| match ledger.admit(EventId::Live(id), Some(at), None) {
            Admission::New(custody) => custody,
            Admission::Again => panic!("{id} came before"),
        };
        at(&ledger, "a", 10).safe();
        let mark = |ledger: &Ledger| ledger.entries().mark();
        assert_eq!(mark(&ledger), 10);
        let (b, c) = (at(&ledger, "b", 20), at(&ledger, "c", 30));
        assert_eq!(mark(&ledger), 10);
        c.safe();
        assert_eq!(mark(&ledger), 10);
        b.safe();
        assert_eq!(mark(&ledger), 30);
        assert_eq!(ledger.freeze(), Some(30));
        at(&ledger, "d", 40).safe();
        assert_eq!(mark(&ledger), 30);
        let old = at(&ledger, "e", 35);
        ledger.thaw();
        assert_eq!(mark(&ledger), 34);
        old.safe();
        assert_eq!(mark(&ledger), 40);
        match ledger.admit(EventId::History("f"), Some(60), None) {
            Admission::New(custody) => custody.safe(),
            Admission::Again => panic!("it came before"),
        }
        assert_eq!(mark(&ledger), 40, "one of moment 50 may be on its way");
    }

    #[tokio::test]
    async fn ids_are_remembered_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        {
            let state = State::open(folder.path()).unwrap();
            let journal = state.journal().unwrap();
            let ledger = Ledger::open(&journal).await.unwrap();
            admitted(&ledger, "Ev1").unwrap().safe();
            drop(admitted(&ledger, "Ev2"));
            let stopped = CancellationToken::new();
            stopped.cancel();
            ledger.keep(journal, stopped).await;
        }
        let state = State::open(folder.path()).unwrap();
        let ledger = Ledger::open(&state.journal().unwrap()).await.unwrap();
        assert!(admitted(&ledger, "Ev1").is_none());
        assert!(admitted(&ledger, "Ev2").is_some());
    }
}
