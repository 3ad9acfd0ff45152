//! Messages for Slack on the disk: from before they leave the channel layer until their outcome is known and told.
//!
//! A message that is finished leaves its key here for a while. A layer that lost the word that it was finished gives it
//! again, and it is known then; and what a lookup in Slack's history finds is known as a message of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use djangobot_plugins::private;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bridge::message_key::MessageKey;
use crate::journal::{Journal, JournalError};
use crate::state::DeadLetter;

/// What a message takes up beside its text: its row and its place in the index.
const ROW: u64 = 160;
/// Messages that are remembered by their keys after they are finished.
const REMEMBERED: u64 = 20_000;
/// How many are finished between two times that the oldest are forgotten.
const FORGET_EVERY: u64 = 512;

/// An empty file that says that the disk has taken every note. It is deleted when it does not, which takes no room.
const COMPLETE: &str = "outbox.complete";

/// The outbox of one bridge. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    journal: Journal,
    shared: Arc<Shared>,
}

struct Shared {
    /// Messages that are not finished, and their bytes.
    messages: AtomicU64,
    bytes: AtomicU64,
    finished: AtomicU64,
    /// [`COMPLETE`], and whether it is there.
    complete: PathBuf,
    is_complete: AtomicBool,
}

/// What an earlier run left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// The number of the newest message.
    pub(crate) newest: u64,
    /// Not all notes are there: what seems not begun may be sent.
    pub(crate) is_in_doubt: bool,
    /// When the outbox was opened: the earlier run had ended by then.
    pub(crate) at: Instant,
}

/// Where a message lies: its number, and which of the things that plugins made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(u64);

impl RowId {
    const PARTS: u64 = 1 << 16;

    fn first(number: u64) -> Self {
        Self(number * Self::PARTS)
    }

    /// Grows by one with each message.
    pub(crate) fn number(self) -> u64 {
        self.0 / Self::PARTS
    }
}

/// What became of a message that was to be put here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It lies here.
    Here(RowId),
    /// It was here already.
    Known,
    /// The one that it was to be behind is not here.
    Gap,
}

/// A message as an earlier run left it, or as it waited on the disk.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) id: RowId,
    pub(crate) key: MessageKey,
    /// When it was taken, in Unix seconds.
    pub(crate) at: f64,
    /// JSON: as it came out of the plugins, or as the app sent it.
    pub(crate) message: Bytes,
    /// Whether it has been through the plugins.
    pub(crate) passed: bool,
    /// A call of Slack was begun and its outcome is not known: Slack's time before it, 0 where that is not known.
    pub(crate) begun: Option<f64>,
    /// The ids of the files that this call shares.
    pub(crate) files: Vec<String>,
    /// What [`Outbox::decided`] was told.
    pub(crate) outcome: Option<Bytes>,
}

/// Some of the messages, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<StoredMessage>,
    /// The number of the last of them.
    pub(crate) last: u64,
    /// There are no more.
    pub(crate) is_end: bool,
}

/// What plugins made of a message.
#[derive(Debug, Default)]
pub(crate) struct PluginResult {
    /// The message itself, or its outcome where it goes no further.
    pub(crate) message: Option<Bytes>,
    pub(crate) outcome: Option<Bytes>,
    /// What goes to Slack behind it, in its lane.
    pub(crate) beside: Vec<(MessageKey, Bytes)>,
    /// Messages of their own, behind all others.
    pub(crate) messages: Vec<Bytes>,
}

/// Where that lies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) beside: Vec<RowId>,
    /// The last of the messages.
    pub(crate) newest: Option<RowId>,
}

impl Outbox {
    /// Opens the outbox of the file that `journal` writes, in `folder`; tells what lies in it.
    pub(crate) async fn open(
        journal: Journal,
        folder: &Path,
    ) -> Result<(Self, Recovered), JournalError> {
        let (messages, bytes, newest) = journal
            .write(|database| {
                database.query_row(
                    "SELECT count(message), coalesce(sum(length(message) + coalesce(length(passed), 0) + ?1), 0),
                            coalesce(max(id), 0) FROM outbox",
                    [ROW],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })
            .await?;
        let complete = folder.join(COMPLETE);
        let is_complete = complete.exists();
        let shared = Shared {
            messages: AtomicU64::new(messages),
            bytes: AtomicU64::new(bytes),
            finished: AtomicU64::new(0),
            complete,
            is_complete: AtomicBool::new(is_complete),
        };
        let outbox = Self {
            journal,
            shared: Arc::new(shared),
        };
        let left = Recovered {
            newest: RowId(newest).number(),
            is_in_doubt: !is_complete && messages > 0,
            at: Instant::now(),
        };
        outbox.note_empty();
        Ok((outbox, left))
    }

    /// Where all is finished there is no doubt.
    fn note_empty(&self) {
        let shared = &self.shared;
        if shared.messages.load(Ordering::Relaxed) == 0
            && !shared.is_complete.load(Ordering::Relaxed)
            && private::open_file(&shared.complete).is_ok()
        {
            shared.is_complete.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that the disk could not take a note: should we be killed, the next start asks Slack what was sent.
    pub(crate) fn note_gap(&self) {
        let shared = &self.shared;
        if shared.is_complete.swap(false, Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&shared.complete)
        {
            tracing::warn!("{} can't be deleted: {error}", shared.complete.display());
        }
    }

    /// How many messages are not finished.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// How many bytes they take up.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Puts a message behind all others, and surely behind the one with the key `behind`: where the disk did not take
    /// that, it takes neither this one. Those that are brought one after the other get growing numbers.
    pub(crate) async fn keep(
        &self,
        key: MessageKey,
        message: Bytes,
        behind: Option<MessageKey>,
    ) -> Result<Stored, JournalError> {
        let size = message.len() as u64;
        let kept = self
            .journal
            .write(move |database| append_behind(database, key, &message, behind))
            .await?;
        if let Stored::Here(_) = kept {
            self.grew(1, size + ROW);
        }
        Ok(kept)
    }

    /// The first messages behind number `after` and up to `upto`, in order: about `count` and `bytes` of them at most,
    /// and one at least.
    pub(crate) async fn read(
        &self,
        after: u64,
        upto: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Page, JournalError> {
        self.journal
            .write(move |database| read(database, after, upto, count, bytes))
            .await
    }

    /// Notes that a call of Slack is about to be made, after the moment `since` of Slack's clock, that shares `files`.
    pub(crate) async fn begun(
        &self,
        id: RowId,
        since: f64,
        files: &[String],
    ) -> Result<(), JournalError> {
        let files = (!files.is_empty()).then(|| files.join(","));
        self.journal
            .write(move |database| {
                let mut update = database
                    .prepare_cached("UPDATE outbox SET begun = ?2, files = ?3 WHERE id = ?1")?;
                update.execute(params![id.0, since, files]).map(drop)
            })
            .await
    }

    /// Notes that what was begun surely had no effect.
    pub(crate) async fn not_begun(&self, id: RowId) -> Result<(), JournalError> {
        let none: Option<f64> = None;
        self.change("UPDATE outbox SET begun = ?2 WHERE id = ?1", id, none)
            .await
    }

    /// Keeps what plugins made of a message: all of it, or nothing.
    pub(crate) async fn passed(
        &self,
        id: RowId,
        passed: PluginResult,
    ) -> Result<Places, JournalError> {
        // What lies beside is kept both as what was sent and as what came out.
        let beside = passed.beside.iter().map(|(_, it)| 2 * it.len());
        let sizes = beside.chain(passed.messages.iter().map(Bytes::len));
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| {
            (count + 1, bytes + size as u64 + ROW)
        });
        let own = passed.message.as_ref().map_or(0, Bytes::len) as u64;
        let places = self
            .journal
            .write(move |database| write_passed(database, id, &passed))
            .await?;
        self.grew(count, bytes + own);
        Ok(places)
    }

    /// Notes the outcome of a message, of which the app has still to be told, and what Slack calls it.
    pub(crate) async fn decided(
        &self,
        id: RowId,
        outcome: Bytes,
        ts: Option<String>,
    ) -> Result<(), JournalError> {
        self.journal
            .write(move |database| {
                let mut update = database
                    .prepare_cached("UPDATE outbox SET outcome = ?2, ts = ?3 WHERE id = ?1")?;
                update.execute(params![id.0, &outcome[..], ts]).map(drop)
            })
            .await
    }

    /// Forgets a message but for its key, and for what Slack calls it.
    pub(crate) async fn finish(&self, id: RowId, ts: Option<String>) -> Result<(), JournalError> {
        let must_forget = self.must_forget();
        let size = self
            .journal
            .write(move |database| {
                if must_forget {
                    forget(database)?;
                }
                finish(database, id, ts)
            })
            .await?;
        self.shrank(size);
        Ok(())
    }

    /// Makes a message a dead letter with the other fields of `letter`; gives its number.
    pub(crate) async fn dead_letter(
        &self,
        id: RowId,
        mut letter: DeadLetter,
    ) -> Result<i64, JournalError> {
        let (size, letter) = self
            .journal
            .write(move |database| {
                let mut message =
                    database.prepare_cached("SELECT message FROM outbox WHERE id = ?1")?;
                letter.message = message.query_row([id.0], |row| row.get(0))?;
                DeadLetter::in_place_of(database, || {
                    Ok((finish(database, id, None)?, letter.store(database)?))
                })
            })
            .await?;
        self.shrank(size);
        Ok(letter)
    }

    /// Whether a message that Slack calls `ts` is known to be one that was sent.
    pub(crate) async fn is_known(&self, ts: &str) -> Result<bool, JournalError> {
        let ts = ts.to_owned();
        self.journal
            .write(move |database| {
                let query = "SELECT 1 FROM outbox WHERE ts = ?1 LIMIT 1";
                let found = database.query_row(query, [ts], |_| Ok(())).optional()?;
                Ok(found.is_some())
            })
            .await
    }

    async fn change(
        &self,
        sql: &'static str,
        id: RowId,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<(), JournalError> {
        self.journal
            .write(move |database| {
                let mut update = database.prepare_cached(sql)?;
                update.execute(params![id.0, value]).map(drop)
            })
            .await
    }

    fn grew(&self, messages: u64, bytes: u64) {
        self.shared.messages.fetch_add(messages, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `None`: it was finished before.
    fn shrank(&self, size: Option<u64>) {
        if let Some(size) = size {
            self.shared.messages.fetch_sub(1, Ordering::Relaxed);
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        self.note_empty();
    }

    fn must_forget(&self) -> bool {
        let finished = self.shared.finished.fetch_add(1, Ordering::Relaxed);
        finished.is_multiple_of(FORGET_EVERY)
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// As [`append`], where the message with the key `behind` is there.
fn append_behind(
    database: &Connection,
    key: MessageKey,
    message: &[u8],
    behind: Option<MessageKey>,
) -> rusqlite::Result<Stored> {
    if let Some(behind) = behind {
        let mut query = database.prepare_cached("SELECT 1 FROM outbox WHERE key = ?1")?;
        let found = query.query_row([&behind.0[..]], |_| Ok(())).optional()?;
        if found.is_none() {
            return Ok(Stored::Gap);
        }
    }
    Ok(append(database, key, message)?.map_or(Stored::Known, Stored::Here))
}

fn append(
    database: &Connection,
    key: MessageKey,
    message: &[u8],
) -> rusqlite::Result<Option<RowId>> {
    // The newest are never forgotten, so that numbers only grow.
    let mut newest = database.prepare_cached("SELECT coalesce(max(id), 0) FROM outbox")?;
    let newest = RowId(newest.query_row([], |row| row.get(0))?);
    let id = RowId::first(newest.number() + 1);
    let mut insert = database.prepare_cached(
        "INSERT OR IGNORE INTO outbox (id, key, at, message) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let inserted = insert.execute(params![id.0, &key.0[..], now(), message])?;
    Ok((inserted > 0).then_some(id))
}

fn read(
    database: &Connection,
    after: u64,
    upto: u64,
    count: usize,
    bytes: usize,
) -> rusqlite::Result<Page> {
    let mut query = database.prepare_cached(
        "SELECT id, key, at, coalesce(passed, message), passed IS NOT NULL, begun, outcome, files FROM outbox
         WHERE id >= ?1 AND id < ?2 AND message IS NOT NULL ORDER BY id",
    )?;
    let range = [after, upto].map(|number| RowId::first(number + 1).0);
    let mut rows = query.query(range)?;
    let mut page = Page {
        entries: Vec::new(),
        last: after,
        is_end: true,
    };
    let mut size = 0;
    while let Some(row) = rows.next()? {
        let id = RowId(row.get(0)?);
        // What plugins made of one message stays together.
        if id.number() != page.last && (page.entries.len() >= count || size > bytes) {
            page.is_end = false;
            break;
        }
        page.last = id.number();
        let message = Bytes::from(row.get::<_, Vec<u8>>(3)?);
        size += message.len();
        page.entries.push(StoredMessage {
            id,
            key: MessageKey(row.get(1)?),
            at: row.get(2)?,
            message,
            passed: row.get(4)?,
            begun: row.get(5)?,
            outcome: row.get::<_, Option<Vec<u8>>>(6)?.map(Bytes::from),
            files: row
                .get::<_, Option<String>>(7)?
                .map_or_else(Vec::new, |files| {
                    files.split(',').map(str::to_owned).collect()
                }),
        });
    }
    Ok(page)
}

fn write_passed(
    database: &Connection,
    id: RowId,
    passed: &PluginResult,
) -> rusqlite::Result<Places> {
    let mut update =
        database.prepare_cached("UPDATE outbox SET passed = ?2, outcome = ?3 WHERE id = ?1")?;
    update.execute(params![
        id.0,
        passed.message.as_deref(),
        passed.outcome.as_deref()
    ])?;
    let mut insert = database.prepare_cached(
        "INSERT INTO outbox (id, key, at, message, passed) VALUES (?1, ?2, ?3, ?4, ?4)",
    )?;
    let mut places = Places::default();
    for (place, (key, message)) in (1..).zip(&passed.beside) {
        let beside = RowId(id.0 + place);
        insert.execute(params![beside.0, &key.0[..], now(), &message[..]])?;
        places.beside.push(beside);
    }
    for message in &passed.messages {
        places.newest = append(database, MessageKey::new(), message)?;
    }
    Ok(places)
}

/// Gives the bytes that are free now, or `None` where it was finished before.
fn finish(database: &Connection, id: RowId, ts: Option<String>) -> rusqlite::Result<Option<u64>> {
    let mut measure = database.prepare_cached(
        "SELECT length(message) + coalesce(length(passed), 0) + ?2 FROM outbox WHERE id = ?1",
    )?;
    let size = measure
        .query_row(params![id.0, ROW], |row| row.get::<_, Option<u64>>(0))
        .optional()?
        .flatten();
    let mut update = database.prepare_cached(
        "UPDATE outbox SET message = NULL, passed = NULL, begun = NULL, files = NULL, outcome = NULL, ts = coalesce(?2, ts) WHERE id = ?1",
    )?;
    update.execute(params![id.0, ts])?;
    Ok(size)
}

fn forget(database: &Connection) -> rusqlite::Result<()> {
    let mut delete = database.prepare_cached(
        "DELETE FROM outbox WHERE message IS NULL AND id < (SELECT max(id) FROM outbox) - ?1",
    )?;
    delete.execute([RowId::first(REMEMBERED).0]).map(drop)
}

#[cfg(test)]
mod tests;
