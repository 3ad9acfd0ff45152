//! The outbox: messages for Slack on the disk, from before they leave the channel layer until their outcome is
//! reported.
//!
//! A finished message leaves its key and its `ts` in the outbox for a while. By the key it is known if the layer gives
//! it again, because it did not hear that the message was stored. By the `ts`, a lookup in Slack's history knows that a
//! message there is another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use djangobot_plugins::private;
use djangobot_slack::Ts;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bridge::message_key::MessageKey;
use crate::bridge::moment::{ts_of_seconds, unix_seconds_now};
use crate::journal::{Journal, JournalError};
use crate::state::DeadLetter;

/// The bytes that a message takes up on the disk in addition to its text: its row and its place in the index.
const ROW: u64 = 160;
/// The most messages that are remembered by their keys after they are finished.
const MAX_REMEMBERED: u64 = 20_000;
/// The oldest keys are deleted once for so many finished messages.
const FORGET_EVERY: u64 = 512;

/// The marker file: while it exists, every note that a call is begun has reached the disk. It is deleted at the first
/// note that fails, because deleting works on a full disk.
const COMPLETE: &str = "outbox.complete";

/// The outbox of one bridge. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    journal: Journal,
    shared: Arc<OutboxState>,
}

struct OutboxState {
    /// How many messages are not finished.
    messages: AtomicU64,
    /// Their bytes.
    bytes: AtomicU64,
    finished: AtomicU64,
    /// The path of [`COMPLETE`].
    complete: PathBuf,
    /// Whether that file exists.
    is_complete: AtomicBool,
}

/// The messages that an earlier run left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// The number of the newest message.
    pub(crate) newest: u64,
    /// Whether notes may be missing, so that a message without one may have been sent.
    pub(crate) is_in_doubt: bool,
    /// When the outbox was opened: the earlier run had ended by then.
    pub(crate) at: Instant,
}

/// The id of a row: the number of a message, and which of the messages that plugins made of it.
///
/// `number * PARTS + part`, so rows are ordered by number, and then by part. Part 0 is the message itself, and the
/// parts behind it are those that plugins emitted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(u64);

impl RowId {
    const PARTS: u64 = 1 << 16;

    fn first(number: u64) -> Self {
        Self(number * Self::PARTS)
    }

    /// The number of the message. It grows by one with each.
    pub(crate) fn number(self) -> u64 {
        self.0 / Self::PARTS
    }
}

/// The result of [`Outbox::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutResult {
    /// The outbox has it.
    Stored(RowId),
    /// The outbox had it already.
    Known,
    /// It was not stored, because its predecessor is not in the outbox.
    Gap,
}

/// A message as it is read from the disk.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) id: RowId,
    pub(crate) key: MessageKey,
    /// When it was taken from the layer, by our clock.
    pub(crate) taken_at: Ts,
    /// Its JSON, as the plugins made it, or as the app sent it.
    pub(crate) message: Bytes,
    /// Whether it has been through the plugins.
    pub(crate) passed: bool,
    /// If a call of Slack was begun and its outcome is not known: Slack's time before the call, or 1970 if that was not
    /// known.
    pub(crate) begun: Option<Ts>,
    /// The ids of the files that this call shares.
    pub(crate) files: Vec<String>,
    /// What [`Outbox::note_outcome`] was told.
    pub(crate) outcome: Option<Bytes>,
}

/// Consecutive messages, in their order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<StoredMessage>,
    /// The number of the last of them.
    pub(crate) last: u64,
    /// Whether there are no more.
    pub(crate) is_end: bool,
}

/// The result of the plugins for a message.
#[derive(Debug, Default)]
pub(crate) struct PluginResult {
    /// The message itself, unless it goes no further.
    pub(crate) message: Option<Bytes>,
    /// Its outcome, if it goes no further.
    pub(crate) outcome: Option<Bytes>,
    /// The messages that plugins emitted with it. They follow it in its lane.
    pub(crate) emitted: Vec<(MessageKey, Bytes)>,
    /// Messages that plugins sent by themselves. They come behind all others.
    pub(crate) messages: Vec<Bytes>,
}

/// The rows of a [`PluginResult`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PluginRows {
    pub(crate) emitted: Vec<RowId>,
    /// The last row of `messages`.
    pub(crate) newest: Option<RowId>,
}

impl Outbox {
    /// Opens the outbox in the file that `journal` writes, in `folder`. Gives its backlog.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn open(
        journal: Journal,
        folder: &Path,
    ) -> Result<(Self, Backlog), JournalError> {
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
        let shared = OutboxState {
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
        let left = Backlog {
            newest: RowId(newest).number(),
            is_in_doubt: !is_complete && messages > 0,
            at: Instant::now(),
        };
        outbox.note_empty();
        Ok((outbox, left))
    }

    /// Makes the marker file again if the outbox is empty: there is no message that could be in doubt.
    fn note_empty(&self) {
        let shared = &self.shared;
        if shared.messages.load(Ordering::Relaxed) == 0
            && !shared.is_complete.load(Ordering::Relaxed)
            && private::open_file(&shared.complete).is_ok()
        {
            shared.is_complete.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that a note did not reach the disk: after a kill, the next start looks all messages up in Slack's
    /// history.
    pub(crate) fn note_gap(&self) {
        let shared = &self.shared;
        if shared.is_complete.swap(false, Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&shared.complete)
        {
            tracing::warn!(
                "{} was not deleted: {error}; after a crash, a message may be sent twice",
                shared.complete.display()
            );
        }
    }

    /// How many messages are not finished.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// The bytes of the messages that are not finished.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Stores a message behind all others. Gives [`PutResult::Gap`] if its predecessor, the message with the key
    /// `behind`, was not stored. Numbers grow with the order of the calls.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn put(
        &self,
        key: MessageKey,
        message: Bytes,
        behind: Option<MessageKey>,
    ) -> Result<PutResult, JournalError> {
        let size = message.len() as u64;
        let kept = self
            .journal
            .write(move |database| append_behind(database, key, &message, behind))
            .await?;
        if let PutResult::Stored(_) = kept {
            self.add(1, size + ROW);
        }
        Ok(kept)
    }

    /// Reads the first messages behind number `after` and up to `upto`, in their order: at most about `count` messages
    /// with `bytes` bytes, but at least one.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
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

    /// Notes that a call of Slack is about to be made that shares `files`, after the moment `since` of Slack's clock.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the note.
    pub(crate) async fn note_begun(
        &self,
        id: RowId,
        since: Ts,
        files: &[String],
    ) -> Result<(), JournalError> {
        let files = (!files.is_empty()).then(|| files.join(","));
        self.journal
            .write(move |database| {
                let mut update = database
                    .prepare_cached("UPDATE outbox SET begun = ?2, files = ?3 WHERE id = ?1")?;
                update
                    .execute(params![id.0, since.as_secs_f64(), files])
                    .map(drop)
            })
            .await
    }

    /// Notes that the call that was begun surely had no effect.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the note.
    pub(crate) async fn clear_begun(&self, id: RowId) -> Result<(), JournalError> {
        let none: Option<f64> = None;
        self.change("UPDATE outbox SET begun = ?2 WHERE id = ?1", id, none)
            .await
    }

    /// Stores the result of the plugins for a message: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn put_plugin_result(
        &self,
        id: RowId,
        passed: PluginResult,
    ) -> Result<PluginRows, JournalError> {
        // An emitted message is stored twice: as the message, and as the plugins' result.
        let emitted = passed.emitted.iter().map(|(_, it)| 2 * it.len());
        let sizes = emitted.chain(passed.messages.iter().map(Bytes::len));
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| {
            (count + 1, bytes + size as u64 + ROW)
        });
        let own = passed.message.as_ref().map_or(0, Bytes::len) as u64;
        let places = self
            .journal
            .write(move |database| write_passed(database, id, &passed))
            .await?;
        self.add(count, bytes + own);
        Ok(places)
    }

    /// Notes the outcome of a message, which has still to be reported to the app, and the `ts` that Slack gave it.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn note_outcome(
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

    /// Deletes a message, but keeps its key and its `ts`.
    ///
    /// # Errors
    ///
    /// Fails if the disk keeps the message.
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
        self.subtract(size);
        Ok(())
    }

    /// Makes a message a dead letter with the other fields of `letter`. Gives the letter's number.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the letter; the message is still there then.
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
        self.subtract(size);
        Ok(letter)
    }

    /// Whether a message with this `ts` is known as one that was sent.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
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

    /// Executes `sql` for the row `id`.
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

    fn add(&self, messages: u64, bytes: u64) {
        self.shared.messages.fetch_add(messages, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts a finished message of `size` bytes; `None` says that it was finished before.
    fn subtract(&self, size: Option<u64>) {
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

/// Calls [`append`] if the message with the key `behind` is there.
fn append_behind(
    database: &Connection,
    key: MessageKey,
    message: &[u8],
    behind: Option<MessageKey>,
) -> rusqlite::Result<PutResult> {
    if let Some(behind) = behind {
        let mut query = database.prepare_cached("SELECT 1 FROM outbox WHERE key = ?1")?;
        let found = query.query_row([&behind.0[..]], |_| Ok(())).optional()?;
        if found.is_none() {
            return Ok(PutResult::Gap);
        }
    }
    Ok(append(database, key, message)?.map_or(PutResult::Known, PutResult::Stored))
}

/// Stores a message behind all others; `None` if its key is known.
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
    let inserted = insert.execute(params![id.0, &key.0[..], unix_seconds_now(), message])?;
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
        // The messages that plugins made of one message stay together.
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
            taken_at: ts_of_seconds(row.get(2)?),
            message,
            passed: row.get(4)?,
            begun: row.get::<_, Option<f64>>(5)?.map(ts_of_seconds),
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
) -> rusqlite::Result<PluginRows> {
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
    let mut places = PluginRows::default();
    for (place, (key, message)) in (1..).zip(&passed.emitted) {
        let emitted = RowId(id.0 + place);
        insert.execute(params![
            emitted.0,
            &key.0[..],
            unix_seconds_now(),
            &message[..]
        ])?;
        places.emitted.push(emitted);
    }
    for message in &passed.messages {
        places.newest = append(database, MessageKey::new(), message)?;
    }
    Ok(places)
}

/// Deletes a message but for its key. Gives the bytes that it took up, or `None` if it was finished before.
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

/// Deletes the oldest keys of finished messages.
fn forget(database: &Connection) -> rusqlite::Result<()> {
    let mut delete = database.prepare_cached(
        "DELETE FROM outbox WHERE message IS NULL AND id < (SELECT max(id) FROM outbox) - ?1",
    )?;
    delete.execute([RowId::first(MAX_REMEMBERED).0]).map(drop)
}

#[cfg(test)]
mod tests;
