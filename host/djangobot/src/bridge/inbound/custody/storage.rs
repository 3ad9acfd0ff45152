//! The ledger on the disk: the ids of recent events, and the moments that say which events may be missing.

use djangobot_slack::Ts;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bridge::moment::unix_seconds_now;
use crate::state::put_fact;

/// The key of the fact that holds [`Moments::safe_until`].
const SAFE_UNTIL: &str = "events_safe_until";
/// The key of the fact that holds [`Moments::listened_until`].
const LISTENED_UNTIL: &str = "events_listened_until";
/// The key of the fact that holds [`Moments::listening_since`].
const LISTENING_SINCE: &str = "events_since";
/// The key of the fact that holds the kinds of events that came live.
const ACTIVITY: &str = "activity";
/// The most ids that are remembered. A message has two, Slack's id and the one by which its history knows it, and Slack
/// gives an app at most 30,000 events an hour of a workspace: so they reach back 15 hours at least.
pub(super) const MAX_REMEMBERED: usize = 900_000;

/// The moments of the ledger; 1970 for one that is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// The moment up to which all events are safe.
    pub(super) safe_until: Ts,
    /// The last moment at which we listened.
    pub(super) listened_until: Ts,
    /// The moment since which we listen at all.
    pub(super) listening_since: Ts,
}

/// The ledger as an earlier run left it.
pub(super) struct SavedLedger {
    /// The ids of events that were safe, the oldest first.
    pub(super) ids: Vec<u64>,
    pub(super) moments: Moments,
    /// The record of [`Activity`](crate::bridge::inbound::activity::Activity).
    pub(super) activity: Option<Vec<u8>>,
}

/// Reads the ledger.
///
/// # Errors
///
/// Fails if the file can't be read.
pub(super) fn read(database: &Connection) -> rusqlite::Result<SavedLedger> {
    let mut query = database.prepare("SELECT ids FROM recent ORDER BY rowid DESC")?;
    let mut rows = query.query([])?;
    let (mut chunks, mut count) = (Vec::new(), 0);
    while count < MAX_REMEMBERED
        && let Some(row) = rows.next()?
    {
        let ids: Vec<u8> = row.get(0)?;
        count += ids.len() / 8;
        chunks.push(ids);
    }
    let chunks = chunks.iter().rev();
    let ids = chunks.flat_map(|ids| ids.as_chunks::<8>().0);
    Ok(SavedLedger {
        ids: ids.map(|id| u64::from_le_bytes(*id)).collect(),
        moments: Moments {
            safe_until: moment(database, SAFE_UNTIL)?,
            listened_until: moment(database, LISTENED_UNTIL)?,
            listening_since: moment(database, LISTENING_SINCE)?,
        },
        activity: fact(database, ACTIVITY)?,
    })
}

/// The part of the ledger that the disk does not have yet.
pub(super) struct LedgerChange {
    pub(super) unsaved: Vec<u64>,
    pub(super) moments: Moments,
    pub(super) activity: Option<Vec<u8>>,
    /// Whether ids beyond [`MAX_REMEMBERED`] are deleted, too.
    pub(super) forgets: bool,
}

impl LedgerChange {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(super) fn write(&self, database: &Connection) -> rusqlite::Result<()> {
        if !self.unsaved.is_empty() {
            let ids = self.unsaved.iter().flat_map(|id| id.to_le_bytes());
            database
                .prepare_cached("INSERT INTO recent (at, ids) VALUES (?1, ?2)")?
                .execute(params![unix_seconds_now(), ids.collect::<Vec<u8>>()])?;
        }
        // In one commit with the ids, so that no moment covers events that would be taken for new.
        for (key, moment) in [
            (SAFE_UNTIL, self.moments.safe_until),
            (LISTENED_UNTIL, self.moments.listened_until),
            (LISTENING_SINCE, self.moments.listening_since),
        ] {
            if moment > Ts::default() {
                put_fact(database, key, &moment.micros().to_le_bytes())?;
            }
        }
        if let Some(activity) = &self.activity {
            put_fact(database, ACTIVITY, activity)?;
        }
        if self.forgets {
            // A row has at least one id, so that the last MAX_REMEMBERED rows have all ids that are remembered.
            database.execute(
                "DELETE FROM recent WHERE rowid <= (SELECT max(rowid) - ?1 FROM recent)",
                [MAX_REMEMBERED as u64],
            )?;
        }
        Ok(())
    }
}

fn fact(database: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let query = "SELECT value FROM facts WHERE key = ?1";
    let found = database.query_row(query, [key], |row| row.get(0));
    found.optional()
}

/// The moment that a fact holds, in microseconds; 1970 if there is none.
fn moment(database: &Connection, key: &str) -> rusqlite::Result<Ts> {
    let fact = fact(database, key)?.and_then(|bytes| bytes.try_into().ok());
    Ok(fact.map_or(Ts::default(), |bytes| {
        Ts::from_micros(u64::from_le_bytes(bytes))
    }))
}
